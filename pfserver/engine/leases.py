"""Jobs that a remote factory works on: lease, renew, give back, finish, and what becomes of a lease that ran out."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from pfserver.engine import texts
from pfserver.engine.reports import Tools, end_of, end_without_work
from pfserver.errors import LeaseLost, OutputUnavailable, StoreUnavailable, WrongState
from pfserver.model import Artifact, Job, Outcome, Progress, State
from pfserver.numbers import Number

#: Seconds between two looks for leases that ran out.
SWEEP_INTERVAL = 5.0

Texts = Sequence[tuple[int, str]]


class Leases:
    """The leasing half of ``IEngine``.

    :param first: messages that each leased job begins with.
    :param wake: called with the name of a queue that a job went back to.
    """

    log = Logger()

    def __init__(self, tools: Tools, first: Texts, wake: Callable[[str], None]) -> None:
        self._tools = tools
        self._first = first
        self._wake = wake
        self._timer: IDelayedCall | None = None

    def start(self) -> None:
        """Begin to look for leases that ran out."""
        self._timer = self._tools.clock.callLater(SWEEP_INTERVAL, self._on_timer)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    async def lease(
        self,
        holder: str,
        choose: Callable[[Sequence[Job]], Job | None],
        backends: Sequence[str],
        seconds: float,
        kind: Hashable,
    ) -> Job | None:
        """See ``IEngine``."""
        first = [*self._first, (Number.LEASED, f"Taken by {holder}")]
        end = self._tools.clock.seconds() + seconds
        job = await self._tools.store.lease(
            holder, choose, backends=backends, expires_at=end, messages=first, kind=kind, home=self._tools.node
        )
        if job is not None:
            self._tools.feed.told(job, first)
        return job

    async def renew(self, job_id: int, holder: str, seconds: float, attempt: int | None) -> Job:
        """See ``IEngine``."""
        end = self._tools.clock.seconds() + seconds
        return await self._tools.store.renew(job_id, holder, expires_at=end, attempt=attempt)

    async def release(self, job_id: int, holder: str, reason: str, attempt: int | None, *, refund: bool) -> Job:
        """See ``IEngine``."""
        job = await self._tools.store.get(job_id)
        lost = LeaseLost(f"{job.transaction_id} is not leased to {holder}")
        if job.node != holder or job.state not in (State.LEASED, State.CANCELLING):
            raise lost
        if attempt not in (None, job.attempts):
            raise lost
        try:
            return await self._give_back(job, reason, refund=refund)
        except WrongState as error:
            raise lost from error

    async def finish(
        self,
        job_id: int,
        holder: str,
        outcome: Outcome,
        progress: Progress | None,
        messages: Texts,
        publish: Callable[[Path], Sequence[Artifact]] | None,
    ) -> Job:
        """See ``IEngine``."""
        job = await self._tools.store.get(job_id)
        if job.node != holder or job.state in (State.DONE, State.RUNNING):
            raise LeaseLost(f"{job.transaction_id} is not leased to {holder}")
        artifacts: Sequence[Artifact] = ()
        if publish is not None:
            artifacts = await self._tools.in_thread(self._publish, job, publish)
        if progress is None:
            count = len(artifacts)
            progress = Progress(documents=count, pages=sum(one.pages for one in artifacts), total=count)
        told = [*messages, *texts.closing(job, outcome, progress)]
        try:
            job = await self._tools.store.finish(
                job_id, outcome, node=holder, messages=told, progress=progress, artifacts=artifacts
            )
        except WrongState as error:
            raise LeaseLost(f"{job.transaction_id} is not leased to {holder} any more") from error
        self._tools.feed.told(job, told)
        return job

    def _publish(self, job: Job, publish: Callable[[Path], Sequence[Artifact]]) -> Sequence[Artifact]:
        outputs = self._tools.outputs
        folder = outputs.begin(job)
        try:
            artifacts = publish(folder)
            outputs.publish(job)
        except OSError as error:
            outputs.discard(job)
            reason = error.strerror or type(error).__name__
            raise OutputUnavailable(f"the output could not be written: {reason}") from error
        except BaseException:
            outputs.discard(job)
            raise
        return artifacts

    async def _give_back(self, job: Job, reason: str, *, refund: bool = False, until: float | None = None) -> Job:
        """Back to the queue; done where it was cancelled or has no attempt left. Raises ``WrongState``."""
        outcome, told = end_of(job, reason, refund=refund)
        if outcome is not None:
            return await end_without_work(self._tools, job, outcome, told)
        told = [texts.retry(reason)]
        job = await self._tools.store.requeue(
            job.id, node=job.node, messages=told, refund=refund, attempt=job.attempts, until=until
        )
        self._wake(job.request.queue)
        self._tools.feed.told(job, told)
        return job

    def _on_timer(self) -> None:
        def again(_: object) -> None:
            if self._timer is not None:
                self.start()

        Deferred.fromCoroutine(self.sweep()).addErrback(self._sweep_failed).addBoth(again)

    async def sweep(self) -> None:
        """Give back what is leased too long."""
        for job in await self._tools.store.expired_leases(self._tools.clock.seconds()):
            try:
                await self._give_back(job, f"the lease of {job.node} ran out", until=job.lease_until)
            except WrongState:
                # Renewed or finished in this very moment.
                self.log.debug("lease.kept", transaction=job.transaction_id)

    def _sweep_failed(self, failure: Failure) -> None:
        if isinstance(failure.value, StoreUnavailable):
            self.log.warn("lease.sweep-failed", reason=failure.getErrorMessage())
        else:
            self.log.failure("lease.sweep-broken", failure)
