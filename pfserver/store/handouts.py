"""The names under which jobs go out to factories: given with the first lease, in the same commit, and kept for ever."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from uuid import uuid4

import sqlalchemy as sa

from pfserver.store.statements import Statement
from pfserver.store.tables import HANDOUTS, JOBS

#: So many of the last names are kept in memory.
IN_MEMORY = 10_000

_NAME_OF = Statement(sa.select(HANDOUTS.c.uuid).where(HANDOUTS.c.job_id == sa.bindparam("job")))
_JOB_OF = Statement(sa.select(HANDOUTS.c.job_id).where(HANDOUTS.c.uuid == sa.bindparam("name")))
_GIVE = Statement(sa.insert(HANDOUTS))
_FORGET = sa.delete(HANDOUTS).where(HANDOUTS.c.job_id.not_in(sa.select(JOBS.c.id)))


class Handouts:
    """Names that were given lately, in memory; for the reactor's thread.

    A name is a job's for ever, so they are never wrong; that the job may be gone its reader finds out.
    """

    def __init__(self) -> None:
        self._names: dict[int, str] = {}
        self._jobs: OrderedDict[str, int] = OrderedDict()

    def learn(self, job_id: int, name: str) -> None:
        """A job goes out under a name: it is on disk."""
        self._names[job_id] = name
        self._jobs[name] = job_id
        if len(self._jobs) > IN_MEMORY:
            _, forgotten = self._jobs.popitem(last=False)
            del self._names[forgotten]

    def name_of(self, job_id: int) -> str | None:
        """The name of a job, if it is known."""
        return self._names.get(job_id)

    def job_of(self, name: str) -> int | None:
        """The job of a name, if it is known."""
        return self._jobs.get(name)

    def clear(self) -> None:
        """Forget all."""
        self._names.clear()
        self._jobs.clear()


# -- in the database's threads --------


def name_jobs(connection: sa.Connection, job_ids: Sequence[int]) -> list[str]:
    """The names of jobs; those that have none yet get one."""
    names = []
    for job_id in job_ids:
        name = _NAME_OF.scalar(connection, job=job_id)
        if name is None:
            name = str(uuid4())
            _GIVE.change(connection, uuid=name, job_id=job_id)
        names.append(name)
    return names


def job_named(connection: sa.Connection, name: str) -> int | None:
    """The job that went out under a name."""
    found: int | None = _JOB_OF.scalar(connection, name=name)
    return found


def forget_removed(connection: sa.Connection) -> int:
    """Forget the names of jobs that were removed; gives how many."""
    return connection.execute(_FORGET).rowcount
