"""Removes done jobs after a configured age or count: outputs first, then the record, a few at a time."""

from __future__ import annotations

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from pfserver.engine.reports import Tools
from pfserver.errors import OutputUnavailable, StoreUnavailable

#: Seconds between two looks for jobs to remove.
INTERVAL = 60.0

#: Jobs that are removed before others get their turn.
BATCH = 50


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

    def start(self) -> None:
        """Look now and then, if the rule limits anything."""
        if self._rule.age is not None or self._rule.count is not None:
            self._timer = self._tools.clock.callLater(INTERVAL, self._on_timer)

    def stop(self) -> None:
        """Look no more; a removal that runs stops after its batch."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    async def sweep(self) -> int:
        """Remove all that is due; gives the number of removed jobs."""
        removed = 0
        while True:
            before = None if self._rule.age is None else self._tools.clock.seconds() - self._rule.age
            jobs = await self._tools.store.prunable(finished_before=before, keep=self._rule.count, limit=BATCH)
            for job in jobs:
                await self._tools.in_thread(self._tools.outputs.remove, job)
            await self._tools.store.delete([job.id for job in jobs])
            removed += len(jobs)
            if len(jobs) < BATCH:
                return removed

    def _on_timer(self) -> None:
        def again(_: object) -> None:
            if self._timer is not None:
                self.start()

        Deferred.fromCoroutine(self.sweep()).addCallbacks(self._swept, self._failed).addBoth(again)

    def _swept(self, removed: int) -> None:
        if removed:
            self.log.info("retention.removed", jobs=removed)

    def _failed(self, failure: Failure) -> None:
        if isinstance(failure.value, StoreUnavailable | OutputUnavailable):
            self.log.warn("retention.failed", reason=failure.getErrorMessage())
        else:
            self.log.failure("retention.broken", failure)
