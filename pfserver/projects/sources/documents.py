"""Records from JSON: one object a line, or an array of objects, read as a stream."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ijson
from twisted.plugin import IPlugin
from zope.interface import implementer

from pfserver.errors import JobFailed
from pfserver.interfaces import IDataSourcePlugin
from pfserver.projects.sources.common import RECORD, broken, check_options, opened

#: Up to this size, what is wrong with a JSON file is looked for by reading it all, to name the line.
READ_AGAIN = 32 << 20


@implementer(IPlugin, IDataSourcePlugin)
class JsonLinesSource:
    """``.jsonl`` and ``.ndjson``: an object on each line."""

    name = "jsonl"

    def takes(self, source: str) -> bool:
        """See ``IDataSourcePlugin``."""
        return "://" not in source and source.lower().endswith((".jsonl", ".ndjson"))

    @contextmanager
    def open(self, source: str, root: Path, options: Mapping[str, Any]) -> Iterator[Iterator[Mapping[str, Any]]]:
        """See ``IDataSourcePlugin``."""
        check_options(source, options, set())
        with opened(source) as file:
            yield self._records(source, file)

    def count(self, source: str, root: Path, options: Mapping[str, Any]) -> int | None:
        """See ``IDataSourcePlugin``."""
        with Path(source).open("rb") as file:
            return sum(1 for line in file if line.strip())

    def _records(self, source: str, file: Any) -> Iterator[Mapping[str, Any]]:
        number = 0
        while line := file.readline(RECORD):
            number += 1
            if len(line) == RECORD:
                raise broken(source, "the line is too long", number)
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except json.JSONDecodeError as error:
                raise broken(source, error.msg, number, error.colno) from error
            except (ValueError, RecursionError) as error:
                raise broken(source, "the line is not JSON in UTF-8", number) from error
            if not isinstance(record, dict):
                raise broken(source, "the line is not a JSON object", number)
            yield record


@implementer(IPlugin, IDataSourcePlugin)
class JsonSource:
    """``.json``: an array of objects, or with ``records = "path.to.them"`` an array inside of an object."""

    name = "json"

    def takes(self, source: str) -> bool:
        """See ``IDataSourcePlugin``."""
        return "://" not in source and source.lower().endswith(".json")

    @contextmanager
    def open(self, source: str, root: Path, options: Mapping[str, Any]) -> Iterator[Iterator[Mapping[str, Any]]]:
        """See ``IDataSourcePlugin``."""
        check_options(source, options, {"records"})
        with opened(source) as file:
            yield self._records(source, file, str(options.get("records", "")))

    def count(self, source: str, root: Path, options: Mapping[str, Any]) -> int | None:
        """See ``IDataSourcePlugin``: not without reading it all."""
        return None

    def _records(self, source: str, file: Any, path: str) -> Iterator[Mapping[str, Any]]:
        number = 0
        bounded = _Bounded(source, file)
        try:
            for record in ijson.items(bounded, f"{path}.item" if path else "item", use_float=True):
                number += 1
                bounded.taken = 0
                if not isinstance(record, dict):
                    raise broken(source, f"item {number} is not a JSON object")
                yield record
        except (ijson.JSONError, ValueError, RecursionError) as error:
            raise self._invalid(source, number) from error

    def _invalid(self, source: str, number: int) -> JobFailed:
        text = f"is not valid JSON after item {number}"
        if Path(source).stat().st_size <= READ_AGAIN:
            try:
                json.loads(Path(source).read_bytes())
            except json.JSONDecodeError as error:
                return broken(source, error.msg, error.lineno, error.colno)
            except (ValueError, RecursionError):
                pass
        return broken(source, text)


class _Bounded:
    """A file of which one record takes no more than ``RECORD`` bytes, and what is read ahead."""

    def __init__(self, source: str, file: Any) -> None:
        self._source = source
        self._file = file
        self.taken = 0

    def read(self, size: int) -> bytes:
        data: bytes = self._file.read(size)
        self.taken += len(data)
        if data and self.taken > RECORD + size:
            raise broken(self._source, f"a record is longer than {RECORD} bytes")
        return data
