"""What is read from the job database, each in a transaction of its own that blocks nobody."""

from __future__ import annotations

import sqlalchemy as sa

from pfserver.errors import NoSuchJob
from pfserver.model import Artifact, Job, Message
from pfserver.store.rows import JOB_COLUMNS, row_to_job
from pfserver.store.tables import ARTIFACTS, JOBS, MESSAGES
from pfserver.store.waiting import IS_QUEUED

# Literals: the partial indexes serve them only so.
IS_DONE = sa.text("state = 'done'")
IS_UNFINISHED = sa.text("state <> 'done'")
IS_WORKING = sa.text("state IN ('running', 'cancelling')")

_JOB = sa.select(*JOB_COLUMNS).where(JOBS.c.id == sa.bindparam("wanted"))


def job(connection: sa.Connection, job_id: int) -> Job:
    """One job; raises ``NoSuchJob``."""
    row = connection.execute(_JOB, {"wanted": job_id}).one_or_none()
    if row is None:
        raise NoSuchJob(f"there is no job {job_id}")
    return row_to_job(row)


def jobs(connection: sa.Connection, after: int, limit: int, unfinished: bool, reverse: bool) -> list[Job]:
    """Jobs above (reversed: below) an id, in that order."""
    query = sa.select(*JOB_COLUMNS).limit(limit)
    query = query.where(JOBS.c.id < after).order_by(JOBS.c.id.desc()) if reverse else query.where(JOBS.c.id > after)
    if not reverse:
        query = query.order_by(JOBS.c.id)
    if unfinished:
        query = query.where(IS_UNFINISHED)
    return _jobs(connection, query)


def messages(connection: sa.Connection, job_id: int, after: int, limit: int) -> list[Message]:
    """Messages after a sequence number, ascending."""
    query = (
        sa.select(MESSAGES.c.sequence, MESSAGES.c.number, MESSAGES.c.text, MESSAGES.c.time)
        .where(MESSAGES.c.job_id == job_id, MESSAGES.c.sequence > after)
        .order_by(MESSAGES.c.sequence)
        .limit(limit)
    )
    return [Message(*row) for row in connection.execute(query)]


def artifacts(connection: sa.Connection, job_id: int) -> list[Artifact]:
    """What a job has produced, by name."""
    query = sa.select(ARTIFACTS).where(ARTIFACTS.c.job_id == job_id).order_by(ARTIFACTS.c.name)
    return [
        Artifact(name=row.name, media_type=row.media_type, size=row.size, pages=row.pages, sha256=row.sha256)
        for row in connection.execute(query)
    ]


def waiting(connection: sa.Connection, queue: str) -> int:
    """How many jobs wait in a queue, or in all for ""."""
    query = sa.select(sa.func.count()).select_from(JOBS).where(IS_QUEUED)
    if queue:
        query = query.where(JOBS.c.queue == queue)
    return connection.execute(query).scalar_one()


def waiting_by_queue(connection: sa.Connection) -> dict[tuple[str, str, str], int]:
    """How many jobs wait, by queue, backend and home."""
    by = JOBS.c.queue, JOBS.c.backend, JOBS.c.home
    query = sa.select(*by, sa.func.count()).where(IS_QUEUED).group_by(*by)
    return {(queue, backend, home): count for queue, backend, home, count in connection.execute(query)}


def abandoned(connection: sa.Connection, node: str) -> list[Job]:
    """Working jobs that belong to ``node``."""
    query = sa.select(*JOB_COLUMNS).where(IS_WORKING, JOBS.c.node == node).order_by(JOBS.c.id)
    return _jobs(connection, query)


def expired_leases(connection: sa.Connection, now: float) -> list[Job]:
    """Jobs at a remote factory whose lease has run out."""
    query = sa.select(*JOB_COLUMNS).where(JOBS.c.lease_until <= now).order_by(JOBS.c.id)
    return _jobs(connection, query)


def prunable(connection: sa.Connection, finished_before: float | None, keep: int | None, limit: int) -> list[Job]:
    """Done jobs that are too old or too many, oldest first."""
    oldest = sa.select(*JOB_COLUMNS).where(IS_DONE).order_by(JOBS.c.finished_at, JOBS.c.id)
    found: list[Job] = []
    if finished_before is not None:
        found = _jobs(connection, oldest.where(JOBS.c.finished_at < finished_before).limit(limit))
    if keep is not None and len(found) < limit:
        done = connection.execute(sa.select(sa.func.count()).select_from(JOBS).where(IS_DONE)).scalar_one()
        surplus = min(done - keep, limit)
        if surplus > len(found):
            found = _jobs(connection, oldest.limit(surplus))
    return found


def _jobs(connection: sa.Connection, query: sa.Select[tuple[object, ...]]) -> list[Job]:
    return [row_to_job(row) for row in connection.execute(query)]
