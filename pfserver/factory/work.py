"""One job after the other, several at once: rendering, renewing the lock, bringing the result back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore
from twisted.internet.task import LoopingCall, deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from pfserver.errors import PFServerError
from pfserver.factory.errors import NotRendered, Refused, RendererBroken, ServerAway
from pfserver.factory.events import News
from pfserver.factory.pauses import Pauses
from pfserver.factory.rendering import IRenderer, format_of
from pfserver.factory.server import OfficeshotsServer
from pfserver.factory.tasks import Task, TaskFolder
from pfserver.wire.xmlrpc import INTERNAL, Code, Fault

#: Seconds without polling after the renderer broke: jobs are better off elsewhere.
BROKEN_PAUSE = 60.0

#: Seconds that a result is offered to a server that does not want it.
PERSISTENCE = 3600.0


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


class Place:
    """Room for one job, given back once."""

    def __init__(self, room: DeferredSemaphore) -> None:
        self._room: DeferredSemaphore | None = room

    def release(self) -> None:
        """Give it back, if it is not given back yet."""
        room, self._room = self._room, None
        if room is not None:
            room.release()


class Workbench:
    """Does jobs.

    :param chance: random numbers from 0 to 1.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        server: OfficeshotsServer,
        renderer: IRenderer,
        options: FactoryOptions,
        news: News,
        chance: Callable[[], float],
    ) -> None:
        self.broken_until = 0.0
        """When the renderer may be tried again."""
        self._reactor = reactor
        self._server = server
        self._renderer = renderer
        self._options = options
        self._news = news
        self._chance = chance
        # The renderer does not wait for the network: it has the next document while results are sent.
        self._sending = DeferredSemaphore(2 * renderer.jobs)

    async def do(self, folder: TaskFolder, room: Place, fresh: bool) -> None:
        """Do a job to its end; gives its room back as soon as it was rendered.

        :param fresh: whether it was just taken: nothing is done of it yet.
        """
        began = self._reactor.seconds()
        task = folder.task
        sending: DeferredSemaphore | None = None
        renewing: LoopingCall | None = None
        try:
            result = None if fresh else await self._in_thread(folder.result)
            if result is None:
                self._news.status.working[task.job] = f"rendering {task.safe_name}"
                result = await self._render(folder, fresh)
            if result is None:
                return
            self._news.status.working[task.job] = f"sending {task.safe_name}"
            # A large result on a slow line takes longer than a lock lasts; who has lost it hears so from finish.
            renewing = self._renewing(task, lambda reason: None)
            sending = await self._sending.acquire()
            room.release()
            name = await self._persist(lambda: self._server.finish(task, *result))
        except (NotRendered, RendererBroken) as error:
            await self._not_rendered(folder, error)
            return
        except OSError as error:
            broken = RendererBroken(f"the factory's disk cannot be used: {error.strerror or error}")
            await self._not_rendered(folder, broken)
            return
        except (Fault, Refused) as error:
            self._news.status.failed += 1
            self._news.event("dropped", f"{task.filename}: {error}", task)
        else:
            self._news.status.finished += 1
            seconds = self._reactor.seconds() - began
            self._news.event("finished", f"{task.filename} in {seconds:.2f} s, result {name}", task, seconds)
        finally:
            if renewing is not None:
                renewing.stop()
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

        def end(reason: str) -> None:
            lost.append(reason)
            rendering.cancel()

        renewing = self._renewing(task, end)
        try:
            made = await rendering
        except CancelledError:
            if not lost:
                raise
            self._news.event("dropped", f"{task.filename}: {lost[0]}", task)
            await self._in_thread(folder.remove)
            return None
        finally:
            renewing.stop()
        output_format = format_of(task)
        # A rename: less work than to ask a thread for it.
        return folder.keep(made, output_format), output_format

    def _renewing(self, task: Task, lost: Callable[[str], None]) -> LoopingCall:
        """Renew a job's lock until this is stopped; tell where somebody else has the job."""

        async def renew() -> None:
            try:
                await self._server.renew(task)
            except (ServerAway, Refused) as error:
                self.log.debug("factory.not-renewed", job=task.job, reason=str(error))
            except Fault as fault:
                if fault.code in (Code.LOCK_LOST, Code.NO_SUCH_JOB):
                    lost(fault.text)

        renewing = LoopingCall(lambda: Deferred.fromCoroutine(renew()))
        renewing.clock = self._reactor
        renewing.start(self._options.renew, now=False)
        return renewing

    async def _not_rendered(self, folder: TaskFolder, error: PFServerError) -> None:
        self._news.status.failed += 1
        if isinstance(error, RendererBroken):
            self.broken_until = self._reactor.seconds() + BROKEN_PAUSE
            self._news.event("broken", str(error), folder.task)
        await self.give_back(folder, str(error))

    async def give_back(self, folder: TaskFolder, reason: str) -> None:
        """Give a job back to the server."""
        task = folder.task
        try:
            released = await self._server.release(task, reason)
        except (ServerAway, Refused, Fault) as error:
            self.log.debug("factory.not-released", job=task.job, reason=str(error))
            released = False
        how = "" if released else "; the server gives it to others when its lock runs out"
        self._news.event("released", f"{task.filename}: {reason}{how}", task)
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
                self._news.reached()
                return answer
            pause = pauses.next()
            self._news.lost(f"{problem}; next try in {pause:.0f} s")
            await deferLater(self._reactor, pause)

    async def _in_thread(self, function: Any, *arguments: Any) -> Any:
        return await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), function, *arguments)
