"""Jobs, their messages and artifacts in an SQL database: :class:`JobStore` provides ``IJobStore``."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from pfserver.interfaces import IJobStore
from pfserver.model import Artifact, Job, JobRequest, Message, Outcome, Progress, State
from pfserver.store import changes, nodes, queries
from pfserver.store.changes import Change
from pfserver.store.database import Database
from pfserver.store.handouts import Handouts
from pfserver.store.leasing import Again, Leased, LeaseOffer, Refused, lease_jobs
from pfserver.store.waiting import Arrival, Claim, add_jobs, claim_jobs

Texts = Sequence[tuple[int, str]]

#: Kinds of choosers whose refusals are remembered: about as many as there are different factories.
KINDS = 100

#: More refused ids than this are forgotten, and found again where they still wait.
REFUSED_LIMIT = 200_000

#: Jobs that are looked at again and again while somebody works on them, and how many of them are kept in memory.
AT_WORK = frozenset({State.RUNNING, State.LEASED, State.CANCELLING})
KNOWN = 10_000

#: So many messages are deleted in one commit: others are written in between.
DELETED_AT_ONCE = 5000


@implementer(IJobStore)
class JobStore:
    """The job store on a :class:`Database`; every method but the reads goes through its one writer.

    :param handouts: learns the names of jobs that are leased.
    """

    def __init__(self, database: Database, clock: IReactorTime, handouts: Handouts | None = None) -> None:
        self._database = database
        self._clock = clock
        self._handouts = handouts or Handouts()
        self._at_work: OrderedDict[int, Job] = OrderedDict()
        """Jobs that are at work, as they are on disk: known without asking, where nobody else can change them."""
        self._arrivals = 0
        self._nothing: dict[tuple[str, ...], int] = {}
        """By backends, the count of arrivals at which none of their jobs waited: until it changes, none does."""
        self._refused: OrderedDict[Hashable, Refused] = OrderedDict()
        """By backends and kind of chooser, what was refused."""

    # -- reads --------

    def get(self, job_id: int) -> Deferred[Job]:
        """See ``IJobStore``."""
        known = self._at_work.get(job_id)
        return self._database.read(queries.job, job_id) if known is None else succeed(known)

    def find(
        self, *, after: int, limit: int, unfinished: bool = False, reverse: bool = False
    ) -> Deferred[Sequence[Job]]:
        """See ``IJobStore``."""
        return self._database.read(queries.jobs, after, limit, unfinished, reverse)

    def messages(self, job_id: int, *, after: int, limit: int) -> Deferred[Sequence[Message]]:
        """See ``IJobStore``."""
        return self._database.read(queries.messages, job_id, after, limit)

    def artifacts(self, job_id: int) -> Deferred[Sequence[Artifact]]:
        """See ``IJobStore``."""
        return self._database.read(queries.artifacts, job_id)

    def waiting(self, queue: str = "") -> Deferred[int]:
        """See ``IJobStore``."""
        return self._database.read(queries.waiting, queue)

    def waiting_by_queue(self) -> Deferred[Mapping[tuple[str, str, str], int]]:
        """See ``IJobStore``."""
        return self._database.read(queries.waiting_by_queue)

    def abandoned(self, node: str) -> Deferred[Sequence[Job]]:
        """See ``IJobStore``."""
        return self._database.read(queries.abandoned, node)

    def beat(self, node: str) -> Deferred[None]:
        """See ``IJobStore``."""
        return self._database.write(nodes.beat, node)

    def beats(self) -> Deferred[Mapping[str, int]]:
        """See ``IJobStore``."""
        return self._database.read(nodes.beats)

    def expired_leases(self, now: float) -> Deferred[Sequence[Job]]:
        """See ``IJobStore``."""
        return self._database.read(queries.expired_leases, now)

    def prunable(self, *, finished_before: float | None, keep: int | None, limit: int) -> Deferred[Sequence[Job]]:
        """See ``IJobStore``."""
        return self._database.read(queries.prunable, finished_before, keep, limit)

    # -- jobs come in and are taken --------

    def add(self, requests: Sequence[JobRequest], *, messages: Texts = ()) -> Deferred[Sequence[Job]]:
        """See ``IJobStore``."""
        # A job begins to wait: known before it is written and again after, since a lease may be asked for between.
        self._arrivals += 1
        return self._database.write(add_jobs, Arrival(requests, messages, self._clock.seconds()), self._arrived)

    def claim(
        self, queue: str, backends: Sequence[str], limit: int, *, node: str, messages: Texts = ()
    ) -> Deferred[Sequence[Job]]:
        """See ``IJobStore``."""
        claim = Claim(queue, tuple(backends), limit, node, self._clock.seconds(), tuple(messages))
        return self._database.write(claim_jobs, claim, self._all_stored)

    def lease(
        self,
        holder: str,
        choose: Callable[[Sequence[Job]], Job | None],
        *,
        backends: Sequence[str],
        expires_at: float,
        messages: Texts = (),
        kind: Hashable = None,
        home: str = "",
    ) -> Deferred[Job | None]:
        """See ``IJobStore``. Where no job waits, that is remembered: idle factories ask again and again."""
        key, arrivals = tuple(backends), self._arrivals
        refused = self._refused_by(key, kind)
        if arrivals in (self._nothing.get(key), refused.arrivals if refused is not None else None):
            return succeed(None)
        shown = False

        def watch(jobs: Sequence[Job]) -> Job | None:
            nonlocal shown
            shown = True
            return choose(jobs)

        def remember(found: Leased | Again | None) -> Any:
            if found is Again.LOOK:
                return self._database.write(lease_jobs, offer, self._leased).addCallback(remember)
            if isinstance(found, Leased):
                if found.alone and self._database.is_private:
                    self._nothing[key] = arrivals
                return found.job
            if found is None and self._database.is_private:
                if refused is not None:
                    refused.arrivals = arrivals
                if not shown and (refused is None or not refused.ids):
                    self._nothing[key] = arrivals
            return None

        offer = LeaseOffer(holder, watch, key, expires_at, self._clock.seconds(), tuple(messages), home, refused)
        leasing: Deferred[Any] = self._database.write(lease_jobs, offer, self._leased)
        return leasing.addCallback(remember)

    def idle(self, backends: Sequence[str], kind: Hashable) -> bool:
        """See ``IJobStore``."""
        key = tuple(backends)
        refused = self._refused.get((key, kind))
        return self._arrivals in (self._nothing.get(key), refused.arrivals if refused is not None else None)

    def _refused_by(self, backends: tuple[str, ...], kind: Hashable) -> Refused | None:
        """What choosers of a kind have refused; nothing is known of those of no kind."""
        if kind is None:
            return None
        refused = self._refused.pop((backends, kind), None)
        if refused is None or len(refused.ids) > REFUSED_LIMIT:
            refused = Refused()
        self._refused[backends, kind] = refused
        if len(self._refused) > KINDS:
            self._refused.popitem(last=False)
        return refused

    # -- jobs go on --------

    def append(
        self,
        job_id: int,
        *,
        messages: Texts = (),
        progress: Progress | None = None,
        artifacts: Sequence[Artifact] = (),
        node: str | None = None,
        attempt: int | None = None,
    ) -> Deferred[Job]:
        """See ``IJobStore``."""
        step = partial(changes.reported, progress=progress, node=node, attempt=attempt)
        return self._change(job_id, step, messages, artifacts)

    def finish(
        self,
        job_id: int,
        outcome: Outcome,
        *,
        node: str,
        attempt: int | None = None,
        messages: Texts = (),
        progress: Progress | None = None,
        artifacts: Sequence[Artifact] | None = None,
    ) -> Deferred[Job]:
        """See ``IJobStore``."""
        now = self._clock.seconds()
        step = partial(
            changes.finished, outcome=outcome, node=node, attempt=attempt, progress=progress, finished_at=now
        )
        return self._change(job_id, step, messages, artifacts or (), replace_artifacts=artifacts is not None)

    def cancel(self, job_id: int, closing: Callable[[Job], Texts], *, unless_begun: bool = False) -> Deferred[Job]:
        """See ``IJobStore``."""
        step = partial(changes.cancelled, finished_at=self._clock.seconds(), unless_begun=unless_begun)
        return self._change(job_id, step, closing)

    def requeue(
        self,
        job_id: int,
        *,
        node: str,
        messages: Texts = (),
        refund: bool = False,
        attempt: int | None = None,
        until: float | None = None,
    ) -> Deferred[Job]:
        """See ``IJobStore``."""
        step = partial(changes.requeued, node=node, refund=refund, attempt=attempt, until=until)
        self._arrivals += 1
        return self._change(job_id, step, messages, replace_artifacts=True, witness=self._requeued)

    def renew(self, job_id: int, holder: str, *, expires_at: float, attempt: int | None = None) -> Deferred[Job]:
        """See ``IJobStore``."""
        return self._change(job_id, partial(changes.renewed, holder=holder, expires_at=expires_at, attempt=attempt))

    async def delete(self, job_ids: Sequence[int]) -> None:
        """See ``IJobStore``."""
        for job_id in job_ids:
            while await self._database.write(changes.delete_messages, (job_id, DELETED_AT_ONCE)) == DELETED_AT_ONCE:
                pass
        await self._database.write(changes.delete_jobs, tuple(job_ids))

    def _change(
        self,
        job_id: int,
        step: Callable[[Job], Job],
        messages: Texts | Callable[[Job], Texts] = (),
        artifacts: Sequence[Artifact] = (),
        *,
        replace_artifacts: bool = False,
        witness: Callable[[Job], None] | None = None,
    ) -> Deferred[Job]:
        change = Change(job_id, step, messages, tuple(artifacts), replace_artifacts, self._clock.seconds())
        return self._database.write(changes.change_jobs, change, witness or self._stored)

    # -- what is known without asking --------

    def _arrived(self, _: object) -> None:
        self._arrivals += 1

    def _requeued(self, job: Job) -> None:
        self._arrived(job)
        self._stored(job)

    def _all_stored(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            self._stored(job)

    def _leased(self, found: Leased | Again | None) -> None:
        if isinstance(found, Leased):
            self._handouts.learn(found.job.id, found.name)
            self._stored(found.job)

    def _stored(self, job: Job) -> None:
        """A job is on disk."""
        if job.state not in AT_WORK:
            self._at_work.pop(job.id, None)
        elif self._database.is_private:
            self._at_work[job.id] = job
            if len(self._at_work) > KNOWN:
                self._at_work.popitem(last=False)
