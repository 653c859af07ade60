"""The factory: takes jobs while it has room, renders them, and brings the results back, whatever happens between."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore, gatherResults
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from pfserver.factory.errors import NotKept, Refused, ServerAway
from pfserver.factory.events import Event, News, Status
from pfserver.factory.pauses import Pauses
from pfserver.factory.rendering import IRenderer
from pfserver.factory.server import OfficeshotsServer
from pfserver.factory.tasks import TaskFolder, Tasks
from pfserver.factory.work import FactoryOptions, Place, Workbench
from pfserver.wire.xmlrpc import NO_SUCH_METHOD, Code, Fault

#: Faults of jobs.poll that ask for somebody's help.
_NOT_WELCOME = {int(Code.UNKNOWN_FACTORY), int(Code.NOT_AUTHORIZED), int(NO_SUCH_METHOD)}

#: Seconds that a call may take while the factory stops.
LAST_CALL = 10.0


class FactoryService(Service):
    """Works for one server.

    :param tell: hears every event; ``status`` is up to date then.
    :param chance: random numbers from 0 to 1.
    """

    log = Logger()
    name = "pfserver-factory"

    def __init__(
        self,
        reactor: Any,
        server: OfficeshotsServer,
        renderer: IRenderer,
        tasks: Tasks,
        options: FactoryOptions,
        tell: Callable[[Event], None],
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.status = Status()
        self._news = News(self.status, tell, server.forget)
        self._bench = Workbench(reactor, server, renderer, options, self._news, chance)
        self.ended: Deferred[None] = Deferred()
        """Fires when it ends by itself: fails with ``Refused``, where the server does not want it."""
        self._reactor = reactor
        self._server = server
        self._renderer = renderer
        self._tasks = tasks
        self._options = options
        self._chance = chance
        self._room = DeferredSemaphore(renderer.jobs)
        self._idle = Pauses(options.first_poll, options.poll, chance)
        self._working: dict[str, Deferred[None]] = {}
        self._pause: Deferred[Any] | None = None
        self._polling: Deferred[None] | None = None
        self._welcome = False

    def startService(self) -> None:
        """Take up what an earlier life has left, then poll."""
        super().startService()
        self._polling = Deferred.fromCoroutine(self._run())
        self._polling.addErrback(self._end)

    def stopService(self) -> Deferred[None]:
        """Poll no more, let running jobs end for a while, give the others back."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    # -- taking jobs --------

    async def _run(self) -> None:
        for folder in await self._in_thread(self._tasks.left_over):
            self._news.event("took", f"{folder.task.filename} again, from before the factory was started", folder.task)
            if (room := await self._acquire()) is None:
                return
            await self._begin(folder, room, fresh=False)
        await self._in_thread(self._tasks.prepare)
        away = Pauses(0.5, self._options.retry, self._chance)
        while (room := await self._acquire()) is not None:
            try:
                await self._rest(self._bench.broken_until - self._reactor.seconds())
                asked = self._reactor.seconds()
                folder = await self._server.poll() if self.running else None
            except NotKept as error:
                room.release()
                await self._bench.not_kept(error)
                continue
            except (ServerAway, Refused, Fault, OSError) as error:
                room.release()
                await self._not_polled(error, away)
                continue
            except BaseException:
                room.release()
                raise
            self._welcome = True
            self._news.reached()
            away.reset()
            if folder is None:
                room.release()
                await self._rest(self._idle.next())
                continue
            text = f"{folder.task.filename} for {folder.task.format or 'any format'}"
            self._news.event("took", text, folder.task, self._reactor.seconds() - asked)
            if await self._begin(folder, room):
                self._idle.reset()
            else:
                # A server that has nothing else to do, and may hand it out again at once.
                await self._rest(self._idle.next())

    async def _not_polled(self, error: Exception, away: Pauses) -> None:
        """Wait, or give up where the very first poll says that this factory is not wanted."""
        unwelcome = isinstance(error, Refused) or (isinstance(error, Fault) and error.code in _NOT_WELCOME)
        if unwelcome and not self._welcome:
            raise Refused(str(error)) from error
        pause = away.next()
        self._news.lost(f"{error}; next try in {pause:.0f} s")
        await self._rest(pause)

    async def _begin(self, folder: TaskFolder, room: Place, *, fresh: bool = True) -> bool:
        """Let a job be done; False where the same is at work: its lock ran out, and we are the next to get it."""
        job = folder.task.job
        if await self._bench.has(folder):
            room.release()
            await self._in_thread(folder.remove)
            return False
        if (replaced := self._working.pop(job, None)) is not None:
            replaced.cancel()
        working = Deferred.fromCoroutine(self._bench.do(folder, room, fresh))
        self._working[job] = working

        def over(result: object) -> Deferred[None] | None:
            tidy_up = self._tasks.prepare if self.running else None
            if self._working.get(job) is working:
                del self._working[job]
                self.status.working.pop(job, None)
            else:
                tidy_up = folder.remove
            room.release()
            if isinstance(result, Failure) and not result.check(CancelledError):
                self.log.failure("factory.job-broken", result, job=job)
            return None if tidy_up is None else Deferred.fromCoroutine(self._in_thread(tidy_up))

        working.addBoth(over)
        return True

    # -- the end --------

    async def _stop(self) -> None:
        self.status.stopping = True
        self._news.event("stopping", f"{len(self._working)} at work get {self._options.grace:.0f} s")
        if self._pause is not None:
            self._pause.cancel()
        # The poll that runs may bring a job, which the server would keep for us: so it is waited for.
        if self._polling is not None:
            await self._within(LAST_CALL, [self._polling])
        await self._within(self._options.grace, list(self._working.values()))
        for folder in await self._in_thread(self._tasks.left_over):
            if await self._in_thread(folder.result) is None:
                await self._within(
                    LAST_CALL, [Deferred.fromCoroutine(self._bench.give_back(folder, "the factory stops"))]
                )
        await self._renderer.stop()
        await self._server.close()
        self._news.event("stopped", f"{self.status.finished} finished, {self.status.failed} failed")

    async def _within(self, seconds: float, running: list[Deferred[None]]) -> None:
        """Wait for what runs, and cancel it after so many seconds."""

        def cancel() -> None:
            for one in running:
                one.cancel()

        timer = self._reactor.callLater(seconds, cancel)
        waiting: list[Deferred[None]] = []
        for one in running:
            waiter: Deferred[None] = Deferred()
            waiting.append(waiter)

            def over(result: Any, waiter: Deferred[None] = waiter) -> None:
                waiter.callback(None)

            one.addBoth(over)
        await gatherResults(waiting)
        if timer.active():
            timer.cancel()

    def _end(self, failure: Failure) -> None:
        if not self.ended.called and not (self.status.stopping and failure.check(CancelledError)):
            self.ended.errback(failure)

    # -- small things --------

    async def _rest(self, seconds: float) -> None:
        """Do nothing for a while, or until the factory stops."""
        if seconds <= 0 or not self.running:
            return
        self._pause = deferLater(self._reactor, seconds)
        try:
            await self._pause
        except CancelledError:
            if self.running:
                raise
        finally:
            self._pause = None

    async def _acquire(self) -> Place | None:
        """Wait for room for one more job; None where the factory stops."""
        if not self.running:
            return None
        self._pause = waiting = self._room.acquire()
        try:
            room = await waiting
        except CancelledError:
            if self.running:
                raise
            return None
        finally:
            self._pause = None
        if not self.running:
            room.release()
            return None
        return Place(room)

    async def _in_thread(self, function: Any, *arguments: Any) -> Any:
        return await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), function, *arguments)
