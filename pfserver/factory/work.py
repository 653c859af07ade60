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
from pfserver.factory.errors import NotKept, NotRendered, Refused, RendererBroken, ServerAway, disk_problem
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

#: Seconds that a result is offered to a server that works and cannot take it. Its disk or its database may be back
#: soon, but where it is this result that it fails at, the next ones wait behind it.
FAILING_PATIENCE = 120.0

#: Faults that say that others have the job, or that it is over: nothing has to be given back.
_NOT_OURS = {int(Code.LOCK_LOST), int(Code.NO_SUCH_JOB)}


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
        self._at_work: dict[str, TaskFolder] = {}
        # The renderer does not wait for the network: it has the next document while results are sent.
        self._sending = DeferredSemaphore(2 * renderer.jobs)

    async def do(self, folder: TaskFolder, room: Place, fresh: bool) -> None:
        """Do a job to its end; gives its room back as soon as it was rendered.

        :param fresh: whether it was just taken: nothing is done of it yet.
        """
        began = self._reactor.seconds()
        task = folder.task
        try:
            name = await self._bring(folder, room, fresh)
        except (NotRendered, RendererBroken) as error:
            await self._not_rendered(folder, error)
            return
        except OSError as error:
            await self._not_rendered(folder, RendererBroken(disk_problem(error)))
            return
        except (Fault, Refused) as error:
            await self._not_taken(folder, error)
            return
        self._news.status.finished += 1
        seconds = self._reactor.seconds() - began
        self._news.event("finished", f"{task.filename} in {seconds:.2f} s, result {name}", task, seconds)
        await self._in_thread(folder.remove)

    async def has(self, folder: TaskFolder) -> bool:
        """Whether the same is at work here already, and will be brought back for this one, too."""
        before = self._at_work.get(folder.task.job)
        if before is None:
            return False
        try:
            same = await self._in_thread(before.same_as, folder)
        except OSError:
            return False
        return same and self._at_work.get(folder.task.job) is before

    async def _bring(self, folder: TaskFolder, room: Place, fresh: bool) -> str:
        """Render what is not rendered yet, and bring it back; gives the result's name."""
        task = folder.task
        self._at_work[task.job] = folder
        try:
            result = None if fresh else await self._in_thread(folder.result)
            if result is None:
                self._news.status.working[task.job] = f"rendering {task.safe_name}"
                result = await self._render(folder, fresh)
            self._news.status.working[task.job] = f"sending {task.safe_name}"
            return await self._send(folder, result, room)
        finally:
            # If the job comes again from now on, nothing is made for it here.
            if self._at_work.get(task.job) is folder:
                del self._at_work[task.job]

    async def _send(self, folder: TaskFolder, result: tuple[Path, str], room: Place) -> str:
        """Bring a result back; gives its name. Raises ``Fault`` and ``Refused``."""
        task = folder.task
        # A large result on a slow line takes longer than a lock lasts; who has lost it hears so from finish.
        renewing = self._renewing(task, lambda fault: None)
        try:
            await self._sending.acquire()
            try:
                bringing = Deferred.fromCoroutine(self._persist(task, lambda: self._server.finish(task, *result)))
                # The next job is asked for behind the result: whoever waits for that has it sooner.
                room.release()
                return await bringing
            finally:
                self._sending.release()
        finally:
            renewing.stop()

    async def _render(self, folder: TaskFolder, fresh: bool) -> tuple[Path, str]:
        """Render while the lock is renewed. Raises the ``Fault`` that says that there is no such job any more."""
        task = folder.task
        if not fresh:
            await self._in_thread(folder.begin)
        rendering = Deferred.fromCoroutine(self._renderer.render(folder))
        gone: list[Fault] = []

        def end(fault: Fault) -> None:
            gone.append(fault)
            rendering.cancel()

        renewing = self._renewing(task, end)
        try:
            made = await rendering
        except CancelledError:
            if not gone:
                raise
            raise gone[0] from None
        finally:
            renewing.stop()
        output_format = format_of(task)
        # A rename: less work than to ask a thread for it.
        return folder.keep(made, output_format), output_format

    def _renewing(self, task: Task, gone: Callable[[Fault], None]) -> LoopingCall:
        """Renew a job's lock until this is stopped; tell where there is no such job any more.

        A lock that was lost ends nothing: it ran out while the server was away, and as long as nobody else has got the
        job, the result is taken all the same. Only finish knows.
        """

        async def renew() -> None:
            try:
                await self._server.renew(task)
            except (ServerAway, Refused) as error:
                self.log.debug("factory.not-renewed", job=task.job, reason=str(error))
            except Fault as fault:
                if fault.code == Code.NO_SUCH_JOB:
                    gone(fault)
                else:
                    self.log.debug("factory.not-renewed", job=task.job, reason=fault.text)

        renewing = LoopingCall(lambda: Deferred.fromCoroutine(renew()))
        renewing.clock = self._reactor
        renewing.start(self._options.renew, now=False)
        return renewing

    async def _not_rendered(self, folder: TaskFolder, error: PFServerError) -> None:
        self._news.status.failed += 1
        if isinstance(error, RendererBroken):
            self._break(str(error), folder.task)
        await self.give_back(folder, str(error))

    async def not_kept(self, error: NotKept) -> None:
        """A job came that the disk did not take."""
        self._break(str(error), error.task)
        await self._release(error.task, str(error))

    def _break(self, reason: str, task: Task) -> None:
        """Nothing can be done here for a while."""
        self.broken_until = self._reactor.seconds() + BROKEN_PAUSE
        self._news.event("broken", reason, task)

    async def _not_taken(self, folder: TaskFolder, error: Fault | Refused) -> None:
        """The server does not want a result: whoever waits for the job hears why, instead of waiting for its lock."""
        self._news.status.failed += 1
        if isinstance(error, Fault) and error.code in _NOT_OURS:
            self._news.event("dropped", f"{folder.task.filename}: {error}", folder.task)
            await self._in_thread(folder.remove)
        else:
            await self.give_back(folder, f"the server did not take the result: {error}")

    async def give_back(self, folder: TaskFolder, reason: str) -> None:
        """Give a job back to the server."""
        await self._release(folder.task, reason)
        await self._in_thread(folder.remove)

    async def _release(self, task: Task, reason: str) -> None:
        try:
            released = await self._server.release(task, reason)
        except (ServerAway, Refused, Fault) as error:
            self.log.debug("factory.not-released", job=task.job, reason=str(error))
            released = False
        how = "" if released else "; the server gives it to others when its lock runs out"
        self._news.event("released", f"{task.filename}: {reason}{how}", task)

    async def _persist(self, task: Task, call: Callable[[], Awaitable[str]]) -> str:
        """Call until the server has answered. Raises ``Fault`` and ``Refused``."""
        pauses = Pauses(0.2, self._options.retry, self._chance)
        last = self._reactor.seconds() + PERSISTENCE
        failing_since: float | None = None
        while True:
            try:
                answer = await call()
            except (ServerAway, Refused) as error:
                # A proxy says many things while its server is away.
                if isinstance(error, Refused) and (error.final or self._reactor.seconds() > last):
                    raise
                problem = str(error)
                failing_since = None
            except Fault as fault:
                now = self._reactor.seconds()
                failing_since = now if failing_since is None else failing_since
                if fault.code != INTERNAL:
                    raise
                if now >= failing_since + FAILING_PATIENCE:
                    if await self._answers(task):
                        raise
                    failing_since = None
                problem = fault.text
            else:
                self._news.reached()
                return answer
            pause = pauses.next()
            self._news.lost(f"{problem}; next try in {pause:.0f} s")
            await deferLater(self._reactor, pause)

    async def _answers(self, task: Task) -> bool:
        """Whether the server takes other calls for a job than its result: then it is the result's fault."""
        try:
            await self._server.renew(task)
        except (ServerAway, Refused):
            return False
        except Fault as fault:
            return fault.code != INTERNAL
        return True

    async def _in_thread(self, function: Any, *arguments: Any) -> Any:
        return await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), function, *arguments)
