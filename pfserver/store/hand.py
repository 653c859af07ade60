"""The jobs that the writer has in hand: it knows them without reading them again."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from pfserver.model import Job, State

#: Jobs that are kept in hand at most; beyond that all are forgotten and read again when needed.
IN_HAND = 20_000

_KEY = "pfserver-jobs"


def keep_in_hand(connection: sa.Connection) -> None:
    """Let this connection keep jobs in hand, from none: only where nobody else can change them.

    It is to be asked again after a transaction that failed: what jobs were told to be was not committed.
    """
    connection.info[_KEY] = {}


def in_hand(connection: sa.Connection, ids: Iterable[int]) -> dict[int, Job]:
    """Those of some jobs that are in hand."""
    jobs: dict[int, Job] = connection.info.get(_KEY) or {}
    return {job_id: jobs[job_id] for job_id in ids if job_id in jobs}


def put_in_hand(connection: sa.Connection, jobs: Iterable[Job]) -> None:
    """Keep jobs as they are now; those that are done are forgotten."""
    held: dict[int, Job] | None = connection.info.get(_KEY)
    if held is None:
        return
    if len(held) > IN_HAND:
        held.clear()
    for job in jobs:
        if job.state is State.DONE:
            held.pop(job.id, None)
        else:
            held[job.id] = job
