"""JSON as a stream: a window on a text that moves from value to value, each as large as a record may be, no more.

The values are read by Python's own decoder. (ijson would read piece by piece, but keeps the path to every open bracket,
which for 100,000 of them is more than a machine's memory.)
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import IO, Any

from pfserver.errors import JobFailed
from pfserver.projects.sources.common import RECORD, broken

#: Characters that are read at once.
_READ = 64 << 10

_SPACE = " \t\n\r"


class Window:
    """A window on a file of JSON text. All methods raise ``JobFailed`` with line and column."""

    def __init__(self, source: str, file: IO[str]) -> None:
        self._source = source
        self._file = file
        self._text = ""
        self._at = 0
        self._line, self._column = 1, 1
        self._ended = False
        self._decode = json.JSONDecoder().raw_decode

    def items(self, path: str) -> Iterator[tuple[int, Any]]:
        """The items of an array, each with its number from 1; ``path`` names the keys that lead to it, with dots."""
        for key in path.split(".") if path else ():
            self._enter(key)
        self._expect("[")
        number = 0
        while self._peek() != "]" or number:
            if number:
                if self._peek() == "]":
                    break
                self._expect(",")
            number += 1
            yield number, self._value()
        self._expect("]")
        if not path and self._peek():
            raise self.wrong("there is something behind the array")

    def wrong(self, text: str, at: int | None = None) -> JobFailed:
        """An error at a place in the window."""
        before = self._text[: self._at if at is None else at]
        lines = before.count("\n")
        column = len(before) - before.rfind("\n") if lines else self._column + len(before)
        return broken(self._source, text, self._line + lines, column)

    def _enter(self, key: str) -> None:
        self._expect("{")
        while self._peek() != "}":
            name = self._value()
            self._expect(":")
            if name == key:
                return
            self._value()
            if self._peek() != "}":
                self._expect(",")
        raise self.wrong(f"there is no {key!r}")

    def _expect(self, mark: str) -> None:
        if self._peek() != mark:
            raise self.wrong(f"{mark!r} is expected")
        self._at += 1

    def _peek(self) -> str:
        """The next character that is no space; empty at the end."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in _SPACE:
                    return self._text[self._at]
                self._at += 1
            if not self._more():
                return ""

    def _value(self) -> Any:
        self._peek()
        while True:
            try:
                value, end = self._decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if len(self._text) - self._at > RECORD:
                    raise self.wrong(f"a record is longer than {RECORD} characters") from error
                behind = error.pos - self._at
                # Perhaps the window does not hold all of it yet.
                if not self._more():
                    raise self.wrong(error.msg, self._at + behind) from error
            except RecursionError as error:
                raise self.wrong("is nested too deeply") from error
            except ValueError as error:
                raise self.wrong("holds a number of too many digits") from error
            else:
                # A number may go on behind the window.
                if end < len(self._text) or not self._more():
                    self._at = end
                    return value

    def _more(self) -> bool:
        """Move the window's beginning to where it is read, and its end further; False at the end of the file."""
        if self._ended:
            return False
        left = self._text[: self._at]
        lines = left.count("\n")
        self._column = len(left) - left.rfind("\n") if lines else self._column + len(left)
        self._line += lines
        more = self._file.read(max(_READ, len(self._text) - self._at))
        self._text = self._text[self._at :] + more
        self._at = 0
        self._ended = not more
        return bool(more)
