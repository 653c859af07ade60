"""Real M routines run by a real fis-gtm, and what may go wrong with one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, ensureDeferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from pfserver.backends.mumps import MumpsBackendPlugin, plugin, process
from pfserver.backends.mumps.backend import MumpsBackend
from pfserver.errors import ConfigurationError, JobFailed, NoSuchProject, NotSupported
from pfserver.model import JobRequest, Outcome
from pfserver.numbers import Number
from tests.backends.mumps.test_program import request
from tests.backends.office.fakes import FakeReporter, FakeServices
from tests.peers.mumps import MSystem, distribution

HELLO = """HELLO(name,many) ; greets
 write "Hello, ",$get(name,"nobody"),!
 if $data(many) write $zlength(many)," ",$zascii(many,1),!
 quit
start write "from start",!
 write "next line",!
 quit
count(to) ;
 new i for i=1:1:to set ^COUNT(i)=i*i
 open "squares.csv":newversion use "squares.csv"
 for i=1:1:to write i,",",^COUNT(i),!
 close "squares.csv" use $principal
 write "done ",$get(^COUNT(to)),!
 quit
broken write "before",!
 write 1/0
 quit
bare write $data(anything)," ",$zcmdline,"|",!
 read line:0 write $zeof,!
 quit
sleep write "sleeping ",$job,! for  hang 1
 quit
stubborn set $zinterrupt="" write "stubborn ",$job,!
 zsystem "trap '' TERM; echo child $$; sleep 600"
 quit
much for  write "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",!
 quit
