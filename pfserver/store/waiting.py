"""Jobs come in and are taken: new ids, claims of the dispatcher.

Runs in the writer's transaction. The conditions on ``state`` are literals so that the partial indexes serve them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import count
from typing import Any

import sqlalchemy as sa
from attrs import evolve, frozen

from pfserver.model import Job, JobRequest, State
from pfserver.store.changes import INSERT_MESSAGES, read_jobs
from pfserver.store.hand import put_in_hand
from pfserver.store.rows import JOB_NAMES, job_to_row, message_rows
from pfserver.store.statements import Bulk, Statement
from pfserver.store.tables import COUNTERS, JOBS

Texts = Sequence[tuple[int, str]]

IS_QUEUED = sa.text("state = 'queued'")
#: The server that asks can do it.
IS_AT_HOME = JOBS.c.home.in_([sa.literal_column("''"), sa.bindparam("the_home")])
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


_RESERVE = Statement(
    sa.update(COUNTERS)
    .where(COUNTERS.c.name == "job")
    .values(value=COUNTERS.c.value + sa.bindparam("wanted"))
    .returning(COUNTERS.c.value)
)
_INSERT = Bulk(sa.insert(JOBS), JOB_NAMES)


def add_jobs(connection: sa.Connection, arrivals: Sequence[Arrival]) -> list[list[Job]]:
    """Give each job the next id and insert them."""
    wanted = sum(len(arrival.requests) for arrival in arrivals)
    ids = count(_RESERVE.scalar(connection, wanted=wanted) - wanted + 1)
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
def _next_of(backends: int) -> Statement:
    """The next jobs of so many backends: a list that expands at each call would cost more than the query itself."""
    names: list[Any] = [sa.bindparam(f"backend_{n}") for n in range(backends)]
    return Statement(
        sa.select(JOBS.c.id)
        .where(IS_QUEUED, IS_AT_HOME, JOBS.c.queue == sa.bindparam("queue"), JOBS.c.backend.in_(names))
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
    if not claim.backends:
        return []
    wanted: dict[str, Any] = {f"backend_{n}": name for n, name in enumerate(claim.backends)}
    wanted |= {"queue": claim.queue, "the_home": claim.node, "most": claim.limit}
    ids = [job_id for (job_id,) in _next_of(len(claim.backends)).rows(connection, **wanted)]
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
