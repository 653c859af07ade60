"""Leases of remote factories: what waits is shown to the one who chooses, fairly and without looking twice.

Runs in the writer's transaction, so what one factory does not want must not cost the others their time: jobs that a
chooser has refused are remembered by their ids and not read again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from enum import Enum, auto
from functools import cache
from typing import Any

import sqlalchemy as sa
from attrs import define, evolve, field, frozen

from pfserver.model import Job, State
from pfserver.store.changes import INSERT_MESSAGES
from pfserver.store.hand import put_in_hand
from pfserver.store.handouts import name_jobs
from pfserver.store.rows import JOB_COLUMNS, MUTABLE, job_to_changes, message_rows, row_to_job
from pfserver.store.statements import Statement
from pfserver.store.tables import JOBS
from pfserver.store.waiting import IS_AT_HOME, IS_QUEUED, ORDER, Texts

#: So many waiting jobs are shown at once to the one who chooses.
LEASE_PAGE = 200

#: Ids that are read at once to find those that were not refused yet; each costs about a microsecond.
SKIM_PAGE = 5000

#: What a lease changes.
LEASED = ("state", "node", "attempts", "started_at", "lease_until", "messages")

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
    home: str
    """Jobs of other homes are not shown."""
    refused: Refused | None = None
    """Filled where nothing of a page is chosen; None where that says nothing of the next time."""


@frozen
class Leased:
    """What a factory gets."""

    job: Job
    name: str
    """Under which it goes out."""
    alone: bool
    """Whether no other job of these backends waited."""


def lease_jobs(connection: sa.Connection, offers: Sequence[LeaseOffer]) -> list[Leased | Again | None]:
    """Lease to each holder the job that it chooses."""
    return [_lease(connection, offer) for offer in offers]


def _lease(connection: sa.Connection, offer: LeaseOffer) -> Leased | Again | None:
    """Show what waits, page by page; each page has the next jobs of every account, in the order they would run in."""
    known = offer.refused.ids if offer.refused is not None else set()
    walks = [
        _Walk(connection, known, offer.home, backend, account, skims=bool(known))
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
                # Nobody has to look again then, until another one comes.
                alone = not walks and not known and len(page) == 1
                return Leased(leased, name_jobs(connection, [job.id])[0], alone)
            # Another server that shares the database was quicker.
            page.remove(job)
        known.update(job.id for job in page)
        shown += len(page)
    return None


# Statements are made once: to put one together costs more than its execution.

#: Where the priority stands in a row of all columns; the id is the first.
_PRIORITY = JOBS.c.keys().index("priority")

_ACCOUNTS = (
    sa.select(JOBS.c.account)
    .where(IS_QUEUED, JOBS.c.backend == sa.bindparam("the_backend"))
    .order_by(JOBS.c.account)
    .limit(1)
)
_NEXT_ACCOUNT = Statement(_ACCOUNTS.where(JOBS.c.account > sa.bindparam("the_account")))
_FIRST_ACCOUNT = Statement(_ACCOUNTS)


def _accounts(connection: sa.Connection, backend: str) -> Iterator[str]:
    """The accounts that have waiting jobs: one step in the index for each, however many jobs they have."""
    account = _FIRST_ACCOUNT.scalar(connection, the_backend=backend)
    while account is not None:
        yield account
        account = _NEXT_ACCOUNT.scalar(connection, the_backend=backend, the_account=account)


@cache
def _page(*, whole: bool, further: bool) -> Statement:
    """The next jobs of an account, or only their ids; ``further``: those behind a job of the same queue."""
    columns: Sequence[sa.ColumnElement[Any]] = JOB_COLUMNS if whole else (JOBS.c.id, JOBS.c.priority)
    query = (
        sa.select(*columns)
        .where(
            IS_QUEUED,
            IS_AT_HOME,
            JOBS.c.backend == sa.bindparam("the_backend"),
            JOBS.c.account == sa.bindparam("the_account"),
        )
        .order_by(*ORDER)
        .limit(sa.bindparam("most"))
    )
    if further:
        priority: sa.BindParameter[int] = sa.bindparam("the_priority")
        behind = sa.and_(JOBS.c.priority == priority, JOBS.c.id > sa.bindparam("the_id"))
        query = query.where(sa.or_(JOBS.c.priority < priority, behind))
    return Statement(query)


_BY_ID = sa.select(*JOB_COLUMNS).where(IS_QUEUED, JOBS.c.id.in_(sa.bindparam("ids", expanding=True)))


@define
class _Walk:
    """A walk over the waiting jobs of an account.

    :param skims: whether to read ids first, and jobs only where they were not refused.
    """

    connection: sa.Connection
    refused: set[int]
    home: str
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
            return [row_to_job(row) for row in self._rows(limit, whole=True)]
        while not self._skimmed and not self._exhausted:
            rows = self._rows(SKIM_PAGE, whole=False)
            self._skimmed.extend(job_id for job_id, _ in rows if job_id not in self.refused)
        ids = [self._skimmed.popleft() for _ in range(min(limit, len(self._skimmed)))]
        return [row_to_job(row) for row in self.connection.execute(_BY_ID, {"ids": ids})] if ids else []

    def _rows(self, limit: int, *, whole: bool) -> Sequence[Sequence[Any]]:
        wanted: dict[str, Any] = {"the_backend": self.backend, "the_account": self.account}
        wanted |= {"the_home": self.home, "most": limit}
        if self._id:
            wanted |= {"the_priority": self._priority, "the_id": self._id}
        rows = _page(whole=whole, further=bool(self._id)).rows(self.connection, **wanted)
        self._exhausted = len(rows) < limit
        if rows:
            last = rows[-1]
            self._id, self._priority = last[0], last[_PRIORITY if whole else 1]
        return rows


_LEASE = Statement(
    sa.update(JOBS)
    .where(
        JOBS.c.id == sa.bindparam("the_id"),
        IS_QUEUED,
        JOBS.c.attempts == sa.bindparam("attempts_before"),
        JOBS.c.messages == sa.bindparam("messages_before"),
    )
    .values({name: sa.bindparam(f"new_{name}") for name in LEASED})
)


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
    changes = dict(zip(MUTABLE, job_to_changes(leased), strict=True))
    before = {"the_id": job.id, "attempts_before": job.attempts, "messages_before": job.messages}
    if not _LEASE.change(connection, **before, **{f"new_{name}": changes[name] for name in LEASED}):
        return None
    INSERT_MESSAGES.execute(connection, message_rows(job, offer.messages, offer.time))
    put_in_hand(connection, [leased])
    return leased
