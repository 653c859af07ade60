"""The engine's face: :class:`Engine` provides ``IEngine`` and starts and stops its parts."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path

from attrs import evolve, field, frozen
from twisted.internet.defer import DeferredLock, gatherResults
from twisted.internet.task import deferLater
from twisted.logger import Logger
from zope.interface import implementer

from pfserver.engine import texts
from pfserver.engine.dispatcher import Dispatcher
from pfserver.engine.leases import Leases
from pfserver.engine.nodes import Nodes
from pfserver.engine.reports import Tools
from pfserver.engine.retention import Retention, RetentionRule
from pfserver.engine.run import RETRY_FIRST
from pfserver.errors import NoSuchQueue, NotSupported, OutsideRoot, ServerStopping, StoreUnavailable
from pfserver.interfaces import IBackend, IEngine, IFollower, IWorkers
from pfserver.model import DEFAULT_ATTEMPTS, DEFAULT_QUEUE, Artifact, Job, JobRequest, Message, Outcome, Progress, State
from pfserver.numbers import Number

#: Jobs of one queue that run at once where the configuration says nothing. CPU-bound work is bounded by the workers.
DEFAULT_SLOTS = 8

#: The highest id that the store can hold.
_BEYOND_ALL = 2**62


@frozen
class EngineOptions:
    """What the configuration says about the engine."""

    host: str
    """The machine's name, told to followers (Pageflex: Machine name)."""
    queues: Mapping[str, int] = field(factory=lambda: {DEFAULT_QUEUE: DEFAULT_SLOTS})
    """Each queue with the number of its jobs that run at once."""
    retention: RetentionRule = field(factory=RetentionRule)
    attempts: int = DEFAULT_ATTEMPTS
    """How often a job is begun at most where its request says nothing."""
    shutdown_grace: float = 20.0
    """Seconds that running jobs get to finish when the server stops."""
    poll: float | None = None
    """Seconds between looks into a store that other servers share; None for a store of its own."""
    node_timeout: float | None = None
    """Seconds after which another server that shares the store and is silent is dead; None for a store of its own."""