"""


class MumpsTests(TestCase):
    timeout = 60

    def setUp(self) -> None:
        distribution()
        self.root = Path(self.mktemp()).absolute()
        (self.root / "projects" / "routines").mkdir(parents=True)
        (self.root / "projects" / "routines" / "HELLO.m").write_text(HELLO, encoding="ascii")
        self.m = MSystem(self.root / "m")
        self.count = 0

    def build(self, **options: Any) -> MumpsBackend:
        services = FakeServices(
            reactor=reactor, clock=reactor, projects_root=self.root / "projects", state=self.root / "state"
        )
        options = {"global_directory": str(self.m.directory), **options}
        backend = MumpsBackendPlugin().build(services, options)
        assert backend is not None
        self.addCleanup(
            lambda: self.assertEqual(list((self.root / "state" / "backends" / "mumps").glob("*")), [], "left over")
        )
        return backend

    def reporter(self, wanted: JobRequest) -> FakeReporter:
        self.count += 1
        folder = self.root / f"output-{self.count}"
        folder.mkdir()
        return FakeReporter(wanted, folder, job_id=self.count)

    async def run_job(self, wanted: JobRequest, **options: Any) -> tuple[str, FakeReporter]:
        """Check and run a request; gives what it printed."""
        backend = self.build(**options)
        self.assertTrue(backend.takes(wanted))
        reporter = self.reporter(await backend.check(wanted))
        self.assertEqual(await backend.run(reporter), Outcome.COMPLETED)
        return (reporter.folder / "output.txt").read_text("latin-1"), reporter

    async def test_what_a_routine_prints_is_a_document(self) -> None:
        printed, reporter = await self.run_job(request("^HELLO"))
        self.assertEqual(printed, "Hello, nobody\n")
        [artifact] = reporter.artifacts
        self.assertEqual(
            [artifact.name, artifact.media_type, artifact.size], ["output.txt", "text/plain", len(printed)]
        )

    async def test_arguments_arrive_as_they_are(self) -> None:
        for argument in ('Zo"ë', "a\r\n\x01" * 2000, "x" * 40_000):
            printed, _ = await self.run_job(request("^HELLO", "", "name", argument))
            data = argument.encode()
            self.assertEqual(printed, f"Hello, name\n{len(data)} {data[0]}\n")

    async def test_label_and_offset(self) -> None:
        self.assertEqual((await self.run_job(request("^HELLO", "start")))[0], "from start\nnext line\n")
        self.assertEqual((await self.run_job(request("^HELLO", "start+1")))[0], "next line\n")

    async def test_it_works_on_its_globals_and_its_files_are_documents(self) -> None:
        printed, reporter = await self.run_job(request("^HELLO", "count", "12"))
        self.assertEqual(printed, "done 144\n")
        self.assertEqual(sorted(one.name for one in reporter.artifacts), ["output.txt", "squares.csv"])
        self.assertTrue((reporter.folder / "squares.csv").read_text().endswith("12,144\n"))
        self.assertEqual(self.m.run("look", "look write ^COUNT(12),! quit\n"), "144\n")

    async def test_it_sees_nothing_of_how_it_was_started(self) -> None:
        self.assertEqual((await self.run_job(request("^HELLO", "bare")))[0], "0 |\n1\n")

    async def _failing(self, job: str, **options: Any) -> tuple[JobFailed, FakeReporter]:
        backend = self.build(**options)
        reporter = self.reporter(await backend.check(request("^HELLO", job)))
        error = await self.assertFailure(ensureDeferred(backend.run(reporter)), JobFailed)
        return error, reporter

    async def test_an_error_in_m_fails_the_job_and_says_where(self) -> None:
        error, reporter = await self._failing("broken")
        self.assertEqual(error.number, Number.PROGRAM_FAILED)
        self.assertIn("broken+1^HELLO", error.text)
        self.assertIn("DIVZERO", error.text)
        self.assertTrue((reporter.folder / "output.txt").read_text().startswith("before\n"))

    async def test_a_label_that_is_not_there(self) -> None:
        error, _ = await self._failing("nowhere")
        self.assertIn("LABELMISSING", error.text)

    async def test_a_program_that_takes_too_long_is_ended(self) -> None:
        error, reporter = await self._failing("sleep", timeout=1)
        self.assertEqual(error.number, Number.TIMED_OUT)
        await self._assert_gone(reporter)

    async def test_a_program_that_prints_too_much_is_ended(self) -> None:
        error, reporter = await self._failing("much", output_limit=1)
        self.assertEqual(error.number, Number.PROGRAM_FAILED)
        self.assertEqual((reporter.folder / "output.txt").stat().st_size, 1024 * 1024)

    async def test_cancelling_ends_the_whole_group(self) -> None:
        for job in ("sleep", "stubborn"):
            self.patch_grace()
            backend = self.build()
            reporter = self.reporter(await backend.check(request("^HELLO", job)))
            running = ensureDeferred(backend.run(reporter))
            await self._printed(reporter, "child" if job == "stubborn" else "sleeping")
            reporter.cancel()
            self.assertEqual(await running, Outcome.CANCELLED)
            await self._assert_gone(reporter)
            self.assertEqual([one.name for one in reporter.artifacts], ["output.txt"])

    async def test_a_server_that_stops_ends_its_programs(self) -> None:
        backend = self.build()
        reporter = self.reporter(await backend.check(request("^HELLO", "sleep")))
        running = ensureDeferred(backend.run(reporter))
        await self._printed(reporter, "sleeping")
        running.cancel()
        await self.assertFailure(running, CancelledError)
        await self._assert_gone(reporter)

    def patch_grace(self) -> None:
        self.patch(process, "GRACE", 0.2)

    async def _printed(self, reporter: FakeReporter, text: str) -> None:
        output = reporter.folder / "output.txt"
        while not (output.exists() and output.read_text().count("\n") and text in output.read_text()):
            await deferLater(reactor, 0.01)

    async def _assert_gone(self, reporter: FakeReporter) -> None:
        words = (reporter.folder / "output.txt").read_text().split()
        numbers = [int(word) for word in words if word.isdecimal()]
        self.assertTrue(numbers)
        while any(map(lives, numbers)):
            await deferLater(reactor, 0.01)

    async def test_what_is_not_there_is_refused(self) -> None:
        backend = self.build()
        await self.assertFailure(ensureDeferred(backend.check(request("^OTHER"))), NoSuchProject)
        self.assertFalse(backend.takes(JobRequest(project="^HELLO")), "a packet must not run programs")

    async def test_without_fis_gtm_a_text_says_how_to_get_it(self) -> None:
        self.patch(plugin, "PLACES", "nowhere/*")
        error = await self.assertFailure(ensureDeferred(self.build().check(request("^HELLO"))), NotSupported)
        self.assertIn("apt-get install fis-gtm", str(error))

    def test_options(self) -> None:
        self.assertRaises(ConfigurationError, self.build, other=1)
        self.assertRaises(ConfigurationError, self.build, timeout=0)
        self.assertRaises(ConfigurationError, self.build, routines="x")
        self.assertRaises(ConfigurationError, self.build, distribution=str(self.root))
        self.assertRaises(ConfigurationError, self.build, environments=["x"])
        services = FakeServices(reactor=reactor, clock=reactor, projects_root=self.root, state=self.root)
        self.assertIsNone(MumpsBackendPlugin().build(services, {"enabled": False}))


def lives(number: int) -> bool:
    """Whether a process runs; one that has ended and was not asked for its code yet does not."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
