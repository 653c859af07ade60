"""An engine on a real SQLite store in a temporary folder, with a backend that a test drives."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from pfserver.engine.feed import Feed
from pfserver.engine.reports import Tools
from pfserver.engine.service import Engine, EngineOptions
from pfserver.errors import BadVariable
from pfserver.interfaces import IBackend, IReporter
from pfserver.model import Job, JobRequest, Message, Outcome, State
from pfserver.store.database import Database
from pfserver.store.jobs import JobStore
from pfserver.store.outputs import Outputs

Work = Callable[[IReporter], Awaitable[Outcome]]


async def complete(reporter: IReporter) -> Outcome:
    """Nothing to do."""
    return Outcome.COMPLETED


@implementer(IBackend)
class ScriptedBackend:
    """Does with each job what the test says in ``work``."""

    local = True

    def __init__(self, name: str = "scripted") -> None:
        self.name = name
        self.work: Work = complete
        self.began: list[int] = []
        self.restarts = 0
        self.stopped = False

    def takes(self, request: JobRequest) -> bool:
        return request.project.startswith(self.name)

    async def check(self, request: JobRequest) -> JobRequest:
        if request.job == "bad":
            raise BadVariable("the job is bad")
        return evolve(request, variables={**request.variables, "checked": "yes"})

    async def run(self, reporter: IReporter) -> Outcome:
        self.began.append(reporter.job.id)
        return await self.work(reporter)

    async def restart(self) -> None:
        self.restarts += 1

    async def stop(self) -> None:
        self.stopped = True


class EngineCase(TestCase):
    """An engine whose clock the test moves; the store's threads are real."""

    options = EngineOptions(host="press-1", queues={"default": 2, "night": 1})
    timeout = 60

    def setUp(self) -> Any:
        self.root = Path(self.mktemp())
        self.root.mkdir()
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.backend = ScriptedBackend()
        self.remote = ScriptedBackend("remote")
        self.remote.local = False
        self.database = self.open()
        self.addCleanup(self.close)
        self.engine = self.build()
        return Deferred.fromCoroutine(self.engine.start())

    def open(self) -> Database:
        database = Database(f"sqlite:///{self.root / 'jobs.sqlite'}", reactor)
        database.open()
        return database

    def build(self) -> Engine:
        self.store = JobStore(self.database, self.clock)
        self.outputs = Outputs(self.root / "output")
        self.feed = Feed(self.store, self.clock)
        tools = Tools(self.store, self.outputs, self.feed, self.clock, deferToThread, "node-1")
        return Engine(self.options, [self.backend, self.remote], None, tools)

    async def close(self) -> None:
        stop = Deferred.fromCoroutine(self.engine.stop())
        await self.until(lambda: stop.called)
        await stop
        self.database.close()

    async def until(self, condition: Callable[[], Any], *, moving: bool = True) -> None:
        """Let threads and callbacks work until something is so; the engine's clock moves on, or stands still."""
        while not condition():
            await self.turn(moving=moving)

    async def turn(self, *, moving: bool = True) -> None:
        """Let threads and callbacks work once."""
        await deferLater(reactor, 0.001)
        self.clock.advance(0.05 if moving else 0)

    async def submit(self, **changes: Any) -> Job:
        return await self.engine.submit(JobRequest(**{"project": "scripted.x", "job": "Job 1", **changes}))

    async def ended(self, job: Job) -> Job:
        """Wait for a job's outcome."""
        found = [await self.engine.job(job.id)]
        while found[0].state is not State.DONE:
            await self.turn()
            found[0] = await self.engine.job(job.id)
        return found[0]

    async def told(self, job: Job) -> list[tuple[int, str]]:
        return [(m.number, m.text) for m in await self.engine.messages(job.id)]


async def read_all(follower: Any) -> list[Message]:
    """All that a follower gets until the job's end."""
    messages: list[Message] = []
    while page := await follower.next():
        messages += page
    return messages
