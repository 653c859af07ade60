"""Removes done jobs after a configured age or count: outputs first, then the record, a few at a time."""

from __future__ import annotations

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from pfserver.engine.reports import Tools
from pfserver.errors import OutputUnavailable, StoreUnavailable
from pfserver.model import Job

#: Seconds between two looks for jobs to remove, where they are kept for longer, and from the start to the first one.
INTERVAL, FIRST = 60.0, 1.0

#: Jobs that are removed before others get their turn.
BATCH = 50


#: With more jobs than this whose output cannot be removed, the next look is soon enough for the others.
STAYING = 1000


@frozen
class RetentionRule:
    """How long done jobs are kept: ``age`` in seconds, at most ``count`` of them; None for no limit."""

    age: float | None = None
    count: int | None = None


class Retention:
    """Removes what the rule does not keep."""

    log = Logger()

    def __init__(self, rule: RetentionRule, tools: Tools) -> None:
        self._rule = rule
        self._tools = tools
        self._timer: IDelayedCall | None = None
        self._work: Deferred[None] | None = None
        self._stopped = False

    def start(self) -> None:
        """Look now and then, if the rule limits anything."""
        if self._rule.age is not None or self._rule.count is not None:
            self._look_in(FIRST)

    def _look_in(self, seconds: float) -> None:
        self._timer = self._tools.clock.callLater(seconds, self._on_timer)

    def stop(self) -> None:
        """Look no more; a removal that runs stops after its batch."""
        self._stopped = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    async def sweep(self) -> int:
        """Remove all that is due; gives the number of removed jobs. A job whose output cannot be removed stays."""
        removed = 0
        staying: set[int] = set()
        while True:
            before = None if self._rule.age is None else self._tools.clock.seconds() - self._rule.age
            limit = BATCH + len(staying)
            found = await self._tools.store.prunable(finished_before=before, keep=self._rule.count, limit=limit)
            jobs = [job for job in found if job.id not in staying]
            gone = [job.id for job in jobs if await self._output_removed(job)]
            staying.update(job.id for job in jobs if job.id not in gone)
            await self._tools.store.delete(gone)
            removed += len(gone)
            if len(jobs) < BATCH or len(staying) > STAYING or self._stopped:
                return removed

    async def _output_removed(self, job: Job) -> bool:
        try:
            await self._tools.in_thread(self._tools.outputs.remove, job)
        except OutputUnavailable as error:
            self.log.warn("retention.output-stays", transaction=job.transaction_id, reason=str(error))
            return False
        return True

    def _on_timer(self) -> None:
        def again(_: object) -> None:
            if self._timer is not None:
                self._look_in(min(INTERVAL, max(FIRST, self._rule.age or INTERVAL)))

        Deferred.fromCoroutine(self.sweep()).addCallbacks(self._swept, self._failed).addBoth(again)

    def _swept(self, removed: int) -> None:
        if removed:
            self.log.info("retention.removed", jobs=removed)

    def _failed(self, failure: Failure) -> None:
        if isinstance(failure.value, StoreUnavailable):
            self.log.warn("retention.failed", reason=failure.getErrorMessage())
        else:
            self.log.failure("retention.broken", failure)
