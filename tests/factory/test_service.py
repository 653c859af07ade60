"""The service with a clock that tests move: pauses, renewals, a broken renderer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pfserver.factory.errors import RendererBroken, ServerAway
from pfserver.factory.events import Event
from pfserver.factory.pauses import Pauses
from pfserver.factory.service import FactoryService
from pfserver.factory.tasks import Task, Tasks
from pfserver.factory.work import BROKEN_PAUSE, FactoryOptions
from pfserver.wire.xmlrpc import Code, Fault


class OneThread(Clock):
    """A clock whose thread pool works at once, in this thread."""

    def getThreadPool(self) -> OneThread:
        return self

    def callInThreadWithCallback(self, done: Any, function: Any, *arguments: Any, **options: Any) -> None:
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
        self.problem: Exception | None = None
        self.slow: Deferred[None] | None = None

    async def poll(self) -> Any:
        self.polls += 1
        if self.problem is not None:
            raise self.problem
        if not self.jobs:
            return None
        incoming = self.tasks.incoming()
        incoming.write(b"document")
        return self.tasks.add(Task(job=self.jobs.pop(0), filename="a.txt", doctype="txt"), incoming)

    async def renew(self, task: Task) -> bool:
        if self.problem is not None:
            raise self.problem
        self.renewed.append(task.job)
        return True

    async def release(self, task: Task, reason: str) -> bool:
        self.released.append((task.job, reason))
        return True

    async def finish(self, task: Task, result: Path, output_format: str) -> str:
        if self.problem is not None:
            raise self.problem
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
        tasks = Tasks(Path(self.mktemp()), "x")
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

    def test_a_lock_that_was_lost_ends_the_job(self) -> None:
        self.server.jobs.append("1")
        self.service.startService()
        self.server.problem = Fault(Code.LOCK_LOST, "the job belongs to another factory now")
        self.advance(60)
        self.assertIn("dropped", self.kinds())
        self.assertEqual(self.service.status.working, {})
        self.assertEqual(self.server.released, [])

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

    def test_the_next_one_is_rendered_while_a_result_is_sent(self) -> None:
        self.server.jobs += ["1", "2"]
        self.service.startService()
        self.server.problem = ServerAway("gone")
        self.renderer.running[0].callback(b"%PDF")
        self.server.problem = None
        self.server.jobs.append("3")
        self.advance(0.5)
        self.assertEqual((len(self.renderer.running), self.server.finished), (3, ["1"]))

    def test_the_same_job_again_replaces_the_one_at_work(self) -> None:
        self.server.jobs.append("1")
        self.service.startService()
        self.server.jobs.append("1")
        self.advance(2)
        self.assertEqual(len(self.renderer.running), 2)
        self.renderer.running[1].callback(b"%PDF")
        self.assertEqual(self.server.finished, ["1"])
        self.assertEqual(self.flushLoggedErrors(), [])

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
