"""Takes jobs from one queue and keeps so many of them at work at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from pfserver.engine import texts
from pfserver.engine.reports import Tools, end_without_work
from pfserver.engine.run import Run
from pfserver.errors import StoreUnavailable
from pfserver.interfaces import IBackend
from pfserver.model import Job, Outcome, State

#: Seconds before a claim that the store refused is tried again.
RETRY_DELAY = 1.0


class Dispatcher:
    """Claims and runs the jobs of one queue.

    A job that is produced leaves its slot to the next while its outcome is being stored: the claim of that one shares
    the commit. No more than twice the slots are taken in all, however long the disk refuses. A job that waits for an
    earlier run of it to end has that one's slot.

    :param slots: jobs that are produced at once.
    :param first: messages that each claimed job begins with.
    :param poll: seconds between looks into a store that other servers fill too; None where there are none.
    """

    log = Logger()

    def __init__(
        self,
        queue: str,
        slots: int,
        backends: Mapping[str, IBackend],
        tools: Tools,
        *,
        first: Sequence[tuple[int, str]] = (),
        poll: float | None = None,
    ) -> None:
        self.queue = queue
        self.slots = slots
        self.runs: dict[int, Run] = {}
        # Jobs that begin when an earlier run of them has ended.
        self._again: dict[int, Job] = {}
        self._produced: set[int] = set()
        self._backends = backends
        self._tools = tools
        self._first = first
        self._poll = poll
        self._active = False
        self._claiming = False
        self._dirty = False
        self._timer: IDelayedCall | None = None
        self._idle: list[Deferred[None]] = []

    def start(self) -> None:
        """Begin to take jobs."""
        self._active = True
        self.wake()
        if self._poll is not None:
            self._look_again(self._poll)

    def pause(self) -> None:
        """Take no more jobs; those that run go on."""
        self._active = False
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def stop_runs(self) -> None:
        """Stop the jobs that run; they go back to the queue."""
        for run in list(self.runs.values()):
            run.stop()

    def notice(self, job: Job) -> bool:
        """How a job is by now that is this server's; whoever works on it hears of a cancel. False where nobody does.

        A run of an earlier attempt has lost the job, and is stopped.
        """
        waiting = self._again.get(job.id)
        if waiting is not None and waiting.attempts == job.attempts:
            # What is told here may be older than what is known.
            if job.state is State.CANCELLING:
                self._again[job.id] = job
            return True
        run = self.runs.get(job.id)
        if run is None:
            return False
        if run.job.attempts < job.attempts:
            run.stop()
        else:
            run.notice(job)
        return True

    def when_idle(self) -> Deferred[None]:
        """Fires once nothing runs any more; only useful while paused."""
        waiter: Deferred[None] = Deferred()
        self._idle.append(waiter)
        self._check_idle()
        return waiter

    def wake(self) -> None:
        """There may be jobs in the queue."""
        self._dirty = True
        if self._active and not self._claiming and self._free() > 0 and self._backends:
            self._claiming = True
            Deferred.fromCoroutine(self._claim()).addErrback(self._claim_failed)

    def _free(self) -> int:
        taken = len(self.runs)
        return min(self.slots - taken + len(self._produced - self._again.keys()), 2 * self.slots - taken)

    async def _claim(self) -> None:
        try:
            # Jobs mostly end together, since commits are shared: a turn of the reactor later one claim serves all.
            await deferLater(self._tools.clock, 0)
            while self._active and self._dirty and (free := self._free()) > 0:
                self._dirty = False
                jobs = await self._tools.store.claim(
                    self.queue, tuple(self._backends), free, node=self._tools.node, messages=self._first
                )
                if len(jobs) == free:
                    self._dirty = True
                for job in jobs:
                    self._begin(job)
        finally:
            self._claiming = False
            self._check_idle()

    def _claim_failed(self, failure: Failure) -> None:
        self._dirty = True
        if isinstance(failure.value, StoreUnavailable):
            self.log.warn("queue.claim-failed", queue=self.queue, reason=failure.getErrorMessage())
        else:
            self.log.failure("queue.claim-broken", failure, queue=self.queue)
        if self._active:
            self._look_again(RETRY_DELAY)

    def _look_again(self, delay: float) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = self._tools.clock.callLater(delay, self._looked)

    def _looked(self) -> None:
        self._timer = None
        if self._poll is not None:
            self._look_again(self._poll)
        self.wake()

    def _begin(self, job: Job) -> None:
        self._tools.feed.told(job, self._first)
        if (before := self.runs.get(job.id)) is None:
            self._run(job)
            return
        # Others took it for abandoned while this server stood still: that run has lost it, and is to end first.
        self._again[job.id] = job
        before.stop()

    def _run(self, job: Job) -> None:
        run = Run(job, self._backends[job.request.backend], self._tools, self._was_produced)
        self.runs[job.id] = run
        run.notice(job)
        done = Deferred.fromCoroutine(run.execute())
        if not self._active:
            # Claimed while the server began to stop.
            run.stop()
        done.addErrback(lambda failure: Deferred.fromCoroutine(self._run_failed(failure, job)))
        done.addErrback(self._not_ended, job)
        done.addCallback(self._ended, job.id)

    async def _run_failed(self, failure: Failure, job: Job) -> bool:
        """What nobody foresaw ends the job: one that stays at work for ever is worse."""
        self.log.failure("job.run-failed", failure, transaction=job.transaction_id)
        await end_without_work(self._tools, job, Outcome.FAILED, [texts.BROKEN])
        return False

    def _not_ended(self, failure: Failure, job: Job) -> bool:
        # The next start finds it as abandoned.
        self.log.failure("job.not-ended", failure, transaction=job.transaction_id)
        return False

    def _was_produced(self, job_id: int) -> None:
        self._produced.add(job_id)
        if self._dirty:
            self.wake()

    def _ended(self, given_back: bool, job_id: int) -> None:
        del self.runs[job_id]
        self._produced.discard(job_id)
        if (again := self._again.pop(job_id, None)) is not None:
            self._run(again)
        self._dirty = self._dirty or given_back
        self._check_idle()
        if self._dirty:
            self.wake()

    def _check_idle(self) -> None:
        if not self.runs and not self._claiming:
            waiters, self._idle = self._idle, []
            for waiter in waiters:
                if not waiter.called:
                    waiter.callback(None)
