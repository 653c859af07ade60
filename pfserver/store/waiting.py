"""Jobs come in and are taken: new ids, claims of the dispatcher, leases of remote factories.

Runs in the writer's transaction. The conditions on ``state`` are literals so that the partial indexes serve them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count

import sqlalchemy as sa
from attrs import evolve, frozen

from pfserver.model import Job, State
from pfserver.store.rows import JOB_COLUMNS, job_to_row, message_rows, row_to_job
from pfserver.store.tables import COUNTERS, JOBS, MESSAGES

Texts = Sequence[tuple[int, str]]

#: So many waiting jobs are shown at once to the one who chooses a lease.
LEASE_PAGE = 200

IS_QUEUED = sa.text("state = 'queued'")
ORDER = (JOBS.c.priority.desc(), JOBS.c.id)


@frozen
class Arrival:
    """New jobs, without ids yet, each with its first messages."""

    jobs: Sequence[Job]
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


def add_jobs(connection: sa.Connection, arrivals: Sequence[Arrival]) -> list[list[Job]]:
    """Give each job the next id and insert them."""
    wanted = sum(len(arrival.jobs) for arrival in arrivals)
    reserve = (
        sa.update(COUNTERS)
        .where(COUNTERS.c.name == "job")
        .values(value=COUNTERS.c.value + wanted)
        .returning(COUNTERS.c.value)
    )
    ids = count(connection.execute(reserve).scalar_one() - wanted + 1)
    added = []
    messages = []
    for arrival in arrivals:
        jobs = [evolve(job, id=next(ids)) for job in arrival.jobs]
        if arrival.messages:
            messages += [row for job in jobs for row in message_rows(job, arrival.messages, arrival.time)]
            jobs = [evolve(job, messages=len(arrival.messages)) for job in jobs]
        added.append(jobs)
    rows = [job_to_row(job) for jobs in added for job in jobs]
    if rows:
        connection.execute(sa.insert(JOBS), rows)
    if messages:
        connection.execute(sa.insert(MESSAGES), messages)
    return added


def claim_jobs(connection: sa.Connection, claims: Sequence[Claim]) -> list[list[Job]]:
    """Move queued jobs to running, by priority and age."""
    return [_claim(connection, claim) for claim in claims]


def _claim(connection: sa.Connection, claim: Claim) -> list[Job]:
    chosen = (
        sa.select(JOBS.c.id)
        .where(IS_QUEUED, JOBS.c.queue == claim.queue, JOBS.c.backend.in_(claim.backends))
        .order_by(*ORDER)
        .limit(claim.limit)
        .with_for_update(skip_locked=True)
    )
    take = (
        sa.update(JOBS)
        .where(JOBS.c.id.in_(chosen))
        .values(
            state=State.RUNNING.value,
            node=claim.node,
            attempts=JOBS.c.attempts + 1,
            started_at=claim.time,
            messages=JOBS.c.messages + len(claim.messages),
        )
        .returning(*JOB_COLUMNS)
    )
    jobs = [row_to_job(row) for row in connection.execute(take)]
    if jobs and claim.messages:
        before = len(claim.messages)
        rows = [
            row
            for job in jobs
            for row in message_rows(evolve(job, messages=job.messages - before), claim.messages, claim.time)
        ]
        connection.execute(sa.insert(MESSAGES), rows)
    return sorted(jobs, key=lambda job: (-job.request.priority, job.id))


def lease_jobs(connection: sa.Connection, offers: Sequence[LeaseOffer]) -> list[Job | None]:
    """Lease to each holder the job that it chooses."""
    return [_lease(connection, offer) for offer in offers]


def _lease(connection: sa.Connection, offer: LeaseOffer) -> Job | None:
    query = sa.select(*JOB_COLUMNS).where(IS_QUEUED, JOBS.c.backend.in_(offer.backends)).order_by(*ORDER)
    query = query.limit(LEASE_PAGE).with_for_update(skip_locked=True)
    page = [row_to_job(row) for row in connection.execute(query)]
    while page:
        job = offer.choose(page)
        if job is not None:
            return _leased(connection, offer, job)
        last = page[-1]
        further = sa.or_(
            JOBS.c.priority < last.request.priority,
            sa.and_(JOBS.c.priority == last.request.priority, JOBS.c.id > last.id),
        )
        page = [row_to_job(row) for row in connection.execute(query.where(further))]
    return None


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
    if offer.messages:
        connection.execute(sa.insert(MESSAGES), message_rows(job, offer.messages, offer.time))
    return leased
