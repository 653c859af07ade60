"""The live globals: ^%PFJOB shows jobs, ^%PFLOCK the locks that are held."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import accumulate

from pfserver.errors import NoSuchJob
from pfserver.frontends.omi.live import Path, number_of, step_in, step_in_numbers
from pfserver.interfaces import IEngine, ILocks
from pfserver.model import Artifact, HeldLock, Job, State
from pfserver.wire.omi.written import write_reference

_JOB_FIELDS = b"done", b"job", b"message", b"outcome", b"output", b"project", b"state", b"total"
_LOCK_FIELDS = b"agent", b"client", b"count", b"environment", b"reference", b"session"
#: Ids that the store cannot hold are not asked for.
_MOST = 2**53


class JobTree:
    """``^%PFJOB(id,field)``, ``^%PFJOB(id,"message",n)`` and ``^%PFJOB(id,"output",n)``; a message is number^text."""

    def __init__(self, engine: IEngine) -> None:
        self._engine = engine
        # What the last done job has produced: whoever walks its outputs asks for them one by one.
        self._outputs: tuple[int, Sequence[Artifact]] = 0, ()

    async def value(self, path: Path) -> bytes | None:
        """See ``Tree``."""
        if len(path) not in (2, 3) or (job := await self._job(path[0])) is None:
            return None
        if len(path) == 2:
            return _field(job, path[1])
        number = number_of(path[2])
        if number is None or number != int(number) or not 1 <= number <= _MOST:
            return None
        return await self._told(job, path[1], int(number))

    async def step(self, path: Path, after: bytes, reverse: bool) -> bytes:
        """See ``Tree``."""
        if not path:
            return await self._step_id(after, reverse)
        if len(path) > 2 or (job := await self._job(path[0])) is None:
            return b""
        if len(path) == 2:
            return step_in_numbers(await self._count(job, path[1]), after, reverse)
        while after := step_in(_JOB_FIELDS, after, reverse):
            if _field(job, after) is not None or await self._count(job, after):
                return after
        return b""

    async def _step_id(self, after: bytes, reverse: bool) -> bytes:
        number = number_of(after)
        if number is None:
            if after and not reverse:
                return b""
            number = _MOST if reverse else 0
        # From 3.5 the one after is 4 and the one before is 3.
        start = math.ceil(number) if reverse else math.floor(number)
        found = await self._engine.next_job_id(max(0, min(_MOST, start)), reverse=reverse)
        return b"%d" % found if found is not None else b""

    async def _job(self, subscript: bytes) -> Job | None:
        number = number_of(subscript)
        if number is None or number != int(number) or not 0 < number < _MOST:
            return None
        try:
            return await self._engine.job(int(number))
        except NoSuchJob:
            return None

    async def _count(self, job: Job, field: bytes) -> int:
        if field == b"message":
            return job.messages
        return len(await self._artifacts(job)) if field == b"output" else 0

    async def _artifacts(self, job: Job) -> Sequence[Artifact]:
        if self._outputs[0] == job.id:
            return self._outputs[1]
        artifacts = await self._engine.artifacts(job.id)
        if job.state is State.DONE:
            self._outputs = job.id, artifacts
        return artifacts

    async def _told(self, job: Job, field: bytes, number: int) -> bytes | None:
        if field == b"message":
            for message in await self._engine.messages(job.id, after=number - 1, limit=1):
                if message.sequence == number:
                    return f"{message.number}^{message.text}".encode()
        elif field == b"output":
            artifacts = await self._artifacts(job)
            if number <= len(artifacts):
                return artifacts[number - 1].name.encode()
        return None


def _field(job: Job, field: bytes) -> bytes | None:
    values: dict[bytes, object] = {
        b"state": job.state.value,
        b"outcome": int(job.outcome) if job.outcome is not None else None,
        b"project": job.request.project,
        b"job": job.request.job,
        b"done": job.documents,
        b"total": job.total,
    }
    value = values.get(field)
    return str(value).encode() if value is not None else None


class LockTree:
    """``^%PFLOCK(n,field)``: locks in their order.

    How many locks each environment has is seen once: this is for fetches between which nobody takes or gives back any.

    :param readable: whether the locks in an environment are told.
    """

    def __init__(self, locks: ILocks, readable: Callable[[bytes], bool]) -> None:
        self._locks = locks
        counts = {one: count for one, count in locks.environments().items() if readable(one)}
        self._environments = list(counts)
        # The last lock's number in each.
        self._lasts = list(accumulate(counts.values()))

    async def value(self, path: Path) -> bytes | None:
        """See ``Tree``."""
        if len(path) != 2 or path[1] not in _LOCK_FIELDS or (lock := self._lock(path[0])) is None:
            return None
        if path[1] == b"reference":
            return write_reference(lock.name, lock.subscripts)
        values = {
            b"agent": lock.agent.encode(),
            b"client": lock.client,
            b"count": b"%d" % lock.count,
            b"environment": lock.environment,
            b"session": b"%d" % lock.session,
        }
        return values[path[1]]

    async def step(self, path: Path, after: bytes, reverse: bool) -> bytes:
        """See ``Tree``."""
        if not path:
            return step_in_numbers(self._last, after, reverse)
        if len(path) == 1 and self._lock(path[0]) is not None:
            return step_in(_LOCK_FIELDS, after, reverse)
        return b""

    @property
    def _last(self) -> int:
        return self._lasts[-1] if self._lasts else 0

    def _lock(self, subscript: bytes) -> HeldLock | None:
        number = number_of(subscript)
        if number is None or number != int(number) or not 1 <= number <= self._last:
            return None
        place = bisect_left(self._lasts, number)
        before = self._lasts[place - 1] if place else 0
        (lock,) = self._locks.held(int(number) - before - 1, 1, self._environments[place])
        return lock
