"""Jobs, messages and artifacts to rows and back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

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

JOB_COLUMNS = tuple(JOBS.c)


def job_to_row(job: Job) -> dict[str, Any]:
    """All columns of a new job."""
    request = job.request
    return {
        "id": job.id,
        "project": request.project,
        "job": request.job,
        "variables": _to_json(request.variables),
        "document_variables": _to_json(request.document_variables),
        "queue": request.queue,
        "priority": request.priority,
        "backend": request.backend,
        "account": request.account,
        "request_group": request.group,
        "output_folder": request.output_folder,
        "max_attempts": request.max_attempts,
        "created_at": job.created_at,
        **job_to_changes(job),
    }


def job_to_changes(job: Job) -> dict[str, Any]:
    """The mutable columns of a job."""
    return {
        "state": job.state.value,
        "outcome": None if job.outcome is None else int(job.outcome),
        "attempts": job.attempts,
        "node": job.node,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "total": job.total,
        "documents": job.documents,
        "pages": job.pages,
        "failures": job.failures,
        "messages": job.messages,
        "lease_until": job.lease_until,
    }


def row_to_job(row: sa.Row[Any]) -> Job:
    """A row of :data:`JOB_COLUMNS` as a job."""
    return Job(
        id=row.id,
        request=JobRequest(
            project=row.project,
            job=row.job,
            variables=_from_json(row.variables),
            document_variables=_from_json(row.document_variables),
            queue=row.queue,
            priority=row.priority,
            backend=row.backend,
            account=row.account,
            group=row.request_group,
            output_folder=row.output_folder,
            max_attempts=row.max_attempts,
        ),
        state=State(row.state),
        outcome=None if row.outcome is None else Outcome(row.outcome),
        attempts=row.attempts,
        node=row.node,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        total=row.total,
        documents=row.documents,
        pages=row.pages,
        failures=row.failures,
        messages=row.messages,
        lease_until=row.lease_until,
    )


def message_rows(job: Job, texts: Sequence[tuple[int, str]], time: float) -> list[dict[str, Any]]:
    """Rows of messages that follow those which the job has."""
    return [
        {"job_id": job.id, "sequence": sequence, "number": int(number), "text": text, "time": time}
        for sequence, (number, text) in enumerate(texts, job.messages + 1)
    ]


def artifact_to_row(job_id: int, artifact: Artifact) -> dict[str, Any]:
    """All columns of an artifact."""
    return {
        "job_id": job_id,
        "name": artifact.name,
        "media_type": artifact.media_type,
        "size": artifact.size,
        "pages": artifact.pages,
        "sha256": artifact.sha256,
    }


def _to_json(mapping: Any) -> str:
    return json.dumps(dict(mapping), ensure_ascii=False) if mapping else "{}"


def _from_json(text: str) -> dict[str, str]:
    return {} if text == "{}" else json.loads(text)
