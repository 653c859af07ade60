"""Jobs of servers that died at work: this one's earlier life, and others that share the store.

Servers that share a store watch one another. Each counts on in a row of its own; one whose count stands still for a
while is taken for dead, by the watcher's own clock: the clocks of several machines need not agree. Where it only stood
still, its late reports are refused, since the job is no longer its own, or its own again at another attempt.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from pfserver.engine import texts
from pfserver.engine.reports import Tools, end_of, end_without_work, expect_work, take_output_away
from pfserver.errors import StoreUnavailable, WrongState
from pfserver.model import Job

#: So often does a node count within the time after which others take it for dead.
BEATS = 6


@frozen
class _Seen:
    """How far a node had counted, and since when it stands there."""

    beats: int
    since: float


class Nodes:
    """Takes up the jobs of dead servers.

    :param silence: seconds after which a silent node of a shared store is taken for dead; None for a store of its own.
    :param wake: called with the name of a queue that a job went back to.
    :param notice: called with a job that is this server's: whoever works on it in this process hears how it is by now,
        e.g. cancelled through another server. False where nobody does.
    """

    log = Logger()

    def __init__(
        self, tools: Tools, silence: float | None, wake: Callable[[str], None], notice: Callable[[Job], bool]
    ) -> None:
        self._tools = tools
        self._silence = silence
        self._wake = wake
        self._notice = notice
        # Jobs and attempts that are this server's in the store only.
        self._unknown: set[tuple[int, int]] = set()
        self._seen: dict[str, _Seen] = {}
        self._looked = 0.0
        self._timer: IDelayedCall | None = None
        self._is_watching = False
        self._is_open = False

    async def start(self) -> None:
        """Take up what an earlier life of this server has left; tell the others that this one lives, and watch them."""
        await self._take_up_all(self._tools.node, "the server was stopped while it worked on the job")
        if self._silence is not None:
            await self._tools.store.beat(self._tools.node)
            self._is_open = self._is_watching = True
            self._later(self._silence)

    async def restart(self) -> None:
        """Take up what could not be given back when the jobs were stopped. Nothing may be at work."""
        await self._take_up_all(self._tools.node, "the server was restarted", refund=True)

    def stop(self) -> None:
        """Take up no more. While this server stops its jobs are still its own, so it goes on to count."""
        self._is_watching = False

    def close(self) -> None:
        """Nothing is at work any more."""
        self._is_open = self._is_watching = False
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    async def _look(self, silence: float) -> None:
        """Count on, and take up the jobs of those that do not."""
        await self._tools.store.beat(self._tools.node)
        beats = await self._tools.store.beats()
        now, before = self._tools.clock.seconds(), self._seen
        if now - self._looked > silence / 2:
            # We, or the store, stood still: that says nothing of the others.
            before = {}
        self._looked = now
        # Those that have no jobs at work are forgotten: when they have some, the time begins anew.
        self._seen = {}
        for node, count in beats.items():
            seen = before.get(node)
            if node == self._tools.node or seen is None or seen.beats != count:
                seen = _Seen(count, now)
            self._seen[node] = seen
            if now - seen.since > silence and self._is_watching:
                host = node.partition("/")[0]
                await self._take_up_all(node, f"the server {host}, which worked on the job, is silent")
        await self._look_at_own()

    async def _look_at_own(self) -> None:
        """Take up jobs that the store gave this server while the connection was lost, so that it never heard of them.

        One that it is just being told of is not known either: only in two looks it is lost.
        """
        before, self._unknown = self._unknown, set()
        for job in await self._tools.store.abandoned(self._tools.node):
            if self._is_watching and not self._notice(job):
                if (job.id, job.attempts) in before:
                    await self._take_up_one(job, "the server did not hear that the job is its own", refund=True)
                else:
                    self._unknown.add((job.id, job.attempts))

    async def _take_up_all(self, node: str, reason: str, *, refund: bool = False) -> None:
        for job in await self._tools.store.abandoned(node):
            await self._take_up_one(job, reason, refund=refund)

    async def _take_up_one(self, job: Job, reason: str, *, refund: bool) -> None:
        try:
            await self._take_up(job, reason, refund)
        except WrongState:
            # Another server was quicker, or the job's own is back.
            self.log.debug("job.not-taken-up", transaction=job.transaction_id)

    async def _take_up(self, job: Job, reason: str, refund: bool) -> None:
        tools = self._tools
        outcome, told = end_of(job, reason, refund=refund)
        if outcome is None:
            if job.node == tools.node:
                await take_output_away(tools, job)
            else:
                # Where the other only stood still it may end the job in this moment: its output is not ours to remove,
                # and that of the next attempt takes its place. It may even be at the next attempt itself.
                await expect_work(tools, job)
                await tools.in_thread(tools.outputs.discard, job)
            told = [texts.retry(reason)]
            await tools.store.requeue(job.id, node=job.node, attempt=job.attempts, messages=told, refund=refund)
            self._wake(job.request.queue)
        else:
            await end_without_work(tools, job, outcome, told)
        self.log.info(
            "job.taken-up", transaction=job.transaction_id, node=job.node, outcome=outcome.status if outcome else ""
        )

    def _later(self, silence: float) -> None:
        if self._is_open:
            self._timer = self._tools.clock.callLater(silence / BEATS, self._on_timer, silence)

    def _on_timer(self, silence: float) -> None:
        looking = Deferred.fromCoroutine(self._look(silence)).addErrback(self._failed)
        looking.addBoth(lambda _: self._later(silence))

    def _failed(self, failure: Failure) -> None:
        if isinstance(failure.value, StoreUnavailable):
            self.log.warn("nodes.not-watched", reason=failure.getErrorMessage())
        else:
            self.log.failure("nodes.broken", failure)
