"""What a backend has reported: gathered, stored in groups, told to the followers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from attrs import evolve, frozen
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from pfserver.engine import texts
from pfserver.engine.feed import Feed
from pfserver.errors import NoSuchJob, OutputUnavailable, StoreUnavailable, WrongState
from pfserver.interfaces import IJobStore, IOutputs
from pfserver.model import Artifact, Job, Outcome, Progress, State

_log = Logger()

#: Seconds that reports are gathered before they are stored together.
FLUSH_DELAY = 0.1

#: So many messages are stored without waiting for more.
FLUSH_MESSAGES = 200

#: Seconds between two told progress lines (Pageflex: at most twice a second).
PROGRESS_INTERVAL = 0.5

#: Seconds before a report that could not be stored is tried again.
RETRY_DELAY = 5.0

#: Calls a blocking function in a thread.
InThread = Callable[..., Awaitable[Any]]


@frozen
class Tools:
    """What all runs of a server share."""

    store: IJobStore
    outputs: IOutputs
    feed: Feed
    clock: IReactorTime
    in_thread: InThread
    node: str


async def expect_work(tools: Tools, job: Job) -> None:
    """Raise ``WrongState`` where somebody else has a job meanwhile, or none: the output that lies there is theirs."""
    now = await tools.store.get(job.id)
    if now.state in (State.QUEUED, State.DONE) or (now.node, now.attempts) != (job.node, job.attempts):
        raise WrongState(f"{job.transaction_id} is {now.state.value} and not at work here")


async def take_output_away(tools: Tools, job: Job) -> None:
    """Remove what was published and what was begun of a job that is at work and is not to go on.

    Whoever worked on it may have died, or stopped, between the publication of the output and its record. Raises
    ``WrongState`` as :func:`expect_work`.
    """
    await expect_work(tools, job)
    try:
        await tools.in_thread(tools.outputs.remove, job)
    except OutputUnavailable as error:
        # No reason for the job to have no end, and for a server that takes it up not to start.
        _log.warn("job.output-stays", transaction=job.transaction_id, reason=str(error))


def end_of(job: Job, reason: str, *, refund: bool) -> tuple[Outcome | None, list[texts.Text]]:
    """What a job ends with that was to go back to its queue for a reason, and what is told of that.

    None where it can go back: it was not cancelled, and has attempts left.
    """
    if job.state is State.CANCELLING:
        return Outcome.CANCELLED, []
    if job.attempts >= job.request.max_attempts and not refund:
        return Outcome.FAILED, [texts.attempts_spent(job, reason)]
    return None, []


async def end_without_work(tools: Tools, job: Job, outcome: Outcome, told: Sequence[tuple[int, str]]) -> Job:
    """Store the outcome of a job that nobody works on any more, failed or cancelled; it leaves no output.

    Raises ``WrongState`` where somebody else has it meanwhile.
    """
    await take_output_away(tools, job)
    progress = evolve(texts.counts(job), documents=0, pages=0)
    last = [*told, *texts.closing(job, outcome, progress)]
    job = await tools.store.finish(
        job.id, outcome, node=job.node, attempt=job.attempts, messages=last, progress=progress, artifacts=()
    )
    tools.feed.told(job, last)
    return job


class Reports:
    """Reports of one job on their way to the store; steps are made one after another.

    :param notice: called with the job each time it was stored.
    :param lost: called where a report is refused since the job is not this run's any more.
    """

    log = Logger()

    def __init__(self, job: Job, tools: Tools, notice: Callable[[Job], None], lost: Callable[[], None]) -> None:
        self._job = job
        # Whose reports they are: this server may have the job again while an earlier run of it has not ended.
        self._at_work: Any = {"node": tools.node, "attempt": job.attempts}
        self._tools = tools
        self._notice = notice
        self._lost = lost
        self._messages: list[tuple[int, str]] = []
        self._artifacts: list[Artifact] = []
        self._progress = texts.counts(job)
        self._changed = False
        self._told_at = tools.clock.seconds()
        self._timer: IDelayedCall | None = None
        self._lock = DeferredLock()
        self._closed = False
        # Whether the outcome leaves no output, not even what was reported before.
        self._nothing = False

    def message(self, number: int, text: str) -> None:
        self._messages.append((int(number), text))
        self._schedule(0 if len(self._messages) >= FLUSH_MESSAGES else FLUSH_DELAY)

    def artifact(self, artifact: Artifact) -> None:
        self._artifacts.append(artifact)
        self._schedule(FLUSH_DELAY)

    def progress(self, progress: Progress) -> None:
        if progress != self._progress:
            self._progress = progress
            self._changed = True
            self._schedule(FLUSH_DELAY)

    def restart(self, number: int, text: str) -> None:
        """Forget what was produced; the next try begins from nothing."""
        self._artifacts.clear()
        self.progress(Progress())
        self.message(number, text)

    def nothing_produced(self) -> None:
        """The job ends without output; its counts say so."""
        self._artifacts.clear()
        self._nothing = True
        self.progress(evolve(self._progress, documents=0, pages=0))

    def close(self) -> None:
        self._closed = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    async def flush(self) -> None:
        await self._locked(self._append)

    async def finish(self, outcome: Outcome) -> None:
        await self._locked(lambda: self._finish(outcome))

    async def requeue(self, text: tuple[int, str], *, refund: bool) -> None:
        await self._locked(lambda: self._requeue(text, refund))

    async def _append(self) -> None:
        if not (self._messages or self._artifacts or self._changed):
            return
        self._tell_progress()
        messages, artifacts, progress = self._take()
        try:
            job = await self._tools.store.append(
                self._job.id, messages=messages, progress=progress, artifacts=artifacts, **self._at_work
            )
        except StoreUnavailable:
            self._put_back(messages, artifacts)
            raise
        self._stored(job, messages)

    async def _finish(self, outcome: Outcome) -> None:
        messages, artifacts, progress = self._take()
        last = [*messages, *texts.closing(self._job, outcome, progress)]
        is_empty = outcome is Outcome.FAILED or self._nothing
        try:
            if artifacts and not is_empty:
                await self._tools.store.append(self._job.id, artifacts=artifacts, **self._at_work)
            job = await self._tools.store.finish(
                self._job.id,
                outcome,
                messages=last,
                progress=progress,
                artifacts=() if is_empty else None,
                **self._at_work,
            )
        except StoreUnavailable:
            self._put_back(messages, artifacts)
            raise
        self._stored(job, last)

    async def _requeue(self, text: tuple[int, str], refund: bool) -> None:
        told, artifacts, _ = self._take()
        messages = [*told, text]
        try:
            job = await self._tools.store.requeue(self._job.id, messages=messages, refund=refund, **self._at_work)
        except (StoreUnavailable, WrongState):
            self._put_back(told, artifacts)
            raise
        self._stored(job, messages)

    def _take(self) -> tuple[list[tuple[int, str]], list[Artifact], Progress]:
        messages, self._messages = self._messages, []
        artifacts, self._artifacts = self._artifacts, []
        self._changed = False
        return messages, artifacts, self._progress

    def _put_back(self, messages: list[tuple[int, str]], artifacts: list[Artifact]) -> None:
        self._messages[:0] = messages
        self._artifacts[:0] = artifacts
        self._changed = True

    def _stored(self, job: Job, messages: Sequence[tuple[int, str]]) -> None:
        self._tools.feed.told(job, messages)
        self._notice(job)

    def _tell_progress(self) -> None:
        now = self._tools.clock.seconds()
        if self._changed and now - self._told_at >= PROGRESS_INTERVAL:
            self._told_at = now
            self._messages.append(texts.progress_line(self._progress))

    async def _locked(self, step: Callable[[], Awaitable[None]]) -> None:
        await self._lock.acquire()
        try:
            await step()
        finally:
            self._lock.release()

    def _schedule(self, delay: float) -> None:
        if self._timer is None and not self._closed:
            self._timer = self._tools.clock.callLater(delay, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        Deferred.fromCoroutine(self.flush()).addErrback(self._not_stored)

    def _not_stored(self, failure: Any) -> None:
        if isinstance(failure.value, StoreUnavailable):
            self._schedule(RETRY_DELAY)
        elif isinstance(failure.value, WrongState | NoSuchJob):
            self._lost()
        else:
            self.log.failure("job.report-failed", failure, transaction=self._job.transaction_id)
