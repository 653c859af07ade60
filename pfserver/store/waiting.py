"""Jobs come in and are taken: new ids, claims of the dispatcher, leases of remote factories.

Runs in the writer's transaction. The conditions on ``state`` are literals so that the partial indexes serve them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import count
from typing import Any

import sqlalchemy as sa
from attrs import evolve, frozen

from pfserver.model import Job, JobRequest, State
from pfserver.store.bulk import Bulk, put_in_hand
from pfserver.store.changes import INSERT_MESSAGES, read_jobs
from pfserver.store.rows import JOB_COLUMNS, JOB_NAMES, job_to_row, message_rows, row_to_job
from pfserver.store.tables import COUNTERS, JOBS

Texts = Sequence[tuple[int, str]]

#: So many waiting jobs are shown at once to the one who chooses a lease.
LEASE_PAGE = 200

IS_QUEUED = sa.text("state = 'queued'")
ORDER = (JOBS.c.priority.desc(), JOBS.c.id)


@frozen
class Arrival:
    """New jobs, each with its first messages."""

    requests: Sequence[JobRequest]
    messages: Texts
    time: float


@frozen
class Claim:
    """A dispatcher wants at most ``limit`` jobs of a queue."""

    queue: str
    backends: Sequence[str]
    limit: int
    node: str
    time: float
    messages: Texts


@frozen
class LeaseOffer:
    """A remote factory wants the job that ``choose`` picks."""

    holder: str
    choose: Callable[[Sequence[Job]], Job | None]
    backends: Sequence[str]
    expires_at: float
    time: float
    messages: Texts


_RESERVE = (
    sa.update(COUNTERS)
    .where(COUNTERS.c.name == "job")
    .values(value=COUNTERS.c.value + sa.bindparam("wanted"))
    .returning(COUNTERS.c.value)
)
_INSERT = Bulk(sa.insert(JOBS), JOB_NAMES)


def add_jobs(connection: sa.Connection, arrivals: Sequence[Arrival]) -> list[list[Job]]:
    """Give each job the next id and insert them."""
    wanted = sum(len(arrival.requests) for arrival in arrivals)
    ids = count(connection.execute(_RESERVE, {"wanted": wanted}).scalar_one() - wanted + 1)
    added = []
    messages: list[tuple[Any, ...]] = []
    for arrival in arrivals:
        jobs = [Job(id=next(ids), request=request, created_at=arrival.time) for request in arrival.requests]
        if arrival.messages:
            messages += [row for job in jobs for row in message_rows(job, arrival.messages, arrival.time)]
            jobs = [evolve(job, messages=len(arrival.messages)) for job in jobs]
        added.append(jobs)
    _INSERT.execute(connection, [job_to_row(job) for jobs in added for job in jobs])
    INSERT_MESSAGES.execute(connection, messages)
    put_in_hand(connection, (job for jobs in added for job in jobs))
    return added


@cache
def _next_of(backends: int) -> sa.Select[Any]:
    """The next jobs of so many backends: a list that expands at each call would cost more than the query itself."""
    names: list[Any] = [sa.bindparam(f"backend_{n}") for n in range(backends)]
    return (
        sa.select(JOBS.c.id)
        .where(IS_QUEUED, JOBS.c.queue == sa.bindparam("queue"), JOBS.c.backend.in_(names))
        .order_by(*ORDER)
        .limit(sa.bindparam("most"))
        .with_for_update(skip_locked=True)
    )


_TAKE = Bulk(
    sa.update(JOBS)
    .where(JOBS.c.id == sa.bindparam("job_id"))
    .values(
        state=sa.bindparam("new_state"),
        node=sa.bindparam("new_node"),
        attempts=sa.bindparam("new_attempts"),
        started_at=sa.bindparam("new_started_at"),
        messages=sa.bindparam("new_messages"),
    ),
    ["job_id", "new_state", "new_node", "new_attempts", "new_started_at", "new_messages"],
)


def claim_jobs(connection: sa.Connection, claims: Sequence[Claim]) -> list[list[Job]]:
    """Move queued jobs to running, by priority and age."""
    return [_claim(connection, claim) for claim in claims]


def _claim(connection: sa.Connection, claim: Claim) -> list[Job]:
    wanted: dict[str, Any] = {f"backend_{n}": name for n, name in enumerate(claim.backends)}
    wanted |= {"queue": claim.queue, "most": claim.limit}
    ids = list(connection.scalars(_next_of(len(claim.backends)), wanted))
    if not ids:
        return []
    found = read_jobs(connection, set(ids))
    taken, messages = [], []
    for before in (found[job_id] for job_id in ids):
        job = evolve(
            before,
            state=State.RUNNING,
            node=claim.node,
            attempts=before.attempts + 1,
            started_at=claim.time,
            messages=before.messages + len(claim.messages),
        )
        taken.append(job)
        messages += message_rows(before, claim.messages, claim.time)
    _TAKE.execute(
        connection, [(job.id, job.state.value, job.node, job.attempts, job.started_at, job.messages) for job in taken]
    )
    INSERT_MESSAGES.execute(connection, messages)
    put_in_hand(connection, taken)
    return taken


def lease_jobs(connection: sa.Connection, offers: Sequence[LeaseOffer]) -> list[Job | None]:
    """Lease to each holder the job that it chooses."""
    return [_lease(connection, offer) for offer in offers]


def _lease(connection: sa.Connection, offer: LeaseOffer) -> Job | None:
    """Show what waits, page by page; each page has the next jobs of every account, in the order they would run in."""
    cursors: dict[tuple[str, str], Job | None] = {
        (backend, account): None for backend in offer.backends for account in _accounts(connection, backend)
    }
    while cursors:
        share = max(LEASE_PAGE // len(cursors), 1)
        page: list[Job] = []
        for (backend, account), last in list(cursors.items()):
            jobs = _next_leasable(connection, backend, account, last, share)
            page += jobs
            if len(jobs) < share:
                del cursors[backend, account]
            else:
                cursors[backend, account] = jobs[-1]
        page.sort(key=lambda job: (-job.request.priority, job.id))
        job = offer.choose(page) if page else None
        if job is not None:
            return _leased(connection, offer, job)
    return None


def _accounts(connection: sa.Connection, backend: str) -> Iterator[str]:
    """The accounts that have waiting jobs: one step in the index for each, however many jobs they have."""
    query = sa.select(JOBS.c.account).where(IS_QUEUED, JOBS.c.backend == backend).order_by(JOBS.c.account).limit(1)
    account = connection.scalar(query)
    while account is not None:
        yield account
        account = connection.scalar(query.where(JOBS.c.account > account))


def _next_leasable(
    connection: sa.Connection, backend: str, account: str, last: Job | None, limit: int
) -> Sequence[Job]:
    """The waiting jobs of an account that follow ``last``."""
    query = (
        sa.select(*JOB_COLUMNS)
        .where(IS_QUEUED, JOBS.c.backend == backend, JOBS.c.account == account)
        .order_by(*ORDER)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    if last is not None:
        lower = JOBS.c.priority < last.request.priority
        query = query.where(sa.or_(lower, sa.and_(JOBS.c.priority == last.request.priority, JOBS.c.id > last.id)))
    return [row_to_job(row) for row in connection.execute(query)]


def _leased(connection: sa.Connection, offer: LeaseOffer, job: Job) -> Job:
    leased = evolve(
        job,
        state=State.LEASED,
        node=offer.holder,
        attempts=job.attempts + 1,
        started_at=offer.time,
        lease_until=offer.expires_at,
        messages=job.messages + len(offer.messages),
    )
    connection.execute(
        sa.update(JOBS)
        .where(JOBS.c.id == job.id)
        .values(
            state=leased.state.value,
            node=leased.node,
            attempts=leased.attempts,
            started_at=leased.started_at,
            lease_until=leased.lease_until,
            messages=leased.messages,
        )
    )
    INSERT_MESSAGES.execute(connection, message_rows(job, offer.messages, offer.time))
    put_in_hand(connection, [leased])
    return leased
