"""``pfserver convert`` against a real server, with LibreOffice and with a factory."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from pypdf import PdfReader
from twisted.trial.unittest import SynchronousTestCase

from tests.backends.office import samples
from tests.factory.support import FactoryCase
from tests.support.process import BIN, PATIENCE, ROOT, ServerProcess


def run(*arguments: str, server: str, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run ``pfserver`` as a user does."""
    return subprocess.run(
        [str(BIN / "pfserver"), *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        cwd=cwd,
        env={**os.environ, "PFSERVER_HTTP": server, "PYTHONPATH": str(ROOT), "TERM": "dumb", **more},
    )


class OfficeCase(SynchronousTestCase):
    """A server with its own LibreOffice."""

    config = ""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.server = ServerProcess(self.folder / "server", frontends=("http",), config=self.config)
        self.addCleanup(self.server.close)
        self.server.wait()
        samples.odt(self.folder / "letter.odt", pages=4)

    def convert(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        url = "http://{}:{}".format(*self.server.addresses["http"])
        return run("convert", *arguments, server=url, cwd=self.folder, **more)


class OfficeTests(OfficeCase):
    """By the server's own LibreOffice."""

    def test_pages_as_pdf(self) -> None:
        done = self.convert(
            "letter.odt", "--to", "pdf", "--pages", "2-4", "--pdf-standard", "a-2b", "--download", "out"
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)
        lines = done.stdout.splitlines()
        self.assertEqual((lines[0], lines[-1]), ("T0000001", "out/letter.pdf"))
        self.assertIn("J0000101 Job Status = SUCCESS", lines)
        self.assertEqual(len(PdfReader(self.folder / "out/letter.pdf").pages), 3)

    def test_odf_does_not_replace_the_document(self) -> None:
        before = (self.folder / "letter.odt").read_bytes()
        done = self.convert("letter.odt", "--to", "odf", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        records = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual(records[-1], {"job": "T0000001", "file": "letter-T0000001.odt"})
        self.assertEqual((self.folder / "letter.odt").read_bytes(), before)
        self.assertTrue((self.folder / "letter-T0000001.odt").read_bytes().startswith(b"PK"))

    def test_an_image_of_each_page(self) -> None:
        done = self.convert("letter.odt", "--to", "png", "--resolution", "30")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(len(list(self.folder.glob("letter-*.png"))), 4)

    def test_a_document_that_is_none(self) -> None:
        (self.folder / "fake.odt").write_bytes(b"\x00\x01" * 1000)
        done = self.convert("fake.odt")
        self.assertEqual(done.returncode, 65)
        self.assertEqual(
            done.stderr, "pfserver: the document is damaged or cut off, or no office document at all (6)\n"
        )

    def test_a_failure_is_the_exit_code(self) -> None:
        done = self.convert("letter.odt", "--pages", "90-91")
        self.assertEqual(done.returncode, 2, done.stdout)
        self.assertIn("there are no such pages: 90-91", done.stdout)

    def test_usage(self) -> None:
        for arguments in (
            ("nope.odt",),
            ("letter.odt", "--to", "docx"),
            ("letter.odt", "--version", "7"),
            ("letter.odt", "--server", "ftp://x"),
            ("letter.odt", "--key", "letter.odt"),
            ("letter.odt", "--server", "http://192.0.2.1", "--token", "x"),
        ):
            self.assertEqual(self.convert(*arguments).returncode, 64, arguments)

    def test_no_server(self) -> None:
        done = self.convert("letter.odt", "--server", "http://127.0.0.1:1")
        self.assertEqual((done.returncode, done.stdout), (69, ""))
        self.assertIn("no server answers at 127.0.0.1:1", done.stderr)


class LargeTests(OfficeCase):
    """A server that takes only small documents."""

    config = "[frontends.http]\ndocument_mib = 1\n"

    def test_a_document_that_is_too_large(self) -> None:
        (self.folder / "large.txt").write_text("A line that is quite long\n" * 400_000)
        done = self.convert("large.txt")
        self.assertEqual(done.returncode, 65, done.stderr)
        self.assertIn("larger than", done.stderr)


class FactoryTests(FactoryCase):
    """By factories."""

    def convert(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run("convert", *arguments, server=self.direct, cwd=self.folder)

    def test_one_request_for_two_applications(self) -> None:
        workers = [{"application": "LibreOffice", "version": version} for version in ("7.4", "24.2")]
        self.call("pfserver.factories.put", {"name": "My factory", "workers": workers})
        self.start_copying()
        samples.odt(self.folder / "letter.odt")
        done = self.convert(
            *("letter.odt", "--application", "LibreOffice", "--version", "7.4"),
            *("--application", "LibreOffice", "--version", "24.2", "--download", "out"),
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout.splitlines()[:2], ["T0000001", "T0000002"])
        self.assertIn("J0000020 LibreOffice 24.2: Job completed successfully", done.stdout)
        for job in ("T0000001", "T0000002"):
            self.assertEqual((self.folder / "out" / job / "letter.pdf").read_bytes(), self.pdf.read_bytes())

    def test_not_waiting(self) -> None:
        self.document()
        done = self.convert("note.txt", "--remote", "--no-wait", "--json")
        self.assertEqual((done.returncode, json.loads(done.stdout)), (0, {"job": "T0000001"}))
        self.assertEqual(self.call("pfserver.status", "T0000001", 0)["state"], "queued")
