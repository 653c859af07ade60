"""Records from JSON: one object a line, or an array of objects, read as a stream."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from twisted.plugin import IPlugin
from zope.interface import implementer

from pfserver.interfaces import IDataSourcePlugin
from pfserver.projects.sources.common import RECORD, broken, check_options, opened, undecodable
from pfserver.projects.sources.window import Window


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
        """See ``IDataSourcePlugin``; None where a line is longer than a record may be, which reading then tells."""
        count = 0
        with Path(source).open("rb") as file:
            while line := file.readline(RECORD):
                if len(line) == RECORD:
                    return None
                count += bool(line.strip())
        return count

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
            except UnicodeDecodeError as error:
                column = len(line[: error.start].decode(error.encoding, "replace")) + 1
                raise broken(source, "the line is not JSON in UTF-8", number, column) from error
            except (ValueError, RecursionError) as error:
                raise broken(source, "the line is not JSON in UTF-8", number, 1) from error
            if not isinstance(record, dict):
                raise broken(source, "the line is not a JSON object", number, 1)
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
        with opened(source, "utf-8-sig") as file:
            yield self._records(source, file, str(options.get("records", "")))

    def count(self, source: str, root: Path, options: Mapping[str, Any]) -> int | None:
        """See ``IDataSourcePlugin``: not without reading it all."""
        return None

    def _records(self, source: str, file: Any, path: str) -> Iterator[Mapping[str, Any]]:
        window = Window(source, file)
        try:
            for number, record in window.items(path):
                if not isinstance(record, dict):
                    raise window.wrong(f"item {number} is not a JSON object")
                yield record
        except UnicodeDecodeError as error:
            raise broken(source, "is not UTF-8", *undecodable(source, "utf-8-sig")) from error
