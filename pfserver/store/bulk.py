"""Statements that are executed for many rows in one go, and the jobs that the writer has in hand.

Both are there for speed: a small job costs a dozen rows, and what SQLAlchemy does for each execution and each row would
cost more than the database itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from pfserver.model import Job, State

#: Jobs that are kept in hand at most; beyond that all are forgotten and read again when needed.
IN_HAND = 20_000

_KEY = "pfserver-jobs"


class Bulk:
    """An INSERT, UPDATE or DELETE with named parameters, for rows that are tuples in the order of ``names``."""

    def __init__(self, statement: sa.Executable, names: Sequence[str]) -> None:
        self._statement = statement
        self._names = tuple(names)
        self._positional: tuple[str, tuple[int, ...]] | None = None

    def execute(self, connection: sa.Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Execute for all rows; nothing happens for none."""
        if not rows:
            return
        if connection.dialect.paramstyle != "qmark":
            connection.execute(self._statement, [dict(zip(self._names, row, strict=True)) for row in rows])
            return
        if self._positional is None:
            compiled: Any = self._statement.compile(dialect=connection.dialect)  # type: ignore[attr-defined]
            self._positional = str(compiled), tuple(self._names.index(name) for name in compiled.positiontup)
        text, order = self._positional
        if order != tuple(range(len(order))):
            rows = [tuple(row[index] for index in order) for row in rows]
        connection.exec_driver_sql(text, list(rows))


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
