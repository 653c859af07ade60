"""Real conversions by a real LibreOffice, and everything that may go wrong with one."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import SkipTest
from unittest.mock import patch

import pikepdf
import PIL.Image
from attrs import evolve
from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred, gatherResults
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from pfserver.backends.office import OfficeBackendPlugin
from pfserver.backends.office import pool as pool_module
from pfserver.backends.office.backend import OfficeBackend
from pfserver.backends.office.listener import Listener, group_lives
from pfserver.backends.office.pool import Pool
from pfserver.errors import BadProject, ConfigurationError, JobFailed, NoSuchProject, NotSupported, OutsideRoot
from pfserver.model import JobRequest, Outcome
from pfserver.numbers import Number
from tests.backends.office import samples
from tests.backends.office.fakes import FakeReporter, FakeServices


def need_office() -> None:
    """Skip where LibreOffice is missing; fail where the tests must be complete."""
    if shutil.which("soffice") is None:
        hint = "apt install libreoffice-writer-nogui libreoffice-calc-nogui libreoffice-impress-nogui python3-uno"
        if os.environ.get("CI"):
            raise AssertionError(hint)
        raise SkipTest(hint)


class Office(TestCase):
    """A backend of its own for each test, stopped with all its processes at the end."""

    timeout = 120
    home = ""

    def setUp(self) -> None:
        need_office()
        self.root = Path(self.mktemp()).absolute()
        self.root.mkdir(parents=True)
        self.state = self.root.parent / "state"
        self.count = 0

    def build(self, **options: object) -> OfficeBackend:
        services = FakeServices(
            reactor=reactor, clock=reactor, projects_root=self.root, state=self.state, home=self.home
        )
        backend = OfficeBackendPlugin().build(services, options)
        assert backend is not None
        self.addCleanup(lambda: ensureDeferred(self.stop(backend)))
        return backend

    async def stop(self, backend: OfficeBackend) -> None:
        groups = [listener.group for listener in self.listeners(backend)] if backend._pool else []
        await backend.stop()
        for group in groups:
            self.assertFalse(group_lives(group), "a process was left over")
        self.assertEqual(list((self.state / "backends" / "office" / "work").glob("*")), [])

    def listeners(self, backend: OfficeBackend) -> list[Listener]:
        assert backend._pool is not None
        return list(backend._pool.listeners)

    async def rested(self, backend: OfficeBackend) -> Pool:
        """Wait until the one LibreOffice has closed its document."""
        pool = backend._pool
        assert pool is not None
        pool._release(await pool.slot())
        return pool

    def reporter(self, project: str, **variables: str) -> FakeReporter:
        self.count += 1
        folder = self.root.parent / f"output-{self.count}"
        folder.mkdir()
        request = JobRequest(project=project, variables={f"_sys_{name}": value for name, value in variables.items()})
        return FakeReporter(request, folder, self.count)

    async def convert(self, backend: OfficeBackend, project: str, **variables: str) -> FakeReporter:
        """Check and run a job that must succeed."""
        reporter = self.reporter(project, **variables)
        request = await backend.check(reporter.job.request)
        reporter = FakeReporter(request, reporter.folder, reporter.job.id)
        self.assertEqual(await backend.run(reporter), Outcome.COMPLETED)
        self.assertTrue(reporter.artifacts)
        self.assertEqual(
            sorted(artifact.name for artifact in reporter.artifacts),
            sorted(path.name for path in reporter.folder.iterdir()),
        )
        return reporter

    async def fails(self, backend: OfficeBackend, project: str, number: int, words: str, **variables: str) -> None:
        """Run a job that was let through the check and must fail."""
        reporter = self.reporter(project, **variables)
        try:
            await backend.run(reporter)
        except JobFailed as error:
            self.assertEqual(error.number, number, error.text)
            self.assertIn(words, error.text)
            self.assertNotIn(str(self.root.parent), error.text)
        else:
            self.fail(f"{project} was converted")


def soffice_of(group: int) -> list[int]:
    """The LibreOffice processes of a group."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = path.read_text().partition("(")[2].rpartition(")")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if name.startswith("soffice.bin") and int(rest.split()[2]) == group:
            found.append(int(path.parent.name))
    return found


