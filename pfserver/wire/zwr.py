"""ZWR, the text in which M systems exchange globals: two lines that tell what follows, then a node a line.

``^X(1,"a")="text"_$C(10)_"more"``, as ``mupip extract -format=zwr`` writes it and ``mupip load`` reads it. What is
written here is pure ASCII: control bytes as ``$C``, bytes above 127 as ``$ZCH``, which means a byte in every mode of an
M system.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from attrs import field, frozen

from pfserver.errors import PFServerError


class ZWRError(PFServerError):
    """A line is no ZWR; the text says which line, and where in it."""


@frozen
class Node:
    """A node that has a value; the global's name stands without its caret."""

    name: bytes
    subscripts: tuple[bytes, ...]
    value: bytes
    line: int = field(default=0, eq=False)
    """Where it was read, from 1; 0 where it was not."""


#: A line of more bytes is refused: a value of 32,767 bytes, each written as a code of its own, and a reference.
LINE_BYTES = 1024 * 1024

#: Lines before the first node.
HEADER_LINES = 2

_NUMBER = re.compile(rb"0|-?(?:([1-9][0-9]*)(?:\.([0-9]*[1-9]))?|\.([0-9]*[1-9]))")
_DIGITS, _LEAST_EXPONENT, _MOST_EXPONENT = 18, -42, 47

_RUNS = re.compile(rb"([ -~]+)|([\x00-\x1f\x7f]+)|([\x80-\xff]+)")

_NAME = re.compile(rb"\^([A-Za-z%][A-Za-z0-9]*)")
_STRING = re.compile(rb'"((?:[^"]|"")*)"')
_CODES = re.compile(rb"\$(Z?)C(?:H|HAR)?\(([0-9]+(?:,[0-9]+)*)\)", re.IGNORECASE)
_PLAIN = re.compile(rb"-?[0-9]*\.?[0-9]+")


def is_number(subscript: bytes) -> bool:
    """Whether M writes a subscript without quotes: a canonical number that M keeps exactly."""
    found = _NUMBER.fullmatch(subscript)
    if found is None:
        return False
    whole, part, small = (group or b"" for group in found.groups())
    digits = len((whole + part).rstrip(b"0")) if whole else len(small.lstrip(b"0"))
    exponent = len(whole) if whole else digits - len(small)
    return digits <= _DIGITS and _LEAST_EXPONENT <= exponent <= _MOST_EXPONENT


def write_header(label: str, date: str) -> bytes:
    """The lines before the first node: a label for people, and when it was written (``25-NOV-2026  02:34:30``)."""
    return f"{label}\n{date} ZWR\n".encode("ascii", "replace")


def write_node(node: Node) -> bytes:
    """One line, with its end."""
    written = b"^" + node.name
    if node.subscripts:
        written += b"(" + b",".join([one if is_number(one) else _string(one) for one in node.subscripts]) + b")"
    return written + b"=" + _string(node.value) + b"\n"


def _string(value: bytes) -> bytes:
    parts = []
    for text, codes, high in _RUNS.findall(value):
        if text:
            parts.append(b'"' + text.replace(b'"', b'""') + b'"')
        else:
            function = b"$C(" if codes else b"$ZCH("
            parts.append(function + b",".join([b"%d" % code for code in codes or high]) + b")")
    return b"_".join(parts) or b'""'


def read_nodes(lines: Iterable[bytes]) -> Iterator[Node]:
    """The nodes of a file's lines, one after another. Raises ``ZWRError``."""
    is_utf8 = False
    number = 0
    for number, line in enumerate(lines, 1):
        if len(line) > LINE_BYTES:
            raise ZWRError(f"line {number} has more than {LINE_BYTES} bytes")
        text = line.rstrip(b"\r\n")
        if number == 1:
            is_utf8 = text.endswith(b"UTF-8")
        elif number == HEADER_LINES:
            if b"ZWR" not in text.split():
                raise ZWRError("line 2 does not say that the file is ZWR: dates and formats stand there")
        elif text:
            yield _Line(text, number, is_utf8).node()
    if number < HEADER_LINES:
        raise ZWRError("the file ends within its header: two lines precede the first node")


class _Line:
    """Reads one node."""

    def __init__(self, text: bytes, number: int, is_utf8: bool) -> None:
        self._text = text
        self._number = number
        self._is_utf8 = is_utf8
        self._position = 0

    def node(self) -> Node:
        name = _NAME.match(self._text)
        if name is None:
            raise self._wrong("a caret and a name")
        self._position = name.end()
        subscripts = []
        if self._take(b"("):
            subscripts.append(self._subscript())
            while self._take(b","):
                subscripts.append(self._subscript())
            if not self._take(b")"):
                raise self._wrong("a comma or )")
        if not self._take(b"="):
            raise self._wrong("=")
        value = self._value()
        if self._position != len(self._text):
            raise self._wrong("the end of the line")
        return Node(name[1], tuple(subscripts), value, self._number)

    def _subscript(self) -> bytes:
        plain = _PLAIN.match(self._text, self._position)
        if plain and not is_number(plain[0]):
            # M would compute it and mean another subscript than these characters.
            raise self._wrong("a number as M writes it (no zeros around it, 18 digits), or quotes")
        found = self._value()
        if not found:
            raise self._wrong("a subscript that is not empty")
        return found

    def _value(self) -> bytes:
        if plain := _PLAIN.match(self._text, self._position):
            self._position = plain.end()
            return plain[0]
        parts = [self._part()]
        while self._take(b"_"):
            parts.append(self._part())
        return b"".join(parts)

    def _part(self) -> bytes:
        if found := _STRING.match(self._text, self._position):
            part = found[1].replace(b'""', b'"')
        elif found := _CODES.match(self._text, self._position):
            part = b"".join([self._character(int(code), is_byte=bool(found[1])) for code in found[2].split(b",")])
        else:
            raise self._wrong("a number, a string in quotes, $C(…) or $ZCH(…)")
        self._position = found.end()
        return part

    def _character(self, code: int, *, is_byte: bool) -> bytes:
        if code < 128 or ((is_byte or not self._is_utf8) and code < 256):
            return bytes([code])
        if self._is_utf8 and not is_byte and code <= 0x10FFFF and not 0xD800 <= code <= 0xDFFF:
            return chr(code).encode()
        raise self._wrong(f"a code that is a byte, not {code},")

    def _take(self, byte: bytes) -> bool:
        if self._text.startswith(byte, self._position):
            self._position += 1
            return True
        return False

    def _wrong(self, expected: str) -> ZWRError:
        found = self._text[self._position : self._position + 1]
        what = repr(found.decode("latin-1")) if found else "the end"
        return ZWRError(f"line {self._number}, byte {self._position + 1}: {what} instead of {expected}")
