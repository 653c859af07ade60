"""Times in the database follow the time of day where it was set while no server looked.

A server's clock never jumps, but it begins with the time of day: after a restart it may say something else of the same
moment. Leases and retention go by differences of times, so that what is stored is moved by as much.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from attrs import frozen

from pfserver.store.tables import COUNTERS, JOBS

#: Seconds that the clock may differ: what is read at two moments always does.
TOLERANCE = 1.0

_PREFIX = "clock:"
_TIMES = (JOBS.c.created_at, JOBS.c.started_at, JOBS.c.finished_at, JOBS.c.lease_until)


@frozen
class ServerClock:
    """A server's clock, as it begins.

    :param boot: names this start of the machine; another one's seconds say nothing.
    :param boot_time: the clock's seconds since the epoch when the machine was started.
    """

    boot: str
    boot_time: float


def begin_clock(connection: sa.Connection, payloads: Sequence[ServerClock]) -> list[float]:
    """Remember the clock, and move the jobs' times where it differs from the last server's; gives by how many seconds.

    Only for a database that no other server shares. After a restart of the machine nothing can be known.
    """
    return [_begin(connection, clock) for clock in payloads]


def _begin(connection: sa.Connection, clock: ServerClock) -> float:
    name = _PREFIX + clock.boot
    before = connection.scalar(sa.select(COUNTERS.c.value).where(COUNTERS.c.name == name))
    moved = 0.0 if before is None else clock.boot_time - before / 1e6
    if abs(moved) < TOLERANCE:
        moved = 0.0
    else:
        connection.execute(sa.update(JOBS).values({column: column + moved for column in _TIMES}))
    if moved or before is None:
        connection.execute(sa.delete(COUNTERS).where(COUNTERS.c.name.startswith(_PREFIX)))
        connection.execute(sa.insert(COUNTERS).values(name=name, value=round(clock.boot_time * 1e6)))
    return moved
