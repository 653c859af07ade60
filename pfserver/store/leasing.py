"""Leases of remote factories: what waits is shown to the one who chooses, fairly and without looking twice.

Runs in the writer's transaction, so what one factory does not want must not cost the others their time: jobs that a
chooser has refused are remembered by their ids and not read again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from enum import Enum, auto
from typing import Any

import sqlalchemy as sa
from attrs import define, evolve, field, frozen

from pfserver.model import Job, State
from pfserver.store.bulk import put_in_hand
from pfserver.store.changes import INSERT_MESSAGES
from pfserver.store.rows import JOB_COLUMNS, message_rows, row_to_job
from pfserver.store.tables import JOBS
from pfserver.store.waiting import IS_QUEUED, ORDER, Texts

#: So many waiting jobs are shown at once to the one who chooses.
LEASE_PAGE = 200

#: Ids that are read at once to find those that were not refused yet; each costs about a microsecond.
SKIM_PAGE = 5000

#: Jobs that are shown in one go; then others may write first.
SHOWN_AT_ONCE = 500


class Again(Enum):
    """There was more to show than one go allows; what was shown is in ``Refused``."""

    LOOK = auto()


@define
class Refused:
    """What choosers of one kind did not want. Only the writer's thread looks into ``ids``."""

    ids: set[int] = field(factory=set)
    arrivals: int = -1
    """The count of arrivals at which they wanted nothing of all that waited."""


@frozen
class LeaseOffer:
    """A remote factory wants the job that ``choose`` picks."""

    holder: str
    choose: Callable[[Sequence[Job]], Job | None]
    backends: Sequence[str]
    expires_at: float
    time: float
    messages: Texts
    refused: Refused | None = None
    """Filled where nothing of a page is chosen; None where that says nothing of the next time."""


def lease_jobs(connection: sa.Connection, offers: Sequence[LeaseOffer]) -> list[Job | Again | None]:
    """Lease to each holder the job that it chooses."""
    return [_lease(connection, offer) for offer in offers]


def _lease(connection: sa.Connection, offer: LeaseOffer) -> Job | Again | None:
    """Show what waits, page by page; each page has the next jobs of every account, in the order they would run in."""
    known = offer.refused.ids if offer.refused is not None else set()
    walks = [
        _Walk(connection, known, backend, account, skims=bool(known))
        for backend in offer.backends
        for account in _accounts(connection, backend)
    ]
    shown = 0
    while walks:
        if offer.refused is not None and shown >= SHOWN_AT_ONCE:
            return Again.LOOK
        share = max(LEASE_PAGE // len(walks), 1)
        page = [job for walk in walks for job in walk.next(share)]
        walks = [walk for walk in walks if not walk.ended]
        page.sort(key=lambda job: (-job.request.priority, job.id))
        while page and (job := offer.choose(page)) is not None:
            leased = _leased(connection, offer, job)
            if leased is not None:
                return leased
            # Another server that shares the database was quicker.
            page.remove(job)
        known.update(job.id for job in page)
        shown += len(page)
    return None


def _accounts(connection: sa.Connection, backend: str) -> Iterator[str]:
    """The accounts that have waiting jobs: one step in the index for each, however many jobs they have."""
    query = sa.select(JOBS.c.account).where(IS_QUEUED, JOBS.c.backend == backend).order_by(JOBS.c.account).limit(1)
    account = connection.scalar(query)
    while account is not None:
        yield account
        account = connection.scalar(query.where(JOBS.c.account > account))


@define
class _Walk:
    """A walk over the waiting jobs of an account.

    :param skims: whether to read ids first, and jobs only where they were not refused.
    """

    connection: sa.Connection
    refused: set[int]
    backend: str
    account: str
    skims: bool
    _exhausted: bool = False
    _skimmed: deque[int] = field(factory=deque)
    _priority: int = 0
    _id: int = 0

    @property
    def ended(self) -> bool:
        """Whether there are no more jobs."""
        return self._exhausted and not self._skimmed

    def next(self, limit: int) -> Sequence[Job]:
        """The jobs that follow, at most ``limit``, without those that were refused."""
        if not self.skims:
            return [row_to_job(row) for row in self._rows(JOB_COLUMNS, limit)]
        while not self._skimmed and not self._exhausted:
            rows = self._rows([JOBS.c.id, JOBS.c.priority], SKIM_PAGE)
            self._skimmed.extend(row.id for row in rows if row.id not in self.refused)
        ids = [self._skimmed.popleft() for _ in range(min(limit, len(self._skimmed)))]
        query = sa.select(*JOB_COLUMNS).where(IS_QUEUED, JOBS.c.id.in_(ids))
        return [row_to_job(row) for row in self.connection.execute(query)] if ids else []

    def _rows(self, columns: Sequence[sa.ColumnElement[Any]], limit: int) -> Sequence[Any]:
        query = (
            sa.select(*columns)
            .where(IS_QUEUED, JOBS.c.backend == self.backend, JOBS.c.account == self.account)
            .order_by(*ORDER)
            .limit(limit)
        )
        if self._id:
            further = sa.and_(JOBS.c.priority == self._priority, JOBS.c.id > self._id)
            query = query.where(sa.or_(JOBS.c.priority < self._priority, further))
        rows = self.connection.execute(query).all()
        self._exhausted = len(rows) < limit
        if rows:
            self._priority, self._id = rows[-1].priority, rows[-1].id
        return rows


def _leased(connection: sa.Connection, offer: LeaseOffer, job: Job) -> Job | None:
    """Lease a job that is still as it was read; None where it is not."""
    leased = evolve(
        job,
        state=State.LEASED,
        node=offer.holder,
        attempts=job.attempts + 1,
        started_at=offer.time,
        lease_until=offer.expires_at,
        messages=job.messages + len(offer.messages),
    )
    changed = connection.execute(
        sa.update(JOBS)
        .where(JOBS.c.id == job.id, IS_QUEUED, JOBS.c.attempts == job.attempts, JOBS.c.messages == job.messages)
        .values(
            state=leased.state.value,
            node=leased.node,
            attempts=leased.attempts,
            started_at=leased.started_at,
            lease_until=leased.lease_until,
            messages=leased.messages,
        )
    )
    if not changed.rowcount:
        return None
    INSERT_MESSAGES.execute(connection, message_rows(job, offer.messages, offer.time))
    put_in_hand(connection, [leased])
    return leased