class ConversionTests(Office):
    """Every input, every output."""

    async def test_inputs(self) -> None:
        samples.odt(self.root / "a.odt")
        samples.ods(self.root / "a.ods")
        samples.odp(self.root / "a.odp")
        samples.odg(self.root / "a.odg")
        samples.office_open(self.root)
        samples.plain(self.root)
        shutil.copy(self.root / "a.rtf", self.root / "really-rtf.doc")
        samples.binary_office(self.root, self.root.parent / "profile")
        backend = self.build()
        expected = {
            "a.odt": ("Hello from page 1", 1),
            "a.ods": ("Cell 5", 1),
            "a.odp": ("Slide 2", 2),
            "a.odg": ("A drawing", 1),
            "a.docx": ("Written by python-docx", 1),
            "a.xlsx": ("Written by openpyxl", 1),
            "a.pptx": ("Written by python-pptx", 1),
            "b.doc": ("Written by python-docx", 1),
            "b.xls": ("Written by openpyxl", 1),
            "b.ppt": ("Written by python-pptx", 1),
            "a.rtf": ("Rich text ä", 1),
            "really-rtf.doc": ("Rich text ä", 1),
            "a.html": ("Hyper text ä", 1),
            "a.csv": ("Müller, A.", 1),
            "a.txt": ("Plain text ä", 1),
        }
        results = await gatherResults([ensureDeferred(self.convert(backend, name)) for name in expected])
        for (name, (text, pages)), reporter in zip(expected.items(), results, strict=True):
            artifact = reporter.artifacts[0]
            self.assertEqual(artifact.name, f"{Path(name).stem}.pdf")
            self.assertEqual((artifact.media_type, artifact.pages), ("application/pdf", pages), name)
            self.assertIn(text, samples.pdf_text(reporter.folder / artifact.name), name)
            self.assertEqual(reporter.counts.documents, 1)

    async def test_outputs(self) -> None:
        samples.odt(self.root / "a.odt", pages=5)
        samples.odg(self.root / "a.odg")
        samples.odp(self.root / "a.odp")
        samples.office_open(self.root)
        backend = self.build(workers=1)

        made = await self.convert(backend, "a.odt", Pages="2-4")
        text = samples.pdf_text(made.folder / "a.pdf")
        self.assertEqual([f"page {n}" in text for n in range(1, 6)], [False, True, True, True, False])
        self.assertEqual(made.artifacts[0].pages, 3)
        self.assertEqual((await self.convert(backend, "a.odt", Pages="4-")).counts.pages, 2)
        self.assertEqual((await self.convert(backend, "a.odt", Pages="5")).counts.pages, 1)

        made = await self.convert(backend, "a.odt", OutputFormat="png", Pages="2-3", Resolution="50")
        self.assertEqual([one.name for one in made.artifacts], ["a-0002.png", "a-0003.png"])
        with PIL.Image.open(made.folder / "a-0003.png") as image:
            # A page of A4 or Letter, at 50 pixels an inch, with something dark on a white ground.
            self.assertIn(image.size, ((414, 585), (413, 585), (425, 550)))
            darkest, brightest = image.convert("L").getextrema()
            self.assertTrue(darkest < 100 and brightest == 255)
        for name, folder in (("a.odp", "a"), ("a.xlsx", "a")):
            made_of_other = await self.convert(backend, name, OutputFormat="png", Pages="1")
            self.assertEqual([one.name for one in made_of_other.artifacts], [f"{folder}-0001.png"])
        self.assertEqual({one.media_type for one in made.artifacts}, {"image/png"})

        for level in ("1", "2", "3"):
            made = await self.convert(backend, "a.odt", PdfStandard=f"a-{level}b")
            with pikepdf.open(made.folder / "a.pdf") as pdf, pdf.open_metadata() as metadata:
                # A is all that B is, and more; LibreOffice makes it of level 1.
                self.assertEqual(metadata["pdfaid:part"], level)
                self.assertIn(metadata["pdfaid:conformance"], ("A", "B"))
        with pikepdf.open(self.root.parent / "output-1" / "a.pdf") as pdf, pdf.open_metadata() as metadata:
            self.assertNotIn("pdfaid:part", metadata)

        for source, suffix, text in (
            ("a.docx", "odt", "python-docx"),
            ("a.xlsx", "ods", "openpyxl"),
            ("a.pptx", "odp", "python-pptx"),
            ("a.odg", "odg", "A drawing"),
        ):
            made = await self.convert(backend, source, OutputFormat="odf")
            self.assertEqual([one.name for one in made.artifacts], [f"a.{suffix}"])
            shutil.copy(made.folder / f"a.{suffix}", self.root / f"round.{suffix}")
            made = await self.convert(backend, f"round.{suffix}")
            self.assertIn(text, samples.pdf_text(made.folder / "round.pdf"))
        self.assertEqual(len(self.listeners(backend)), 1)

    async def test_cold(self) -> None:
        samples.odt(self.root / "a.odt", pages=3)
        backend = self.build(workers=1, warm=False)
        made = await self.convert(backend, "a.odt", Pages="2-3")
        self.assertEqual(made.counts.pages, 2)
        self.assertIn("page 2", samples.pdf_text(made.folder / "a.pdf"))
        await self.fails(backend, "a.odt", Number.DOCUMENT_BROKEN, "python3-uno", Password="x")


