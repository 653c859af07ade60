"""Records from csv and tsv files: the first line names the columns."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from twisted.plugin import IPlugin
from zope.interface import implementer

from pfserver.interfaces import IDataSourcePlugin
from pfserver.projects.sources.common import RECORD, broken, check_options, opened, undecodable, unreadable

#: The longest field in characters; a longer one is a file with a lost quote.
FIELD = 1 << 20

_KNOWN = {"delimiter", "encoding"}


@implementer(IPlugin, IDataSourcePlugin)
class DelimitedSource:
    """``.csv`` (``,`` or ``;``, whichever the first line has more of), ``.tsv`` and ``.tab``; UTF-8 unless said."""

    name = "csv"

    def takes(self, source: str) -> bool:
        """See ``IDataSourcePlugin``."""
        return "://" not in source and source.lower().endswith((".csv", ".tsv", ".tab"))

    @contextmanager
    def open(self, source: str, root: Path, options: Mapping[str, Any]) -> Iterator[Iterator[Mapping[str, Any]]]:
        """See ``IDataSourcePlugin``."""
        check_options(source, options, _KNOWN)
        encoding = str(options.get("encoding", "utf-8-sig"))
        csv.field_size_limit(FIELD)
        with opened(source, encoding) as file:
            yield self._records(source, file, str(options.get("delimiter", "")))

    def count(self, source: str, root: Path, options: Mapping[str, Any]) -> int | None:
        """See ``IDataSourcePlugin``: lines but the first, where each is a record for sure."""
        with Path(source).open("rb") as file:
            lines, last, sure = 0, b"\n", True
            while sure and (block := file.read(1 << 20)):
                lines += block.count(b"\n")
                # Quoted line breaks, two bytes a character, empty lines, lines that end with a carriage return alone.
                unsure = any(mark in block for mark in (b'"', b"\0", b"\n\n", b"\n\r\n"))
                sure = not unsure and block.count(b"\r", 0, -1) <= block.count(b"\r\n")
                last = block[-1:]
        return max(0, lines + (last != b"\n") - 1) if sure else None

    def _records(self, source: str, file: Any, delimiter: str) -> Iterator[Mapping[str, Any]]:
        lines = _Lines(source, file)
        reader = None
        try:
            first = next(lines, "")
            reader = csv.reader(chain([first], lines), delimiter=delimiter or _delimiter(source, first), strict=True)
            names = next(reader, [])
            _check_names(source, names, lines.record, reader.dialect.delimiter)
            lines.begin_record()
            for row in reader:
                lines.begin_record()
                if len(row) == len(names):
                    yield dict(zip(names, row, strict=True))
                elif row:
                    text = f"has {len(row)} fields where the first line names {len(names)}"
                    yield unreadable(source, text, reader.line_num)
        except UnicodeError as error:
            text = "its bytes do not fit its encoding; name it with encoding = in [data]"
            raise broken(source, text, *undecodable(source, file.encoding)) from error
        except TypeError as error:
            raise broken(source, str(error)) from error
        except csv.Error as error:
            if reader is None:
                raise broken(source, str(error)) from error
            line, column = _fields(lines.record, reader.dialect.delimiter)[-1]
            raise broken(source, str(error), reader.line_num - len(lines.record) + line, column) from error


class _Lines:
    """The lines of a file; those of one record are no longer than ``RECORD`` together."""

    def __init__(self, source: str, file: Any) -> None:
        self._source = source
        self._file = file
        self._number = 0
        self._taken = 0
        self.record: list[str] = []
        """The lines of the record that is being read."""

    def begin_record(self) -> None:
        """The lines behind are another record's."""
        self.record.clear()
        self._taken = 0

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line: str = self._file.readline(RECORD)
        if not line:
            raise StopIteration
        self._number += 1
        self.record.append(line)
        self._taken += len(line)
        if self._taken >= RECORD:
            raise broken(self._source, f"the record is longer than {RECORD} characters", self._number)
        return line


def _delimiter(source: str, first: str) -> str:
    if not source.lower().endswith(".csv"):
        return "\t"
    return max(",;\t", key=first.count) if any(mark in first for mark in ",;\t") else ","


def _check_names(source: str, names: list[str], lines: list[str], delimiter: str) -> None:
    if not names:
        raise broken(source, "the first line does not name every column", 1)
    seen = set()
    for index, name in enumerate(names):
        wrong = "the first line does not name every column" if not name.strip() else ""
        wrong = "two columns have the same name" if name in seen else wrong
        if wrong:
            raise broken(source, wrong, *_fields(lines, delimiter)[index])
        seen.add(name)


def _fields(lines: list[str], delimiter: str) -> list[tuple[int, int]]:
    """Line and column, both from 1, at which the fields of a record begin; at its end that of what is wrong with it.

    That is what stands behind a closing quote, or the opening one that is never closed.
    """
    places = [(1, 1)]
    is_quoted = is_closed = False
    for number, line in enumerate(lines, 1):
        for column, mark in enumerate(line, 1):
            if mark == '"' and is_quoted:
                # Perhaps the first of two, which stand for one.
                is_quoted, is_closed = False, True
            elif mark == '"' and (is_closed or places[-1] == (number, column)):
                is_quoted, is_closed = True, False
            elif mark == delimiter and not is_quoted:
                is_closed = False
                places.append((number, column + 1))
            elif is_closed and mark not in "\r\n":
                return [*places, (number, column)]
    return places
