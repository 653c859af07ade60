"""The records of a job: which source they come from, and a query over any of them."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from attrs import field, frozen

from pfserver.errors import JobFailed, unwritten
from pfserver.interfaces import IDataSourcePlugin
from pfserver.numbers import Number
from pfserver.projects.rules import to_json
from pfserver.projects.sources.common import Unreadable, broken
from pfserver.projects.sources.sql import NO_ROOM, SqlSource, raise_if_full, select


@frozen(kw_only=True)
class RecordSource:
    """Where a job's records come from."""

    source: str
    """A file's absolute path, or a URL; empty for one document without a record."""
    root: Path
    options: Mapping[str, Any] = field(factory=dict)
    query: str = ""
    """A SELECT over the source, as the table ``data`` (Pageflex: _sys_JobSQLQuery); "" for all of it."""


class Records:
    """Opens record sources with the plugins that were found.

    :param scratch: a folder for what is written meanwhile; made when it is needed.
    """

    def __init__(self, plugins: Sequence[IDataSourcePlugin], scratch: Path) -> None:
        self._plugins = plugins
        self._scratch = scratch

    def takes(self, source: str) -> bool:
        """Whether some plugin reads it."""
        return any(plugin.takes(source) for plugin in self._plugins)

    @contextmanager
    def open(self, origin: RecordSource) -> Iterator[Iterator[Mapping[str, Any]]]:
        """The records, read lazily. Raises ``JobFailed``, ``OutputUnavailable``. Blocks."""
        plugin = self._plugin(origin.source)
        if not origin.query:
            with plugin.open(origin.source, origin.root, origin.options) as records:
                yield records
        elif isinstance(plugin, SqlSource):
            # A database answers the query itself.
            with plugin.open(origin.source, origin.root, {"query": origin.query}) as records:
                yield records
        else:
            with plugin.open(origin.source, origin.root, origin.options) as records:
                yield from self._selected(records, origin)

    def count(self, origin: RecordSource) -> int | None:
        """The number of records where it can be had at little cost."""
        if origin.query:
            return None
        return self._plugin(origin.source).count(origin.source, origin.root, origin.options)

    def _plugin(self, source: str) -> IDataSourcePlugin:
        for plugin in self._plugins:
            if plugin.takes(source):
                return plugin
        raise broken(source, "no data source of this server reads this kind")

    def _selected(
        self, records: Iterator[Mapping[str, Any]], origin: RecordSource
    ) -> Iterator[Iterator[Mapping[str, Any]]]:
        """The rows of a query over records of any kind, by way of a temporary SQLite file."""
        try:
            self._scratch.mkdir(parents=True, exist_ok=True)
            folder = tempfile.TemporaryDirectory(prefix="query-", dir=self._scratch)
        except OSError as error:
            raise unwritten(error, NO_ROOM) from error
        with folder:
            path = Path(folder.name, "data.sqlite")
            with closing(sqlite3.connect(path, check_same_thread=False)) as connection:
                connection.execute("PRAGMA synchronous = OFF")
                _fill(connection, records, origin.source)
                yield select(connection, origin.query, origin.source)


def _fill(connection: sqlite3.Connection, records: Iterator[Mapping[str, Any]], source: str) -> None:
    first = next(records, None)
    if first is None:
        raise broken(source, "has no record to query")
    records = map(_readable, chain([first], records))
    names = list(_readable(first))
    columns = ", ".join(f'"{name.replace(chr(34), chr(34) * 2)}"' for name in names)
    marks = ", ".join("?" * len(names))
    try:
        connection.execute(f"CREATE TABLE data ({columns})")
        rows = ([_value(record.get(name)) for name in names] for record in records)
        connection.executemany(f"INSERT INTO data VALUES ({marks})", rows)
        connection.commit()
    except (sqlite3.Error, OverflowError, ValueError) as error:
        raise_if_full(error)
        raise broken(source, f"cannot be queried: {error}") from error


def _readable(record: Mapping[str, Any]) -> Mapping[str, Any]:
    if isinstance(record, Unreadable):
        raise JobFailed(Number.DATA_SOURCE_BROKEN, record.text)
    return record


def _value(value: Any) -> Any:
    if value is None or isinstance(value, str | int | float | bytes):
        return value
    return to_json(value)
