"""XML-RPC messages as bytes, piece by piece, with their length known before the first."""

from __future__ import annotations

import re
from binascii import b2a_base64
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from math import isfinite
from typing import TypeGuard

from attrs import frozen

from pfserver.wire.xmlrpc.base64stream import encode, encoded_length
from pfserver.wire.xmlrpc.values import Source, Value

_DECLARATION = b'<?xml version="1.0" encoding="UTF-8"?>\n'

#: What XML 1.0 cannot hold: control characters, lone surrogates, two non-characters. They never leave.
_ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_INT_RANGE = range(-(2**31), 2**31)


@frozen
class Body:
    """A message: bytes and, between them, the sources of its documents."""

    pieces: tuple[bytes | Source, ...]

    @property
    def length(self) -> int:
        """Bytes in all."""
        return sum(len(piece) if isinstance(piece, bytes) else encoded_length(piece.size) for piece in self.pieces)

    def chunks(self) -> Iterator[bytes]:
        """The bytes; a source is read as they are asked for. Raises ``EOFError`` where one has become shorter."""
        for piece in self.pieces:
            if isinstance(piece, bytes):
                yield piece
            else:
                yield from encode(piece)

    def __bytes__(self) -> bytes:
        return b"".join(self.chunks())


def encode_call(method: str, *params: Value) -> Body:
    """A call. Raises ``TypeError`` for a value that XML-RPC does not have."""
    out = _Writer()
    out.raw(f"<methodCall><methodName>{_escape(method)}</methodName><params>")
    for param in params:
        out.raw("<param>")
        out.value(param)
        out.raw("</param>")
    out.raw("</params></methodCall>")
    return out.body()


def encode_response(value: Value) -> Body:
    """A response with one value; a source in it becomes a base64 text in ``<string>``, as Officeshots has it."""
    out = _Writer()
    out.raw("<methodResponse><params><param>")
    out.value(value)
    out.raw("</param></params></methodResponse>")
    return out.body()


def encode_fault(code: int, text: str) -> Body:
    """A fault."""
    out = _Writer()
    out.raw("<methodResponse><fault>")
    out.value({"faultCode": int(code), "faultString": text})
    out.raw("</fault></methodResponse>")
    return out.body()


def _escape(text: str) -> str:
    text = _ILLEGAL.sub("\N{REPLACEMENT CHARACTER}", text)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\r", "&#13;")


class _Writer:
    """Collects text, and the sources between it."""

    def __init__(self) -> None:
        self._pieces: list[bytes | Source] = []
        self._text: list[str] = []

    def raw(self, text: str) -> None:
        self._text.append(text)

    def body(self) -> Body:
        self._flush()
        return Body((_DECLARATION, *self._pieces))

    def _flush(self) -> None:
        if self._text:
            self._pieces.append("".join(self._text).encode("utf-8"))
            self._text.clear()

    def value(self, value: Value) -> None:
        self.raw("<value>")
        if _is_source(value):
            self.raw("<string>")
            self._flush()
            self._pieces.append(value)
            self.raw("</string>")
        elif isinstance(value, Mapping):
            self._struct(value)
        elif isinstance(value, list | tuple):
            self._array(value)
        else:
            self.raw(_scalar(value))
        self.raw("</value>")

    def _struct(self, members: Mapping[str, Value]) -> None:
        self.raw("<struct>")
        for name, value in members.items():
            self.raw(f"<member><name>{_escape(name)}</name>")
            self.value(value)
            self.raw("</member>")
        self.raw("</struct>")

    def _array(self, items: Sequence[Value]) -> None:
        self.raw("<array><data>")
        for item in items:
            self.value(item)
        self.raw("</data></array>")


def _is_source(value: Value) -> TypeGuard[Source]:
    return hasattr(value, "read") and hasattr(value, "size")


def _scalar(value: Value) -> str:
    if isinstance(value, str):
        return f"<string>{_escape(value)}</string>"
    if isinstance(value, bool):
        return f"<boolean>{int(value)}</boolean>"
    if isinstance(value, int) and value in _INT_RANGE:
        return f"<int>{int(value)}</int>"
    if isinstance(value, float) and isfinite(value):
        return f"<double>{value!r}</double>"
    if isinstance(value, datetime):
        return f"<dateTime.iso8601>{value:%Y%m%dT%H:%M:%S}</dateTime.iso8601>"
    if isinstance(value, bytes):
        return f"<base64>{b2a_base64(value, newline=False).decode('ascii')}</base64>"
    if value is None:
        return "<nil/>"
    raise TypeError(f"XML-RPC has no {type(value).__name__} like this one")