class FailureTests(Office):
    """Each way of failing ends in a message, and the pool goes on."""

    async def test_documents(self) -> None:
        samples.odt(self.root / "good.odt", pages=2)
        good = (self.root / "good.odt").read_bytes()
        (self.root / "truncated.odt").write_bytes(good[: len(good) // 2])
        (self.root / "random.odt").write_bytes(os.urandom(4000))
        (self.root / "random.doc").write_bytes(bytes.fromhex("d0cf11e0a1b11ae1") + os.urandom(4000))
        (self.root / "empty.odt").write_bytes(b"")
        samples.ods(self.root / "renamed.odt")
        samples.office_open(self.root)
        (self.root / "a.xlsx").rename(self.root / "renamed.docx")
        samples.bomb(self.root / "bomb.odt", 1100 * 1024 * 1024)
        (self.root / "binary.txt").write_bytes(b"a\x00b")
        # Well-formed as a zip and with the right type, but nothing that LibreOffice could read.
        samples.bomb(self.root / "blank.odt", 1024 * 1024)
        backend = self.build(workers=1, timeout=30)
        for name, words in {
            "truncated.odt": "damaged",
            "random.odt": "damaged",
            "random.doc": "not doc inside",
            "empty.odt": "empty",
            "renamed.odt": "but ods",
            "renamed.docx": "not docx",
            "bomb.odt": "unpacks to more than",
            "binary.txt": "binary",
        }.items():
            await self.fails(backend, name, Number.DOCUMENT_BROKEN, words)
            error = await self.assertFailure(ensureDeferred(backend.check(JobRequest(project=name))), BadProject)
            self.assertIn(words, str(error))
        await self.fails(backend, "blank.odt", Number.DOCUMENT_BROKEN, "LibreOffice cannot read")
        await self.fails(backend, "good.odt", Number.DOCUMENT_BROKEN, "no such pages", Pages="7-9")
        await self.convert(backend, "good.odt")

    async def test_names(self) -> None:
        backend = self.build()
        (self.root.parent / "outside.odt").write_bytes(b"x")
        (self.root / "link.odt").symlink_to(self.root.parent / "outside.odt")
        for name, error in {
            "../outside.odt": OutsideRoot,
            "link.odt": OutsideRoot,
            "missing.odt": NoSuchProject,
            "nul\x00.odt": NoSuchProject,
            "a.exe": NotSupported,
        }.items():
            await self.assertFailure(ensureDeferred(backend.check(JobRequest(project=name))), error)

    async def test_a_name_that_leaves_no_room_for_the_number_of_a_page(self) -> None:
        stem = "é" * 125
        samples.odt(self.root / f"{stem}.odt")
        made = await self.convert(self.build(workers=1), f"{stem}.odt", OutputFormat="png")
        [result] = made.folder.iterdir()
        self.assertEqual(result.name, "é" * 123 + "-0001.png")

    async def test_nothing_is_fetched(self) -> None:
        """A document is a stranger's: it must not make the server read its own files, or call somebody."""
        calls: list[bytes] = []

        class Lure(Protocol):
            def dataReceived(self, data: bytes) -> None:
                calls.append(data)
                assert self.transport is not None
                self.transport.loseConnection()

        port = reactor.listenTCP(0, Factory.forProtocol(Lure), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        url = f"http://127.0.0.1:{port.getHost().port}"
        secret = self.root.parent / "secret.txt"
        secret.write_text("Top secret")
        PIL.Image.new("RGB", (300, 200), (255, 0, 0)).save(secret.with_suffix(".png"))
        samples.linking(self.root, url, secret)
        backend = self.build(workers=1, timeout=20)
        for name in ("links.html", "links.odt", "links.ods", "links.csv", "links.rtf"):
            made = await self.convert(backend, name)
            text = samples.pdf_text(made.folder / "links.pdf")
            self.assertIn("Before", text)
            self.assertNotIn("Top secret", text, name)
            self.assertEqual(calls, [], name)
            with pikepdf.open(made.folder / "links.pdf") as pdf:
                sizes = {(int(image.Width), int(image.Height)) for page in pdf.pages for image in page.images.values()}
            # No picture but the sign that stands for one.
            self.assertLessEqual(sizes, {(32, 32)}, name)

    async def test_what_was_sent_here_is_for_this_server_alone(self) -> None:
        self.home = "node-1"
        backend = self.build()
        samples.odt(self.root / "letter.odt")
        shared = await backend.check(self.reporter("letter.odt").job.request)
        secret = await backend.check(self.reporter("letter.odt", Password="none is needed").job.request)
        self.assertEqual([shared.home, secret.home], ["", "node-1"])

    async def test_passwords(self) -> None:
        samples.odt(self.root / "plain.odt", body="Secret on page")
        locked = [self.root / f"locked.{doctype}" for doctype in ("odt", "docx", "doc")]
        samples.encrypt(self.root / "plain.odt", self.root.parent / "profile", *locked)
        backend = self.build(workers=1)
        await self.fails(backend, "locked.odt", Number.DOCUMENT_BROKEN, "encrypted")
        await self.fails(backend, "locked.docx", Number.DOCUMENT_BROKEN, "encrypted")
        # Whether a binary file is encrypted stands inside of its parts: LibreOffice finds out.
        await self.fails(backend, "locked.doc", Number.DOCUMENT_BROKEN, "cannot read")
        for path in locked:
            await self.fails(backend, path.name, Number.DOCUMENT_BROKEN, "password", Password="wrong")
            made = await self.convert(backend, path.name, Password="open sesame")
            self.assertIn("Secret on page 1", samples.pdf_text(made.folder / "locked.pdf"))
            self.assertNotIn("open sesame", repr(made.job.request))

    async def test_hang_crash_and_kill(self) -> None:
        samples.odt(self.root / "a.odt")
        backend = self.build(workers=1)
        await self.convert(backend, "a.odt")
        pool = await self.rested(backend)
        patient = pool._options

        # LibreOffice stands still: the job ends within its time, the next one has a fresh LibreOffice.
        pool._options = evolve(patient, timeout=1.0)
        self.signal(backend, signal.SIGSTOP)
        before = reactor.seconds()  # type: ignore[attr-defined]
        await self.fails(backend, "a.odt", Number.TIMED_OUT, "longer")
        self.assertLess(reactor.seconds() - before, 30)  # type: ignore[attr-defined]
        pool._options = patient
        await self.convert(backend, "a.odt")

        # It crashes while it converts: the job is tried again and nobody notices.
        await self.rested(backend)
        self.signal(backend, signal.SIGSTOP)
        converting = ensureDeferred(self.convert(backend, "a.odt"))
        reactor.callLater(0.3, self.signal, backend, signal.SIGSEGV)  # type: ignore[attr-defined]
        reactor.callLater(0.3, self.signal, backend, signal.SIGCONT)  # type: ignore[attr-defined]
        await converting

        # It is killed while it waits for work.
        await self.rested(backend)
        self.signal(backend, signal.SIGKILL)
        await self.convert(backend, "a.odt")
        # So is the program that drives it.
        os.kill(self.group(backend), signal.SIGKILL)
        await self.convert(backend, "a.odt")

    async def test_replaced_when_spent(self) -> None:
        samples.odt(self.root / "a.odt")
        backend = self.build(workers=1, max_conversions=2)
        pool = backend._pool
        assert pool is not None
        for _ in range(3):
            await self.convert(backend, "a.odt")
        self.assertEqual(pool.started, 2)
        await backend.restart()
        await self.convert(backend, "a.odt")
        await self.rested(backend)
        self.assertEqual(pool.started, 3)
        # One that holds more memory than it may: a bare LibreOffice has more than 50 MiB.
        self.assertGreater(self.listeners(backend)[0].memory, 50 << 20)
        pool._options = evolve(pool._options, max_conversions=100, max_memory=1024)
        for _ in range(2):
            await self.convert(backend, "a.odt")
        await self.rested(backend)
        self.assertEqual(pool.started, 4)
        self.assertEqual(self.listeners(backend), [])

    async def test_one_that_cannot_close_a_document_is_replaced(self) -> None:
        samples.odt(self.root / "a.odt")
        self.patch(pool_module, "REST_TIMEOUT", 0.5)
        backend = self.build(workers=1)
        await self.convert(backend, "a.odt")
        request, pids = Listener.request, soffice_of(self.listeners(backend)[0].group)

        def stopped(self: Listener, message: Mapping[str, Any], timeout: float) -> Deferred[Mapping[str, Any]]:
            answer = request(self, message, timeout)
            # LibreOffice stands still as soon as the result is there.
            answer.addCallback(lambda result: [os.kill(pid, signal.SIGSTOP) for pid in pids] and result)
            return answer

        with patch.object(Listener, "request", stopped):
            await self.convert(backend, "a.odt")
        await self.convert(backend, "a.odt")
        assert backend._pool is not None
        self.assertEqual(backend._pool.started, 2)

    async def test_cancelled_while_waiting(self) -> None:
        samples.odt(self.root / "a.odt")
        backend = self.build(workers=1)
        assert backend._pool is not None
        slot = await backend._pool.slot()
        reporter = self.reporter("a.odt")
        waiting = ensureDeferred(backend.run(reporter))
        while not backend._pool._waiters:
            await deferLater(reactor, 0.01)  # type: ignore[arg-type]
        reporter.cancel()
        self.assertEqual(await waiting, Outcome.CANCELLED)
        self.assertEqual(reporter.artifacts, [])
        backend._pool._release(slot)
        await self.convert(backend, "a.odt")

    def group(self, backend: OfficeBackend) -> int:
        (listener,) = self.listeners(backend)
        return listener.group

    def signal(self, backend: OfficeBackend, number: int) -> None:
        for pid in soffice_of(self.group(backend)):
            os.kill(pid, number)


class ConfigurationTests(Office):
    """What stands in ``[backends.office]``."""

    def test_bad_keys(self) -> None:
        for options in (
            {"worker": 1},
            {"workers": 0},
            {"workers": 1.5},
            {"timeout": "long"},
            {"warm": "yes"},
            {"soffice": "/no/such/program"},
        ):
            services = FakeServices(reactor=reactor, clock=reactor, projects_root=self.root, state=self.state)
            error = self.assertRaises(ConfigurationError, OfficeBackendPlugin().build, services, options)
            self.assertIn(next(iter(options)), str(error))

    async def test_no_office(self) -> None:
        self.patch(os, "environ", {**os.environ, "PATH": "/nonexistent"})
        backend = self.build()
        samples.odt(self.root / "a.odt")
        error = await self.assertFailure(ensureDeferred(backend.check(JobRequest(project="a.odt"))), NotSupported)
        self.assertIn("apt install", str(error))

    def test_takes(self) -> None:
        backend = self.build()
        self.assertTrue(backend.takes(JobRequest(project="A/b.ODT")))
        self.assertFalse(backend.takes(JobRequest(project="a.pf")))
        self.assertFalse(backend.takes(JobRequest(project="a.odt", backend="factory")))
        self.assertFalse(backend.takes(JobRequest(project="a.odt", variables={"_sys_Application": "Writer"})))
        self.assertTrue(backend.takes(JobRequest(project="a.odt", backend="office")))
