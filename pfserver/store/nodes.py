"""The servers that share a database, and which of them live: each counts on in its row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from pfserver.store.queries import IS_WORKING
from pfserver.store.tables import JOBS, NODES


def beat(connection: sa.Connection, names: Sequence[str]) -> list[None]:
    """Each of these nodes lives."""
    for name in names:
        counted = connection.execute(sa.update(NODES).where(NODES.c.name == name).values(beats=NODES.c.beats + 1))
        if not counted.rowcount:
            connection.execute(sa.insert(NODES).values(name=name, beats=1))
    return [None] * len(names)


def beats(connection: sa.Connection) -> Mapping[str, int]:
    """How far each node has counted that jobs run at."""
    working = sa.select(JOBS.c.node).where(IS_WORKING)
    query = sa.select(NODES.c.name, NODES.c.beats).where(NODES.c.name.in_(working))
    return {row.name: row.beats for row in connection.execute(query)}
