"""The factory: takes jobs while it has room, renders them, and brings the results back, whatever happens between."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from attrs import frozen
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore, gatherResults
from twisted.internet.task import LoopingCall, deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from pfserver.errors import PFServerError
from pfserver.factory.errors import NotRendered, Refused, RendererBroken, ServerAway
from pfserver.factory.events import Event, Status
from pfserver.factory.pauses import Pauses
from pfserver.factory.rendering import IRenderer, format_of
from pfserver.factory.server import OfficeshotsServer
from pfserver.factory.tasks import Task, TaskFolder, Tasks
from pfserver.wire.xmlrpc import INTERNAL, NO_SUCH_METHOD, Code, Fault

#: Faults of jobs.poll that ask for somebody's help.
_NOT_WELCOME = {int(Code.UNKNOWN_FACTORY), int(Code.NOT_AUTHORIZED), int(NO_SUCH_METHOD)}

#: Seconds without polling after the renderer broke: jobs are better off elsewhere.
BROKEN_PAUSE = 60.0

#: Seconds that a result is offered to a server that does not want it.
PERSISTENCE = 3600.0

#: Seconds that a call may take while the factory stops.
LAST_CALL = 10.0


@frozen(kw_only=True)
class FactoryOptions:
    """How a factory works."""

    poll: float = 5.0
    """The longest pause, in seconds, between two polls of a server that has nothing to do."""
    first_poll: float = 0.2
    """The shortest."""
    retry: float = 30.0
    """The longest pause between two tries to reach a server that is away."""
    renew: float = 60.0
    """Seconds after which the lock of a job is renewed, where the server can do that."""
    grace: float = 20.0
    """Seconds that running jobs get when the factory stops."""


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
        self.ended: Deferred[None] = Deferred()
        """Fires when it ends by itself: fails with ``Refused``, where the server does not want it."""
        self._reactor = reactor
        self._server = server
        self._renderer = renderer
        self._tasks = tasks
        self._options = options
        self._tell = tell
        self._chance = chance
        self._room = DeferredSemaphore(renderer.jobs)
        # The renderer does not wait for the network: it has the next document while results are sent.
        self._sending = DeferredSemaphore(2 * renderer.jobs)
        self._idle = Pauses(options.first_poll, options.poll, chance)
        self._working: dict[str, Deferred[None]] = {}
        self._pause: Deferred[Any] | None = None
        self._polling: Deferred[None] | None = None
        self._welcome = False
        self._broken_until = 0.0

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
            self._event("took", f"{folder.task.filename} again, from before the factory was started", folder.task)
            if (room := await self._acquire()) is None:
                return
            self._begin(folder, room, fresh=False)
        away = Pauses(0.5, self._options.retry, self._chance)
        while (room := await self._acquire()) is not None:
            try:
                await self._rest(self._broken_until - self._reactor.seconds())
                folder = await self._server.poll() if self.running else None
            except (ServerAway, Refused, Fault, OSError) as error:
                room.release()
                await self._not_polled(error, away)
                continue
            except BaseException:
                room.release()
                raise
            self._welcome = True
            self._reached()
            away.reset()
            if folder is None:
                room.release()
                await self._rest(self._idle.next())
                continue
            self._idle.reset()
            self._event("took", f"{folder.task.filename} for {folder.task.format or 'any format'}", folder.task)
            self._begin(folder, room)

    async def _not_polled(self, error: Exception, away: Pauses) -> None:
        """Wait, or give up where the very first poll says that this factory is not wanted."""
        unwelcome = isinstance(error, Refused) or (isinstance(error, Fault) and error.code in _NOT_WELCOME)
        if unwelcome and not self._welcome:
            raise Refused(str(error)) from error
        pause = away.next()
        self._lost(f"{error}; next try in {pause:.0f} s")
        await self._rest(pause)

    def _begin(self, folder: TaskFolder, room: _Place, *, fresh: bool = True) -> None:
        job = folder.task.job
        if job in self._working:
            # Its lock ran out and we are the next to get it: its files are new ones.
            self._working[job].cancel()
        working = Deferred.fromCoroutine(self._work(folder, room, fresh))
        self._working[job] = working

        def over(result: object) -> None:
            if self._working.get(job) is working:
                del self._working[job]
                self.status.working.pop(job, None)
            room.release()
            if isinstance(result, Failure) and not result.check(CancelledError):
                self.log.failure("factory.job-broken", result, job=job)

        working.addBoth(over)

    # -- doing them --------

    async def _work(self, folder: TaskFolder, room: _Place, fresh: bool) -> None:
        began = self._reactor.seconds()
        task = folder.task
        sending: DeferredSemaphore | None = None
        try:
            result = None if fresh else await self._in_thread(folder.result)
            if result is None:
                self.status.working[task.job] = f"rendering {task.safe_name}"
                result = await self._render(folder, fresh)
            if result is None:
                return
            self.status.working[task.job] = f"sending {task.safe_name}"
            sending = await self._sending.acquire()
            room.release()
            name = await self._persist(lambda: self._server.finish(task, *result))
        except (NotRendered, RendererBroken) as error:
            await self._not_rendered(folder, error)
            return
        except (Fault, Refused) as error:
            self.status.failed += 1
            self._event("dropped", f"{task.filename}: {error}", task)
        else:
            self.status.finished += 1
            seconds = self._reactor.seconds() - began
            self._event("finished", f"{task.filename} in {seconds:.2f} s, result {name}", task)
        finally:
            if sending is not None:
                sending.release()
        await self._in_thread(folder.remove)

    async def _render(self, folder: TaskFolder, fresh: bool) -> tuple[Path, str] | None:
        """Render while the lock is renewed; None where it was lost."""
        task = folder.task
        if not fresh:
            await self._in_thread(folder.begin)
        rendering = Deferred.fromCoroutine(self._renderer.render(folder))
        lost: list[str] = []

        async def renew() -> None:
            try:
                await self._server.renew(task)
            except (ServerAway, Refused) as error:
                self.log.debug("factory.not-renewed", job=task.job, reason=str(error))
            except Fault as fault:
                if fault.code in (Code.LOCK_LOST, Code.NO_SUCH_JOB):
                    lost.append(fault.text)
                    rendering.cancel()

        renewing = LoopingCall(lambda: Deferred.fromCoroutine(renew()))
        renewing.clock = self._reactor
        renewing.start(self._options.renew, now=False)
        try:
            made = await rendering
        except CancelledError:
            if not lost:
                raise
            self._event("dropped", f"{task.filename}: {lost[0]}", task)
            await self._in_thread(folder.remove)
            return None
        finally:
            renewing.stop()
        output_format = format_of(task)
        return await self._in_thread(folder.keep, made, output_format), output_format

    async def _not_rendered(self, folder: TaskFolder, error: PFServerError) -> None:
        self.status.failed += 1
        if isinstance(error, RendererBroken):
            self._broken_until = self._reactor.seconds() + BROKEN_PAUSE
            self._event("broken", str(error), folder.task)
        await self._give_back(folder, str(error))

    async def _give_back(self, folder: TaskFolder, reason: str) -> None:
        task = folder.task
        try:
            released = await self._server.release(task, reason)
        except (ServerAway, Refused, Fault) as error:
            self.log.debug("factory.not-released", job=task.job, reason=str(error))
            released = False
        how = "" if released else "; the server gives it to others when its lock runs out"
        self._event("released", f"{task.filename}: {reason}{how}", task)
        await self._in_thread(folder.remove)

    async def _persist(self, call: Callable[[], Awaitable[str]]) -> str:
        """Call until the server has answered. Raises ``Fault`` and ``Refused``."""
        pauses = Pauses(0.2, self._options.retry, self._chance)
        last = self._reactor.seconds() + PERSISTENCE
        while True:
            try:
                answer = await call()
            except (ServerAway, Refused) as error:
                # A proxy says many things while its server is away.
                if isinstance(error, Refused) and (error.final or self._reactor.seconds() > last):
                    raise
                problem = str(error)
            except Fault as fault:
                if fault.code != INTERNAL:
                    raise
                problem = fault.text
            else:
                self._reached()
                return answer
            pause = pauses.next()
            self._lost(f"{problem}; next try in {pause:.0f} s")
            await deferLater(self._reactor, pause)

    # -- the end --------

    async def _stop(self) -> None:
        self.status.stopping = True
        self._event("stopping", f"{len(self._working)} at work get {self._options.grace:.0f} s")
        if self._pause is not None:
            self._pause.cancel()
        # The poll that runs may bring a job, which the server would keep for us: so it is waited for.
        if self._polling is not None:
            await self._within(LAST_CALL, [self._polling])
        await self._within(self._options.grace, list(self._working.values()))
        for folder in await self._in_thread(self._tasks.left_over):
            if await self._in_thread(folder.result) is None:
                await self._within(LAST_CALL, [Deferred.fromCoroutine(self._give_back(folder, "the factory stops"))])
        await self._renderer.stop()
        await self._server.close()
        self._event("stopped", f"{self.status.finished} finished, {self.status.failed} failed")

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

    async def _acquire(self) -> _Place | None:
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
        return _Place(room)

    def _lost(self, text: str) -> None:
        self._server.forget()
        self.status.away = True
        self._event("away", text)

    def _reached(self) -> None:
        if self.status.away:
            self.status.away = False
            self._event("back", "the server answers again")

    def _event(self, kind: str, text: str, task: Task | None = None) -> None:
        self._tell(Event(kind, text, task.job if task is not None else ""))

    async def _in_thread(self, function: Any, *arguments: Any) -> Any:
        return await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), function, *arguments)


class _Place:
    """Room for one job, given back once."""

    def __init__(self, room: DeferredSemaphore) -> None:
        self._room: DeferredSemaphore | None = room

    def release(self) -> None:
        """Give it back, if it is not given back yet."""
        room, self._room = self._room, None
        if room is not None:
            room.release()
