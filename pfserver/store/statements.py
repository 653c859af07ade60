"""Statements that are put together once, and go to SQLite without a detour.

For speed: a small job costs a dozen rows, and what SQLAlchemy does for each execution costs more than SQLite itself,
most of all where its code has left the processor's caches. Other databases get them through SQLAlchemy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError


def execute_at_once(
    connection: sa.Connection, text: str, values: Sequence[Any] = (), *, many: bool = False, fetch: bool = False
) -> Any:
    """Have the driver execute a statement. Raises ``DBAPIError``, as SQLAlchemy does.

    :param many: whether ``values`` are rows of values.
    :param fetch: whether all rows are wanted; else the number of rows that were changed.
    """
    handle: Any = connection.connection.driver_connection
    try:
        cursor = handle.executemany(text, values) if many else handle.execute(text, values)
        return cursor.fetchall() if fetch else cursor.rowcount
    except connection.dialect.loaded_dbapi.Error as error:
        base = connection.dialect.loaded_dbapi.Error
        raise DBAPIError.instance(text, None, error, base, dialect=connection.dialect) from error


class _Prepared:
    """A statement, and its text once it is known."""

    def __init__(self, statement: Any) -> None:
        self.statement = statement
        self._text: tuple[str, tuple[str, ...], Mapping[str, Any]] | None = None

    def text(self, connection: sa.Connection) -> tuple[str, tuple[str, ...], Mapping[str, Any]] | None:
        """The text, the names of its parameters in their order, and the values of those that nobody gives.

        None where SQLAlchemy has to execute it: also to begin a transaction first.
        """
        dialect = connection.dialect
        if dialect.name != "sqlite" or dialect.paramstyle != "qmark" or not connection.in_transaction():
            return None
        if self._text is None:
            compiled = self.statement.compile(dialect=dialect)
            if "POSTCOMPILE" in str(compiled):
                raise ValueError("a statement with a list of any length has no text of its own")
            known = {name: value for name, value in compiled.params.items() if not compiled.binds[name].required}
            self._text = str(compiled), tuple(compiled.positiontup), known
        return self._text


class Statement:
    """A statement with named parameters, all of which are given each time."""

    def __init__(self, statement: Any) -> None:
        self._prepared = _Prepared(statement)

    def rows(self, connection: sa.Connection, **values: Any) -> Sequence[Sequence[Any]]:
        """All rows, each its values in their order."""
        rows: Sequence[Sequence[Any]] = self._execute(connection, values, fetch=True)
        return rows

    def scalar(self, connection: sa.Connection, **values: Any) -> Any:
        """The first value of the first row, None where there is no row."""
        rows = self.rows(connection, **values)
        return rows[0][0] if rows else None

    def change(self, connection: sa.Connection, **values: Any) -> int:
        """Change something; gives the number of rows."""
        count: int = self._execute(connection, values, fetch=False)
        return count

    def _execute(self, connection: sa.Connection, values: Mapping[str, Any], *, fetch: bool) -> Any:
        prepared = self._prepared.text(connection)
        if prepared is None:
            result = connection.execute(self._prepared.statement, values)
            return result.all() if fetch else result.rowcount
        text, order, known = prepared
        if values.keys() | known.keys() != set(order):
            raise ValueError(f"the parameters are {', '.join(order)}, not {', '.join(values)}")
        given = [values[name] if name in values else known[name] for name in order]
        return execute_at_once(connection, text, given, fetch=fetch)


class Bulk:
    """An INSERT, UPDATE or DELETE with named parameters, for rows that are tuples in the order of ``names``."""

    def __init__(self, statement: Any, names: Sequence[str]) -> None:
        self._prepared = _Prepared(statement)
        self._names = tuple(names)
        self._positions: list[int] | None = None
        """Where the values of the statement's parameters stand in a row."""

    def execute(self, connection: sa.Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Execute for all rows; nothing happens for none."""
        if not rows:
            return
        prepared = self._prepared.text(connection)
        if prepared is None:
            values = [dict(zip(self._names, row, strict=True)) for row in rows]
            connection.execute(self._prepared.statement, values)
            return
        text, order, _ = prepared
        if self._positions is None:
            self._positions = [self._names.index(name) for name in order]
        if order != self._names:
            rows = [tuple([row[position] for position in self._positions]) for row in rows]
        execute_at_once(connection, text, rows, many=True)