@implementer(IEngine)
class Engine:
    """What happens to jobs.

    :param backends: in the order in which they are asked whether they take a job.
    :param tools: the store, the outputs and what else runs share.
    """

    log = Logger()

    def __init__(
        self, options: EngineOptions, backends: Sequence[IBackend], workers: IWorkers | None, tools: Tools
    ) -> None:
        self._options = options
        self._backends = {backend.name: backend for backend in backends}
        self._workers = workers
        self._tools = tools
        self._store = tools.store
        first = [texts.machine(options.host)]
        local = {name: backend for name, backend in self._backends.items() if backend.local}
        self._dispatchers = {
            queue: Dispatcher(queue, slots, local, tools, first=first, poll=options.poll)
            for queue, slots in options.queues.items()
        }
        self._leases = Leases(tools, first, self._wake)
        self._nodes = Nodes(tools, options.node_timeout, self._wake, self._notice)
        self._retention = Retention(options.retention, tools)
        self._stopping = False
        self._restarting = DeferredLock()

    # -- start and stop --------

    async def start(self) -> None:
        """Take up what this server's earlier life has left, then begin to work."""
        await self._nodes.start()
        await self._warn_of_stranded()
        for dispatcher in self._dispatchers.values():
            dispatcher.start()
        self._leases.start()
        self._retention.start()

    async def _warn_of_stranded(self) -> None:
        """Waiting jobs that this server cannot do: they are kept, and somebody should know."""
        for (queue, backend, home), count in (await self._store.waiting_by_queue()).items():
            if queue not in self._dispatchers or backend not in self._backends:
                self.log.warn("jobs.stranded", queue=queue, backend=backend, count=count)
            elif home not in ("", self._tools.node):
                # Perhaps it is away, perhaps it never comes back.
                self.log.info("jobs.wait-for-home", home=home, queue=queue, backend=backend, count=count)

    async def stop(self) -> None:
        """Take no jobs, let running ones finish for the grace time, give the rest back, stop the backends."""
        self._stopping = True
        self._nodes.stop()
        self._leases.stop()
        self._retention.stop()
        await self._quiesce(self._options.shutdown_grace)
        self._nodes.close()
        self._tools.feed.stop()
        for backend in self._backends.values():
            await backend.stop()
        if self._workers is not None:
            await self._workers.stop()

    async def restart(self) -> None:
        """See ``IEngine``."""
        await self._restarting.acquire()
        try:
            self.log.info("engine.restarting")
            await self._quiesce(0.0)
            if self._workers is not None:
                await self._workers.restart()
            for backend in self._backends.values():
                await backend.restart()
            self.log.info("engine.restarted")
        finally:
            # Even where one backend could not be restarted, or a job not taken up: the others' jobs must go on.
            try:
                await self._take_up_left()
            finally:
                if not self._stopping:
                    for dispatcher in self._dispatchers.values():
                        dispatcher.start()
                self._restarting.release()

    async def _take_up_left(self) -> None:
        """Take up jobs that the store refused to take back; while it does, none could be begun either."""
        while not self._stopping:
            try:
                await self._nodes.restart()
                return
            except StoreUnavailable as error:
                self.log.warn("engine.waits-for-disk", reason=str(error), seconds=RETRY_FIRST)
            await deferLater(self._tools.clock, RETRY_FIRST)

    def _notice(self, job: Job) -> bool:
        """Tell whoever works on a job how it is by now; False where nobody does."""
        return any(dispatcher.notice(job) for dispatcher in self._dispatchers.values())

    async def _quiesce(self, grace: float) -> None:
        dispatchers = self._dispatchers.values()
        for dispatcher in dispatchers:
            dispatcher.pause()
        idle = gatherResults([dispatcher.when_idle() for dispatcher in dispatchers])

        def give_up() -> None:
            for dispatcher in dispatchers:
                dispatcher.stop_runs()

        timer = self._tools.clock.callLater(grace, give_up)
        await idle
        if timer.active():
            timer.cancel()

    # -- submitters --------

    async def submit(self, request: JobRequest, *, notes: Sequence[tuple[int, str]] = ()) -> Job:
        """See ``IEngine``."""
        return (await self._submit([request], notes))[0]

    async def submit_group(self, requests: Sequence[JobRequest]) -> Sequence[Job]:
        """See ``IEngine``."""
        return await self._submit(requests, ())

    async def _submit(self, requests: Sequence[JobRequest], notes: Sequence[tuple[int, str]]) -> Sequence[Job]:
        if self._stopping:
            raise ServerStopping("the server is stopping and takes no new jobs")
        checked = [await self._checked(request) for request in requests]
        jobs = await self._store.add(checked, messages=notes)
        for job in jobs:
            if self._backends[job.request.backend].local:
                self._wake(job.request.queue)
        return jobs

    async def _checked(self, request: JobRequest) -> JobRequest:
        self._expect_queue(request.queue)
        backend = next((one for one in self._backends.values() if one.takes(request)), None)
        if backend is None:
            if ".." in request.project.replace("\\", "/").split("/"):
                # Whatever kind it is: this is the better answer.
                raise OutsideRoot("the project lies outside the projects folder")
            hint = "its name says what it is, as in Letters.pf or letter.odt"
            raise NotSupported(f"no backend of this server takes {request.project!r}: {hint}")
        if request.output_folder:
            folder = await self._tools.in_thread(self._tools.outputs.resolve, request.output_folder)
            request = evolve(request, output_folder=str(folder))
        attempts = request.max_attempts if request.max_attempts != DEFAULT_ATTEMPTS else self._options.attempts
        return evolve(await backend.check(request), backend=backend.name, max_attempts=attempts)

    async def cancel(self, job_id: int, *, unless_begun: bool = False) -> Job:
        """See ``IEngine``."""

        def closing(job: Job) -> Sequence[tuple[int, str]]:
            if job.state is State.DONE:
                return texts.closing(job, Outcome.CANCELLED, texts.counts(job))
            return [(Number.CANCELLING, "Cancel asked for: the current document is finished, no further one begun")]

        job = await self._store.cancel(job_id, closing, unless_begun=unless_begun)
        self._tools.feed.told(job)
        self._notice(job)
        return job

    # -- those who look --------

    async def job(self, job_id: int) -> Job:
        """See ``IEngine``."""
        return await self._store.get(job_id)

    async def jobs(self, *, after: int = 0, limit: int = 100, unfinished: bool = False) -> Sequence[Job]:
        """See ``IEngine``."""
        return await self._store.find(after=after, limit=limit, unfinished=unfinished)

    async def recent_jobs(self, limit: int = 50) -> Sequence[Job]:
        """See ``IEngine``."""
        return await self._store.find(after=_BEYOND_ALL, limit=limit, reverse=True)

    async def next_job_id(self, job_id: int, *, reverse: bool = False) -> int | None:
        """See ``IEngine``."""
        found = await self._store.find(after=job_id, limit=1, reverse=reverse)
        return found[0].id if found else None

    async def messages(self, job_id: int, *, after: int = 0, limit: int = 500) -> Sequence[Message]:
        """See ``IEngine``."""
        found = await self._store.messages(job_id, after=after, limit=limit)
        if not found:
            await self._store.get(job_id)
        return found

    async def artifacts(self, job_id: int) -> Sequence[Artifact]:
        """See ``IEngine``."""
        found = await self._store.artifacts(job_id)
        if not found:
            await self._store.get(job_id)
        return found

    def output_folder(self, job: Job) -> Path:
        """See ``IEngine``."""
        return self._tools.outputs.folder(job)

    async def follow(self, job_id: int, *, after: int = 0) -> IFollower:
        """See ``IEngine``."""
        return await self._tools.feed.follow(job_id, after)

    async def queue_length(self, queue: str = "") -> int:
        """See ``IEngine``."""
        if queue:
            self._expect_queue(queue)
        return await self._store.waiting(queue)

    def queue_names(self) -> Sequence[str]:
        """See ``IEngine``."""
        return tuple(self._dispatchers)

    # -- remote workers --------

    async def lease(
        self,
        holder: str,
        choose: Callable[[Sequence[Job]], Job | None],
        *,
        backends: Sequence[str],
        seconds: float,
        kind: Hashable = None,
    ) -> Job | None:
        """See ``IEngine``."""
        if self._stopping:
            return None
        return await self._leases.lease(holder, choose, backends, seconds, kind)

    def idle(self, backends: Sequence[str], kind: Hashable) -> bool:
        """See ``IEngine``."""
        return not self._stopping and self._tools.store.idle(backends, kind)

    async def renew(self, job_id: int, holder: str, *, seconds: float, attempt: int | None = None) -> Job:
        """See ``IEngine``."""
        return await self._leases.renew(job_id, holder, seconds, attempt)

    async def release(
        self, job_id: int, holder: str, reason: str, *, attempt: int | None = None, refund: bool = False
    ) -> Job:
        """See ``IEngine``."""
        return await self._leases.release(job_id, holder, reason, attempt, refund=refund)

    async def finish_lease(
        self,
        job_id: int,
        holder: str,
        outcome: Outcome,
        *,
        progress: Progress | None = None,
        messages: Sequence[tuple[int, str]] = (),
        publish: Callable[[Path], Sequence[Artifact]] | None = None,
    ) -> Job:
        """See ``IEngine``."""
        return await self._leases.finish(job_id, holder, outcome, progress, messages, publish)

    # -- helpers --------

    def _wake(self, queue: str) -> None:
        dispatcher = self._dispatchers.get(queue)
        if dispatcher is not None:
            dispatcher.wake()

    def _expect_queue(self, queue: str) -> None:
        if queue not in self._dispatchers:
            known = ", ".join(self._dispatchers)
            raise NoSuchQueue(f"there is no queue {queue!r}; the queues are: {known}")
