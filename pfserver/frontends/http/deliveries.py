"""Documents on their way to factories: a lock counts from the end of its delivery; what breaks off was never tried."""

from __future__ import annotations

from typing import Any

from attrs import define
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from pfserver.interfaces import IEngine
from pfserver.model import Job

#: Seconds for which a delivery may make its lock longer, however slowly the factory reads.
LONGEST = 3600.0

#: Broken deliveries of a job that are no attempt. Beyond that each is one, so that even a job that nobody ever takes
#: to its end has an end.
FREE_OF_A_JOB = 10

#: Broken deliveries in a row after which a factory gets nothing for a while, so that others get the job; and the
#: seconds of the longest while.
FREE_OF_A_FACTORY, LONGEST_PAUSE = 3, 300.0

#: Jobs whose broken deliveries are known.
JOBS_KNOWN = 10_000


class Deliveries:
    """All of them.

    :param seconds: how long a lock is.
    """

    def __init__(self, engine: IEngine, clock: Any, seconds: float) -> None:
        self.engine = engine
        self.clock = clock
        self.seconds = seconds
        self._of_jobs: dict[int, int] = {}
        self._of_factories: dict[str, tuple[int, float]] = {}

    def pauses(self, factory: str) -> bool:
        """Whether a factory has broken off so often that it gets nothing now."""
        if not self._of_factories:
            return False
        _, until = self._of_factories.get(factory, (0, 0.0))
        return bool(self.clock.seconds() < until)

    def begin(self, job: Job, factory: str) -> UnderWay:
        """A job that was just leased goes out."""
        now = self.clock.seconds()
        return UnderWay(self, job, factory, now, now)

    def broke(self, job: Job, factory: str) -> bool:
        """Count a broken delivery; whether it is no attempt."""
        count = self._of_factories.get(factory, (0, 0.0))[0] + 1
        pause = min(2.0 ** (count - FREE_OF_A_FACTORY), LONGEST_PAUSE) if count > FREE_OF_A_FACTORY else 0.0
        self._of_factories[factory] = count, self.clock.seconds() + pause
        if len(self._of_jobs) >= JOBS_KNOWN:
            self._of_jobs.clear()
        self._of_jobs[job.id] = self._of_jobs.get(job.id, 0) + 1
        return self._of_jobs[job.id] <= FREE_OF_A_JOB

    def arrived(self, job: Job, factory: str) -> None:
        """The whole document is on its way to this factory."""
        self._of_jobs.pop(job.id, None)
        self._of_factories.pop(factory, None)


@define
class UnderWay:
    """One of them."""

    _all: Deliveries
    _job: Job
    _factory: str
    _began: float
    _renewed: float
    _log = Logger(namespace="pfserver.frontends.http.deliveries")

    def progressed(self) -> None:
        """The factory takes more: the lock must not run out meanwhile."""
        now = self._all.clock.seconds()
        if now - self._renewed > self._all.seconds / 3 and now - self._began < LONGEST:
            self._renew(now)

    def delivered(self) -> None:
        """All is sent: the factory has its time from now on."""
        self._all.arrived(self._job, self._factory)
        now = self._all.clock.seconds()
        # Not where that would be the same: it costs a commit.
        if now - self._renewed > self._all.seconds / 20:
            self._renew(now)

    def undelivered(self) -> None:
        """The factory was gone before it had all: nobody has tried the job."""
        refund = self._all.broke(self._job, self._factory)
        reason = "the connection was lost before the factory had the document"
        Deferred.fromCoroutine(self.give_back(reason, refund=refund)).addErrback(self._not_ours)

    async def give_back(self, reason: str, *, refund: bool = True) -> None:
        """Put the job back into its queue. Raises ``LeaseLost`` where this lease of it has ended."""
        attempt = self._job.attempts
        await self._all.engine.release(self._job.id, self._factory, reason, attempt=attempt, refund=refund)

    def _renew(self, now: float) -> None:
        self._renewed = now
        Deferred.fromCoroutine(self._keep()).addErrback(self._not_ours)

    async def _keep(self) -> None:
        attempt, seconds = self._job.attempts, self._all.seconds
        await self._all.engine.renew(self._job.id, self._factory, seconds=seconds, attempt=attempt)

    def _not_ours(self, failure: Failure) -> None:
        # The lease has run out by itself, or will.
        self._log.debug("factory.lease-lost", reason=failure.getErrorMessage(), transaction=self._job.transaction_id)
