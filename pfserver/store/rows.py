"""Jobs, messages and artifacts to rows and back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pfserver.model import Artifact, Job, JobRequest, Outcome, State
from pfserver.store.tables import JOBS

#: What changes while a job lives; all else stays as it was submitted.
MUTABLE = (
    "state",
    "outcome",
    "attempts",
    "node",
    "started_at",
    "finished_at",
    "total",
    "documents",
    "pages",
    "failures",
    "messages",
    "lease_until",
)

#: What is written when a job comes in.
JOB_NAMES = (
    "id",
    "project",
    "job",
    "variables",
    "document_variables",
    "queue",
    "priority",
    "backend",
    "account",
    "request_group",
    "output_folder",
    "max_attempts",
    "home",
    "created_at",
    *MUTABLE,
)

JOB_COLUMNS = tuple(JOBS.c)

MESSAGE_NAMES = ("job_id", "sequence", "number", "text", "time")

ARTIFACT_NAMES = ("job_id", "name", "media_type", "size", "pages", "sha256")


def job_to_row(job: Job) -> tuple[Any, ...]:
    """All columns of a new job, in the order of :data:`JOB_NAMES`."""
    request = job.request
    return (
        job.id,
        request.project,
        request.job,
        _to_json(request.variables),
        _to_json(request.document_variables),
        request.queue,
        request.priority,
        request.backend,
        request.account,
        request.group,
        request.output_folder,
        request.max_attempts,
        request.home,
        job.created_at,
        *job_to_changes(job),
    )


def job_to_changes(job: Job) -> tuple[Any, ...]:
    """The mutable columns of a job, in the order of :data:`MUTABLE`."""
    return (
        job.state.value,
        None if job.outcome is None else int(job.outcome),
        job.attempts,
        job.node,
        job.started_at,
        job.finished_at,
        job.total,
        job.documents,
        job.pages,
        job.failures,
        job.messages,
        job.lease_until,
    )


def row_to_job(row: Sequence[Any]) -> Job:
    """A row of :data:`JOB_COLUMNS` as a job."""
    job_id, project, job, variables, document_variables, queue, priority, backend, account, group, *others = row
    output_folder, max_attempts, state, outcome, attempts, node, created_at, started_at, finished_at, *counts = others
    total, documents, pages, failures, messages, lease_until, home = counts
    return Job(
        id=job_id,
        request=JobRequest(
            project=project,
            job=job,
            variables=_from_json(variables),
            document_variables=_from_json(document_variables),
            queue=queue,
            priority=priority,
            backend=backend,
            account=account,
            group=group,
            output_folder=output_folder,
            max_attempts=max_attempts,
            home=home,
        ),
        state=State(state),
        outcome=None if outcome is None else Outcome(outcome),
        attempts=attempts,
        node=node,
        created_at=created_at,
        started_at=started_at,
        finished_at=finished_at,
        total=total,
        documents=documents,
        pages=pages,
        failures=failures,
        messages=messages,
        lease_until=lease_until,
    )


def message_rows(job: Job, texts: Sequence[tuple[int, str]], time: float) -> list[tuple[Any, ...]]:
    """Rows, in the order of :data:`MESSAGE_NAMES`, of messages that follow those which the job has."""
    return [
        (job.id, sequence, int(number), _storable(text), time)
        for sequence, (number, text) in enumerate(texts, job.messages + 1)
    ]


def _storable(text: str) -> str:
    """Text that every database takes, as the wire shows it: half a surrogate pair is a ``?``, zero bytes are none.

    What rules throw, and what backends say of a record, may hold either.
    """
    return text if text.isprintable() else text.encode("utf-8", "replace").decode("utf-8").replace("\0", "")


def artifact_to_row(job_id: int, artifact: Artifact) -> tuple[Any, ...]:
    """An artifact in the order of :data:`ARTIFACT_NAMES`."""
    return (job_id, artifact.name, artifact.media_type, artifact.size, artifact.pages, artifact.sha256)


def _to_json(mapping: Any) -> str:
    return json.dumps(dict(mapping), ensure_ascii=False) if mapping else "{}"


def _from_json(text: str) -> dict[str, str]:
    return {} if text == "{}" else json.loads(text)
