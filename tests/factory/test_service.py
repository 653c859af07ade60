"""The service with a clock that tests move: pauses, renewals, a broken renderer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pfserver.factory.errors import NotKept, NotRendered, Refused, RendererBroken, ServerAway
from pfserver.factory.events import Event
from pfserver.factory.pauses import Pauses
from pfserver.factory.service import FactoryService
from pfserver.factory.tasks import Task, Tasks
from pfserver.factory.work import BROKEN_PAUSE, FAILING_PATIENCE, FactoryOptions
from pfserver.wire.xmlrpc import Code, Fault


class OneThread(Clock):
    """A clock whose thread pool works at once, in this thread."""

    def getThreadPool(self) -> OneThread:
        return self

    held: list[Any] | None = None
    """Where it does not work at once: what it has to do."""

    def callInThreadWithCallback(self, done: Any, function: Any, *arguments: Any, **options: Any) -> None:
        if self.held is not None:
            self.held.append(lambda: done(True, function(*arguments, **options)))
            return
        done(True, function(*arguments, **options))

    def callFromThread(self, function: Any, *arguments: Any, **options: Any) -> None:
        function(*arguments, **options)


class Server:
    """Plays the server: hands out jobs, notes what is called."""

    def __init__(self, tasks: Tasks) -> None:
        self.tasks = tasks
        self.jobs: list[str] = []
        self.polls = 0
        self.renewed: list[str] = []
        self.released: list[tuple[str, str]] = []
        self.finished: list[str] = []
        self.document = b"document"
        self.problem: Exception | None = None
        self.refusal: Exception | None = None
        """What finish and renew say."""
        self.unloved: Exception | None = None
        """What finish alone says."""
        self.slow: Deferred[None] | None = None

    async def poll(self) -> Any:
        self.polls += 1
        if self.problem is not None:
            raise self.problem
        if not self.jobs:
            return None
        incoming = self.tasks.incoming()
        incoming.write(self.document)
        return self.tasks.add(Task(job=self.jobs.pop(0), filename="a.txt", doctype="txt"), incoming)

    async def renew(self, task: Task) -> bool:
        if (problem := self.refusal or self.problem) is not None:
            raise problem
        self.renewed.append(task.job)
        return True

    async def release(self, task: Task, reason: str) -> bool:
        self.released.append((task.job, reason))
        return True

    async def finish(self, task: Task, result: Path, output_format: str) -> str:
        if (problem := self.unloved or self.refusal or self.problem) is not None:
            raise problem
        if self.slow is not None:
            await self.slow
        self.finished.append(task.job)
        return "result"

    def forget(self) -> None:
        """Nothing is known."""

    async def close(self) -> None:
        """Nothing is open."""


class Renderer:
    """Renders when the test says so."""

    jobs = 2

    def __init__(self) -> None:
        self.running: list[Deferred[bytes]] = []

    async def render(self, folder: Any) -> Path:
        waiting: Deferred[bytes] = Deferred()
        self.running.append(waiting)
        made = folder.work / "made"
        made.write_bytes(await waiting)
        assert isinstance(made, Path)
        return made

    async def stop(self) -> None:
        """Nothing runs."""


class ServiceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = OneThread()
        self.folder = Path(self.mktemp())
        self.tasks = tasks = Tasks(self.folder, "x")
        self.server, self.renderer = Server(tasks), Renderer()
        self.events: list[Event] = []
        options = FactoryOptions(poll=4.0, first_poll=1.0, retry=8.0, renew=60.0, grace=20.0)
        self.service = FactoryService(
            self.clock,
            self.server,
            self.renderer,
            tasks,
            options,
            self.events.append,
            lambda: 1.0,  # type: ignore[arg-type]
        )

    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]

    def advance(self, seconds: float) -> None:
        for _ in range(int(seconds * 2)):
            self.clock.advance(0.5)

    def test_pauses_grow_while_there_is_nothing_to_do(self) -> None:
        self.service.startService()
        seen = []
        for _ in range(12):
            seen.append(self.server.polls)
            self.advance(1)
        self.assertEqual(seen, [1, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5])

    def test_a_job_makes_them_short_again(self) -> None:
        self.service.startService()
        self.advance(7)
        self.server.jobs.append("1")
        self.advance(4)
        polls = self.server.polls
        self.advance(1)
        self.assertEqual(self.server.polls, polls + 1)
        self.assertEqual(self.service.status.working, {"1": "rendering a.txt"})
        self.renderer.running[0].callback(b"%PDF")
        self.assertEqual(self.server.finished, ["1"])
        self.assertEqual((self.service.status.finished, self.service.status.working), (1, {}))

    def test_a_folder_is_ready_for_the_next_job(self) -> None:
        def ready() -> int:
            return len(list(self.folder.glob("*/incoming-*")))

        self.service.startService()
        self.assertEqual(ready(), 1)
        self.server.jobs.append("1")
        self.advance(4)
        self.assertEqual(ready(), 0)
        self.renderer.running[0].callback(b"%PDF")
        self.assertEqual((self.server.finished, ready()), (["1"], 1))
        self.service.stopService()
        self.assertEqual(ready(), 0)

    def test_no_more_jobs_than_it_has_room_for(self) -> None:
        self.server.jobs += ["1", "2", "3"]
        self.service.startService()
        self.advance(10)
        self.assertEqual(len(self.renderer.running), 2)
        self.renderer.running[0].callback(b"%PDF")
        self.assertEqual(len(self.renderer.running), 3)

    def test_locks_are_renewed_while_results_are_sent(self) -> None:
        self.server.jobs = ["1"]
        self.server.slow = Deferred()
        self.service.startService()
        self.advance(1)
        self.renderer.running[0].callback(b"done")
        self.advance(121)
        self.assertEqual(self.server.renewed, ["1", "1"])
        self.server.slow.callback(None)
        self.advance(121)
        self.assertEqual((self.server.renewed, self.server.finished), (["1", "1"], ["1"]))

    def test_locks_are_renewed(self) -> None:
        self.server.jobs.append("1")
        self.service.startService()
        self.advance(59)
        self.assertEqual(self.server.renewed, [])
        self.advance(120)
        self.assertEqual(self.server.renewed, ["1", "1"])
        self.renderer.running[0].callback(b"%PDF")
        self.advance(120)
        self.assertEqual(self.server.renewed, ["1", "1"])

    def test_a_job_that_is_gone_ends(self) -> None:
        self.server.jobs.append("1")
        self.service.startService()
        self.server.refusal = Fault(Code.NO_SUCH_JOB, "there is no such job")
        self.advance(60)
        self.assertIn("dropped", self.kinds())
        self.assertEqual(self.service.status.working, {})
        self.assertEqual(self.server.released, [])

    def test_a_lock_that_was_lost_is_left_to_finish(self) -> None:
        """Nobody else may have got the job while the server was away."""
        self.server.jobs.append("1")
        self.service.startService()
        self.server.refusal = Fault(Code.LOCK_LOST, "T1 is not leased to My factory")
        self.advance(200)
        self.server.refusal = None
        self.renderer.running[0].callback(b"%PDF")
        self.assertEqual((self.server.finished, self.kinds()[-1]), (["1"], "finished"))

    def test_a_job_that_others_have_is_dropped(self) -> None:
        self.server.jobs.append("1")
        self.service.startService()
        self.server.refusal = Fault(Code.LOCK_LOST, "the job belongs to another factory now")
        self.renderer.running[0].callback(b"%PDF")
        self.assertEqual((self.server.released, self.kinds()[-1]), ([], "dropped"))
        self.assertEqual((self.service.status.failed, self.service.status.working), (1, {}))

    def test_a_result_that_is_not_wanted_is_told(self) -> None:
        refusals: tuple[Exception, ...] = (
            Fault(Code.NOT_VALID, "the document is not pdf"),
            Fault(Code.FORMAT_NOT_ASKED_FOR, "the job is for png"),
            Fault(Code.TOO_LARGE, "the document is larger than 1 bytes"),
            Refused("the server answers with HTTP status 413", final=True),
        )
        self.service.startService()
        for number, refusal in enumerate(refusals):
            self.server.refusal = refusal
            self.server.jobs.append(str(number))
            self.advance(5)
            self.renderer.running[number].callback(b"%PDF")
            told = (str(number), f"the server did not take the result: {refusal}")
            self.assertEqual(self.server.released[-1], told)
        self.assertEqual((self.service.status.failed, self.service.status.working), (4, {}))

    def test_a_result_that_the_server_fails_at_does_not_keep_its_place(self) -> None:
        self.server.jobs.append("1")
        self.service.startService()
        self.server.unloved = Fault(Code.INTERNAL, "internal error")
        self.renderer.running[0].callback(b"%PDF")
        self.advance(FAILING_PATIENCE - 1)
        self.assertEqual(self.server.released, [])
        self.advance(10)
        self.assertEqual(self.server.released, [("1", "the server did not take the result: internal error")])
        self.assertEqual((self.service.status.failed, self.service.status.working), (1, {}))
        self.server.jobs.append("2")
        self.server.unloved = None
        self.advance(5)
        self.renderer.running[1].callback(b"%PDF")
        self.assertEqual(self.server.finished, ["2"])

    def test_where_the_server_fails_at_all_calls_the_result_is_kept(self) -> None:
        """Its database is away, e.g. for maintenance."""
        self.server.jobs.append("1")
        self.service.startService()
        self.server.refusal = Fault(Code.INTERNAL, "the job database cannot be read")
        self.renderer.running[0].callback(b"%PDF")
        self.advance(5 * FAILING_PATIENCE)
        self.server.refusal = None
        self.advance(60)
        self.assertEqual((self.server.finished, self.server.released), (["1"], []))

    def test_a_server_that_is_away_is_not_failing(self) -> None:
        self.server.jobs.append("1")
        self.service.startService()
        self.server.refusal = Fault(Code.INTERNAL, "the server stops")
        self.renderer.running[0].callback(b"%PDF")
        self.server.refusal = ServerAway("gone")
        self.advance(2 * FAILING_PATIENCE)
        self.server.refusal = Fault(Code.INTERNAL, "the server starts")
        self.advance(10)
        self.server.refusal = None
        self.advance(10)
        self.assertEqual((self.server.finished, self.server.released), (["1"], []))

    def test_a_server_that_is_away_does_not_end_it(self) -> None:
        self.server.jobs.append("1")
        self.service.startService()
        self.server.problem = ServerAway("gone")
        self.advance(90)
        self.assertEqual(self.service.status.line(), "the server is away, 0 finished, rendering a.txt")
        self.renderer.running[0].callback(b"%PDF")
        self.advance(30)
        self.server.problem = None
        self.advance(9)
        self.assertEqual(self.server.finished, ["1"])
        self.assertIn("back", self.kinds())

    def test_a_broken_renderer_leaves_jobs_to_others(self) -> None:
        self.server.jobs += ["1", "2"]
        self.service.startService()
        for running in list(self.renderer.running):
            running.errback(RendererBroken("LibreOffice cannot be started"))
        polls = self.server.polls
        self.server.jobs.append("3")
        self.advance(BROKEN_PAUSE - 1)
        self.assertLessEqual(self.server.polls, polls + 1)
        self.assertEqual([job for job, _ in self.server.released], ["1", "2"])

    def test_a_full_disk_leaves_jobs_to_others(self) -> None:
        self.server.jobs.append("1")
        self.service.startService()
        self.renderer.running[0].errback(OSError(28, "No space left on device"))
        ((job, reason),) = self.server.released
        self.assertEqual((job, reason), ("1", "the factory's disk cannot be used: No space left on device"))
        self.assertIn("broken", self.kinds())

    def test_a_document_that_the_disk_does_not_take_is_given_back(self) -> None:
        self.service.startService()
        self.server.problem = NotKept(Task(job="1", doctype="txt"), OSError(28, "No space left on device"))
        self.advance(4)
        self.server.problem = None
        ((job, reason),) = self.server.released
        self.assertEqual((job, reason), ("1", "the factory's disk cannot be used: No space left on device"))
        polls = self.server.polls
        self.advance(BROKEN_PAUSE - 5)
        self.assertEqual((self.server.polls, self.kinds()), (polls, ["broken", "released"]))
        self.advance(5)
        self.assertGreater(self.server.polls, polls)

    def test_the_next_one_is_rendered_while_a_result_is_sent(self) -> None:
        self.server.jobs += ["1", "2"]
        self.service.startService()
        self.server.problem = ServerAway("gone")
        self.renderer.running[0].callback(b"%PDF")
        self.server.problem = None
        self.server.jobs.append("3")
        self.advance(0.5)
        self.assertEqual((len(self.renderer.running), self.server.finished), (3, ["1"]))

    def test_the_same_job_again_is_the_one_at_work(self) -> None:
        """Its lock ran out while the server was away, and the factory is the next to get it."""
        self.server.jobs.append("1")
        self.service.startService()
        self.server.jobs += ["1"] * 100
        self.advance(100)
        self.assertEqual((len(self.renderer.running), len(self.tasks.left_over())), (1, 1))
        self.assertGreater(len(self.server.jobs), 70)
        self.server.jobs.clear()
        self.renderer.running[0].callback(b"%PDF")
        self.assertEqual(self.server.finished, ["1"])
        self.assertEqual((self.service.status.working, self.tasks.left_over()), ({}, []))

    def test_the_same_job_with_another_document_replaces_the_one_at_work(self) -> None:
        self.server.jobs.append("1")
        self.service.startService()
        self.server.document = b"Document"
        self.server.jobs.append("1")
        self.advance(2)
        self.assertEqual(len(self.renderer.running), 2)
        self.assertEqual([folder.source.read_bytes() for folder in self.tasks.left_over()], [b"Document"])
        self.renderer.running[1].callback(b"%PDF")
        self.assertEqual(self.server.finished, ["1"])
        self.assertEqual((self.flushLoggedErrors(), self.tasks.left_over()), ([], []))

    def test_a_job_that_comes_again_while_its_files_are_removed(self) -> None:
        self.server.jobs.append("1")
        self.service.startService()
        self.clock.held = []
        self.renderer.running[0].errback(NotRendered("no"))
        self.server.jobs.append("1")
        self.advance(2)
        self.assertEqual((self.server.released, len(self.renderer.running)), ([("1", "no")], 2))
        held, self.clock.held = self.clock.held, None
        for work in held:
            work()
        self.assertEqual(len(self.tasks.left_over()), 1)
        self.renderer.running[1].callback(b"%PDF")
        self.assertEqual((self.server.finished, self.tasks.left_over()), (["1"], []))

    def test_the_end(self) -> None:
        self.server.jobs += ["1", "2"]
        self.service.startService()
        self.advance(1)
        ended = self.service.stopService()
        self.renderer.running[0].callback(b"%PDF")
        self.assertNoResult(ended)
        self.advance(21)
        self.successResultOf(ended)
        self.assertEqual(self.server.finished, ["1"])
        self.assertEqual(self.server.released, [("2", "the factory stops")])
        self.assertEqual(self.kinds()[-2:], ["released", "stopped"])

    def test_an_unknown_factory_is_told_at_once(self) -> None:
        self.server.problem = Fault(Code.UNKNOWN_FACTORY, "there is no factory")
        self.service.startService()
        self.assertIn("there is no factory", str(self.failureResultOf(self.service.ended).value))


class PausesTests(SynchronousTestCase):
    def test_they_grow_and_never_keep_step(self) -> None:
        pauses = Pauses(1, 5, lambda: 1.0)
        self.assertEqual([pauses.next() for _ in range(5)], [1, 2, 4, 5, 5])
        pauses.reset()
        self.assertEqual(pauses.next(), 1)
        self.assertEqual(Pauses(10, 5, lambda: 0.0).next(), 4)
