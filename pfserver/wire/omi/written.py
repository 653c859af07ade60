"""References as people write them: ``^X(1,"a")``, strings in quotes, other bytes as ``$C(10)``, joined by ``_``."""

from __future__ import annotations

import re

from pfserver.wire.omi.errors import OMIError
from pfserver.wire.omi.numbers import ErrorType
from pfserver.wire.zwr import is_number

_RUNS = re.compile(rb"([^\x00-\x1f\x7f]+)|([\x00-\x1f\x7f]+)")
_NAME = re.compile(r"\^?([A-Za-z%][A-Za-z0-9]*)")
_STRING = re.compile(r'"((?:[^"]|"")*)"')
_CODES = re.compile(r"\$C(?:HAR)?\(([0-9]{1,3}(?:,[0-9]{1,3})*)\)", re.IGNORECASE)
_PLAIN = re.compile(r"-?[0-9.]+")


def write_string(value: bytes) -> bytes:
    """A string in quotes, with the bytes that do not print as codes."""
    if not value:
        return b'""'
    parts = []
    for text, codes in _RUNS.findall(value):
        if text:
            parts.append(b'"' + text.replace(b'"', b'""') + b'"')
        else:
            parts.append(b"$C(" + b",".join([b"%d" % code for code in codes]) + b")")
    return b"_".join(parts)


def write_reference(name: bytes, subscripts: tuple[bytes, ...]) -> bytes:
    """A name with its subscripts."""
    if not subscripts:
        return b"^" + name
    written = [one if is_number(one) else write_string(one) for one in subscripts]
    return b"^" + name + b"(" + b",".join(written) + b")"


def read_reference(text: str) -> tuple[bytes, tuple[bytes, ...]]:
    """Name and subscripts of a written reference; the caret may be left away. Raises ``OMIError`` that says where."""
    name = _NAME.match(text)
    if name is None:
        raise _wrong(text, 0, "a name: a letter or %, then letters and digits")
    position = name.end()
    if position == len(text):
        return name[1].encode(), ()
    if text[position] != "(":
        raise _wrong(text, position, "( before the first subscript")
    subscripts = []
    while True:
        subscript, position = _subscript(text, position + 1)
        subscripts.append(subscript)
        if text[position : position + 1] != ",":
            break
    if text[position:] != ")":
        raise _wrong(text, position, "a comma, or ) at the end")
    return name[1].encode(), tuple(subscripts)


def _subscript(text: str, position: int) -> tuple[bytes, int]:
    if found := _PLAIN.match(text, position):
        number = found[0].encode()
        if not is_number(number):
            # M would compute it and mean another subscript than these characters.
            raise _wrong(text, position, "a number as M writes it (no zeros around it, 18 digits), or quotes")
        return number, found.end()
    parts = []
    while True:
        if found := _STRING.match(text, position):
            parts.append(found[1].replace('""', '"').encode("utf-8", "surrogateescape"))
        elif (found := _CODES.match(text, position)) and all(int(code) < 256 for code in found[1].split(",")):
            parts.append(bytes(map(int, found[1].split(","))))
        else:
            raise _wrong(text, position, "a number, a string in quotes or $C(…)")
        position = found.end()
        if text[position : position + 1] != "_":
            return b"".join(parts), position
        position += 1


def _wrong(text: str, position: int, expected: str) -> OMIError:
    found = repr(text[position]) if position < len(text) else "the end"
    return OMIError(
        ErrorType.REFERENCE_FORMAT, f"{text[:80]!r} is no reference: {found} at {position + 1} instead of {expected}"
    )
