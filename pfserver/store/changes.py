"""Steps in a job's life, written in groups: read the jobs, let each step decide, write what changed.

The one place where a state changes is :func:`change_jobs`, together with the claims and leases of
:mod:`pfserver.store.waiting`; it holds every step against ``LIFE_CYCLE``. Runs in the writer's transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa
from attrs import evolve, frozen

from pfserver.errors import LeaseLost, NoSuchJob, PFServerError, WrongState
from pfserver.model import LIFE_CYCLE, Artifact, Job, Outcome, Progress, State
from pfserver.store.hand import in_hand, put_in_hand
from pfserver.store.rows import (
    ARTIFACT_NAMES,
    JOB_COLUMNS,
    MESSAGE_NAMES,
    MUTABLE,
    artifact_to_row,
    job_to_changes,
    message_rows,
    row_to_job,
)
from pfserver.store.statements import Bulk
from pfserver.store.tables import ARTIFACTS, JOBS, MESSAGES

Texts = Sequence[tuple[int, str]]


@frozen
class Change:
    """One step of one job: ``step`` gives the job as it shall be, or raises why it cannot be."""

    job_id: int
    step: Callable[[Job], Job]
    messages: Texts | Callable[[Job], Texts]
    """Added with the step; a function of the job before, called only if its state changes."""
    artifacts: Sequence[Artifact]
    replace_artifacts: bool
    time: float


# -- the steps --------


def reported(job: Job, *, progress: Progress | None, node: str | None, attempt: int | None) -> Job:
    """Counts of a job that goes on; where it says which node reports, one that works on it."""
    if job.state is State.DONE:
        raise WrongState(f"{job.transaction_id} is done: nothing can be added to it")
    if node is not None:
        _expect_node(job, node, attempt)
        _expect_work(job)
    return job if progress is None else _with_counts(job, progress)


def finished(
    job: Job, *, outcome: Outcome, node: str, attempt: int | None, progress: Progress | None, finished_at: float
) -> Job:
    """The end of a job that ``node`` works on, or did last; of a certain attempt, only while it does."""
    _expect_node(job, node, attempt)
    if attempt is not None:
        _expect_work(job)
    if progress is not None:
        job = _with_counts(job, progress)
    return evolve(job, state=State.DONE, outcome=outcome, finished_at=finished_at, lease_until=None)


def cancelled(job: Job, *, finished_at: float, unless_begun: bool = False) -> Job:
    """A queued job is done at once, a working one is asked to stop, any other stays as it is.

    With ``unless_begun`` that is any that has been tried, too, even if it is queued again.
    """
    if unless_begun and (job.state is not State.QUEUED or job.attempts):
        return job
    if job.state is State.QUEUED:
        return evolve(job, state=State.DONE, outcome=Outcome.CANCELLED, finished_at=finished_at)
    if job.state in (State.RUNNING, State.LEASED):
        return evolve(job, state=State.CANCELLING)
    return job


def requeued(job: Job, *, node: str, refund: bool, attempt: int | None, until: float | None) -> Job:
    """Back to the queue, with nothing produced.

    The node stays: until somebody else takes the job, a late result of a factory is as good as a timely one.
    """
    _expect_node(job, node, attempt)
    _expect_work(job)
    if until not in (None, job.lease_until):
        raise WrongState(f"the lease of {job.transaction_id} was renewed")
    return evolve(
        _with_counts(job, Progress()),
        state=State.QUEUED,
        started_at=None,
        lease_until=None,
        attempts=job.attempts - 1 if refund else job.attempts,
    )


def renewed(job: Job, *, holder: str, expires_at: float, attempt: int | None) -> Job:
    """A lease that ends later."""
    held = job.state in (State.LEASED, State.CANCELLING) and job.node == holder
    if not held or attempt not in (None, job.attempts):
        raise LeaseLost(f"{job.transaction_id} is not leased to {holder}")
    return evolve(job, lease_until=expires_at)


def _with_counts(job: Job, progress: Progress) -> Job:
    return evolve(
        job,
        documents=progress.documents,
        pages=progress.pages,
        failures=progress.failures,
        total=progress.total,
    )


def _expect_node(job: Job, node: str, attempt: int | None) -> None:
    if job.state is State.DONE or job.node != node:
        raise WrongState(f"{job.transaction_id} is {job.state.value} and not at work here")
    if attempt not in (None, job.attempts):
        raise WrongState(f"{job.transaction_id} is at attempt {job.attempts}, not {attempt}")


def _expect_work(job: Job) -> None:
    if job.state is State.QUEUED:
        raise WrongState(f"{job.transaction_id} is queued and not at work here")


# -- writing them --------


def change_jobs(connection: sa.Connection, changes: Sequence[Change]) -> list[Job | PFServerError]:
    """Make the steps in their order, all in this transaction; a step that raises changes nothing."""
    jobs = read_jobs(connection, {change.job_id for change in changes})
    changed: dict[int, Job] = {}
    results: list[Job | PFServerError] = []
    messages: list[tuple[Any, ...]] = []
    artifacts: dict[tuple[int, str], Artifact] = {}
    dropped: set[int] = set()
    for change in changes:
        before = jobs.get(change.job_id)
        try:
            after = _step(before, change)
        except PFServerError as error:
            results.append(error)
            continue
        texts = _texts(change, before, after)
        if texts:
            messages += message_rows(after, texts, change.time)
            after = evolve(after, messages=after.messages + len(texts))
        if change.replace_artifacts:
            dropped.add(after.id)
            artifacts = {key: value for key, value in artifacts.items() if key[0] != after.id}
        artifacts.update({(after.id, artifact.name): artifact for artifact in change.artifacts})
        if after is not before:
            jobs[after.id] = changed[after.id] = after
        results.append(after)
    _write(connection, list(changed.values()), messages, artifacts, dropped)
    return results


def _step(before: Job | None, change: Change) -> Job:
    if before is None:
        raise NoSuchJob(f"there is no job {change.job_id}")
    after = change.step(before)
    if after.state is not before.state and after.state not in LIFE_CYCLE[before.state]:
        raise WrongState(f"{before.transaction_id} is {before.state.value} and cannot become {after.state.value}")
    return after


def _texts(change: Change, before: Job | None, after: Job) -> Texts:
    if not callable(change.messages):
        return change.messages
    if before is None or after.state is before.state:
        return ()
    return change.messages(after)


_BY_ID = sa.select(*JOB_COLUMNS).where(JOBS.c.id.in_(sa.bindparam("ids", expanding=True))).with_for_update()


def read_jobs(connection: sa.Connection, job_ids: set[int]) -> dict[int, Job]:
    """Jobs as they are now, to be changed in this transaction."""
    jobs = in_hand(connection, job_ids)
    missing = job_ids.difference(jobs)
    if missing:
        for row in connection.execute(_BY_ID, {"ids": sorted(missing)}):
            jobs[row.id] = row_to_job(row)
    return jobs


_UPDATE = Bulk(
    sa.update(JOBS)
    .where(JOBS.c.id == sa.bindparam("job_id"))
    .values({name: sa.bindparam(f"new_{name}") for name in MUTABLE}),
    ["job_id", *(f"new_{name}" for name in MUTABLE)],
)
INSERT_MESSAGES = Bulk(sa.insert(MESSAGES), MESSAGE_NAMES)
_INSERT_ARTIFACTS = Bulk(sa.insert(ARTIFACTS), ARTIFACT_NAMES)
_DELETE_ARTIFACTS = Bulk(sa.delete(ARTIFACTS).where(ARTIFACTS.c.job_id == sa.bindparam("the_job")), ["the_job"])
_DELETE_ARTIFACT = Bulk(
    sa.delete(ARTIFACTS).where(
        ARTIFACTS.c.job_id == sa.bindparam("the_job"), ARTIFACTS.c.name == sa.bindparam("the_name")
    ),
    ["the_job", "the_name"],
)


def _write(
    connection: sa.Connection,
    jobs: Sequence[Job],
    messages: Sequence[tuple[Any, ...]],
    artifacts: dict[tuple[int, str], Artifact],
    dropped: set[int],
) -> None:
    _UPDATE.execute(connection, [(job.id, *job_to_changes(job)) for job in jobs])
    put_in_hand(connection, jobs)
    INSERT_MESSAGES.execute(connection, messages)
    _DELETE_ARTIFACTS.execute(connection, [(job_id,) for job_id in sorted(dropped)])
    _DELETE_ARTIFACT.execute(connection, [key for key in artifacts if key[0] not in dropped])
    rows = [artifact_to_row(job_id, artifact) for (job_id, _), artifact in artifacts.items()]
    _INSERT_ARTIFACTS.execute(connection, rows)


# -- forgetting --------


def delete_messages(connection: sa.Connection, payloads: Sequence[tuple[int, int]]) -> list[int]:
    """Delete the oldest messages of jobs, at most so many of each; gives how many were deleted."""
    deleted = []
    for job_id, limit in payloads:
        oldest = (
            sa.select(MESSAGES.c.sequence)
            .where(MESSAGES.c.job_id == job_id)
            .order_by(MESSAGES.c.sequence)
            .limit(limit)
            .subquery()
        )
        statement = sa.delete(MESSAGES).where(
            MESSAGES.c.job_id == job_id, MESSAGES.c.sequence.in_(sa.select(oldest.c.sequence))
        )
        deleted.append(connection.execute(statement).rowcount)
    return deleted


def delete_jobs(connection: sa.Connection, payloads: Sequence[Sequence[int]]) -> list[None]:
    """Delete done jobs with all that is left of them."""
    asked = sorted({job_id for payload in payloads for job_id in payload})
    done = sa.select(JOBS.c.id).where(JOBS.c.id.in_(asked), JOBS.c.state == State.DONE.value)
    ids = list(connection.scalars(done))
    for table, column in ((MESSAGES, MESSAGES.c.job_id), (ARTIFACTS, ARTIFACTS.c.job_id), (JOBS, JOBS.c.id)):
        connection.execute(sa.delete(table).where(column.in_(ids)))
    return [None] * len(payloads)
