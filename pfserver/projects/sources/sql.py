"""Records from a database: a SQLite file or any SQLAlchemy URL, with a query that only reads."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from twisted.plugin import IPlugin
from zope.interface import implementer

from pfserver.errors import OutputUnavailable, OutsideRoot
from pfserver.interfaces import IDataSourcePlugin
from pfserver.projects.paths import inside
from pfserver.projects.sources.common import RECORD, broken, check_options

#: Rows that are fetched from a database at once.
ROWS = 50

#: Seconds that a database may take for the next rows.
SECONDS = 300.0

#: What is said where the disk has no room for what a query writes meanwhile.
NO_ROOM = "there is no room for the query"

#: SQLite asks after so many steps of its machine whether to go on.
_STEPS = 100_000

#: By dialect, what keeps a query from writing, and from never ending.
_BEFORE = {
    "postgresql": ("SET TRANSACTION READ ONLY", "SET LOCAL statement_timeout = {milliseconds}"),
    "mysql": ("SET TRANSACTION READ ONLY", "SET SESSION max_execution_time = {milliseconds}"),
    "mariadb": ("SET TRANSACTION READ ONLY",),
}

_FILES = (".sqlite", ".sqlite3", ".db")
_READS = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}


def is_select(query: str) -> bool:
    """Whether a text begins like a query that only reads; the database makes sure that it does."""
    text = re.sub(r"--[^\n]*\n|/\*.*?\*/", " ", query, flags=re.DOTALL).strip().rstrip(";").strip()
    return bool(re.match(r"(?i)(select|with|values)\b", text)) and ";" not in re.sub(r"'(?:[^']|'')*'", "", text)


@implementer(IPlugin, IDataSourcePlugin)
class SqlSource:
    """``.sqlite``, ``.db`` and SQLAlchemy URLs; ``query = "SELECT …"`` or ``table = "…"`` says which rows."""

    name = "sql"

    def takes(self, source: str) -> bool:
        """See ``IDataSourcePlugin``."""
        if "://" in source:
            return not source.lower().startswith(("http://", "https://", "file://"))
        return source.lower().endswith(_FILES)

    @contextmanager
    def open(self, source: str, root: Path, options: Mapping[str, Any]) -> Iterator[Iterator[Mapping[str, Any]]]:
        """See ``IDataSourcePlugin``."""
        check_options(source, options, {"query", "table"})
        query = self._query(source, options)
        if "://" in source and not source.startswith("sqlite"):
            with self._server(source, query) as records:
                yield records
        else:
            path = source if "://" not in source else self._file(source, root)
            with read_only(path, source) as connection:
                yield select(connection, query, source)

    def count(self, source: str, root: Path, options: Mapping[str, Any]) -> int | None:
        """See ``IDataSourcePlugin``: for SQLite files, by asking it."""
        if "://" in source:
            return None
        query = self._query(source, options).strip().rstrip(";")
        with read_only(source, source) as connection:
            return int(next(iter(select(connection, f"SELECT count(*) AS n FROM ({query})", source)))["n"])

    def _file(self, source: str, root: Path) -> str:
        """The file of a SQLite URL; it lies inside the project as every other file does."""
        try:
            return str(inside(root, sa.make_url(source).database or ""))
        except (OutsideRoot, SQLAlchemyError) as error:
            raise broken(source, "does not name a file inside the project") from error

    def _query(self, source: str, options: Mapping[str, Any]) -> str:
        query, table = options.get("query"), options.get("table")
        if isinstance(table, str) and query is None:
            return f"SELECT * FROM {_quoted(source, table)}"
        if not isinstance(query, str) or table is not None:
            raise broken(source, 'needs either query = "SELECT …" or table = "…" in [data]')
        if not is_select(query):
            raise broken(source, "the query is not one SELECT")
        return query

    @contextmanager
    def _server(self, source: str, query: str) -> Iterator[Iterator[Mapping[str, Any]]]:
        try:
            engine = sa.create_engine(source, poolclass=sa.NullPool)
        except (SQLAlchemyError, ImportError, ValueError) as error:
            raise broken(source, f"cannot be used: {_reason(error)}") from error
        try:
            with engine.connect() as connection:
                for command in _BEFORE.get(engine.dialect.name, ()):
                    connection.exec_driver_sql(command.format(milliseconds=int(SECONDS * 1000)))
                # As it stands: a colon or a percent sign in it is not for SQLAlchemy or the driver.
                how = {"stream_results": True, "max_row_buffer": ROWS, "no_parameters": True}
                result = connection.execution_options(**how).exec_driver_sql(query)
                yield self._rows(result, source)
                # Whatever a query did in spite of all is not kept.
                connection.rollback()
        except SQLAlchemyError as error:
            raise broken(source, _reason(error)) from error
        finally:
            engine.dispose()

    def _rows(self, result: sa.CursorResult[Any], source: str) -> Iterator[Mapping[str, Any]]:
        try:
            for row in result.mappings():
                yield dict(row)
        except SQLAlchemyError as error:
            raise broken(source, _reason(error)) from error


@contextmanager
def read_only(path: str, source: str) -> Iterator[sqlite3.Connection]:
    """A connection to a SQLite file that can only read."""
    if not Path(path).is_file():
        raise broken(source, "there is no such file")
    uri = f"{Path(path).absolute().as_uri()}?mode=ro"
    try:
        # Its rows are fetched in one thread at a time, though not always the same.
        with closing(sqlite3.connect(uri, uri=True, check_same_thread=False)) as connection:
            yield connection
    except sqlite3.Error as error:
        raise broken(source, str(error)) from error


def select(connection: sqlite3.Connection, query: str, source: str) -> Iterator[Mapping[str, Any]]:
    """The rows of a query that may only read, as mappings."""

    if not is_select(query):
        raise broken(source, "the query is not one SELECT")
    limit = _Limit()
    connection.set_authorizer(_authorize)
    connection.set_progress_handler(limit.passed, _STEPS)
    # No value, and so no row, that memory does not hold with ease.
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, RECORD)
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    try:
        cursor = connection.execute(query)
        names = [column[0] for column in cursor.description or ()]
        while rows := cursor.fetchmany(ROWS):
            for row in rows:
                yield dict(zip(names, row, strict=True))
            limit.begin()
    except (sqlite3.Error, sqlite3.Warning) as error:
        raise_if_full(error)
        text = f"takes longer than {SECONDS:g} seconds" if limit.passed() else f"cannot be run: {error}"
        raise broken(source, f"the query {text}") from error


class _Limit:
    """The time for the next rows."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        self._end = monotonic() + SECONDS

    def passed(self) -> bool:
        return monotonic() > self._end


def raise_if_full(error: Exception) -> None:
    """Raise ``OutputUnavailable`` where SQLite found no room for what it writes meanwhile: no fault of the query."""
    if isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
        raise OutputUnavailable(f"{NO_ROOM}: {error}") from error


def _authorize(action: int, *_: object) -> int:
    return sqlite3.SQLITE_OK if action in _READS else sqlite3.SQLITE_DENY


def _quoted(source: str, table: str) -> str:
    """A table's name as the database of a source quotes it. Raises ``JobFailed``."""
    try:
        dialect = sa.make_url(source if "://" in source else "sqlite://").get_dialect()()
    except (SQLAlchemyError, ImportError, ValueError) as error:
        raise broken(source, f"cannot be used: {_reason(error)}") from error
    return str(dialect.identifier_preparer.quote_identifier(table))


def _reason(error: Exception) -> str:
    """What a driver says, its first line: never the URL, which may hold a password."""
    return str(getattr(error, "orig", None) or error).splitlines()[0][:300]
