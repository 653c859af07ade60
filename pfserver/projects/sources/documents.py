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

from pfserver.interfaces import IDataSourcePlugin
from pfserver.projects.sources.common import broken, check_options, opened

#: The longest line of a jsonl file in bytes: one record.
LINE = 4 << 20


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
        while line := file.readline(LINE):
            number += 1
            if len(line) == LINE:
                raise broken(source, "the line is too long", number)
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except json.JSONDecodeError as error:
                raise broken(source, error.msg, number, error.colno) from error
            except (UnicodeDecodeError, RecursionError) as error:
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
        try:
            for record in ijson.items(file, f"{path}.item" if path else "item", use_float=True):
                number += 1
                if not isinstance(record, dict):
                    raise broken(source, f"item {number} is not a JSON object")
                yield record
        except (ijson.JSONError, UnicodeDecodeError, RecursionError) as error:
            raise broken(source, f"is not valid JSON after item {number}") from error
