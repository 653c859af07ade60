"""Base64 in pieces: decoding text as it arrives and encoding a source as it is sent."""

from __future__ import annotations

import binascii
from collections.abc import Iterator

from pfserver.wire.xmlrpc.values import BAD_PARAMS, Code, Fault, Sink, Source

#: Bytes read from a source at a time: a multiple of three, so that no piece but the last one is padded.
PIECE = 48 * 1024

#: Text held back until it is worth decoding.
BATCH = 64 * 1024

_WHITE_SPACE = b" \t\r\n"


class Base64Decoder:
    """Decodes text in pieces of any size into a sink. White space is ignored anywhere, anything else is refused.

    :param sink: takes the decoded bytes.
    :param limit: decoded bytes at most; beyond it a fault is raised.
    """

    def __init__(self, sink: Sink, limit: int) -> None:
        self.sink = sink
        self.size = 0
        self._limit = limit
        self._pending = bytearray()
        self._ended = False

    def feed(self, text: str) -> None:
        """Take more text. Raises ``Fault``: not base64, or too large."""
        try:
            data = text.encode("ascii")
        except UnicodeEncodeError:
            raise Fault(BAD_PARAMS, "the document is not base64") from None
        self._pending += data.translate(None, _WHITE_SPACE)
        if len(self._pending) >= BATCH:
            self._decode(len(self._pending) & ~3)

    def close(self) -> None:
        """The text is complete. Raises ``Fault``: not base64, or cut off."""
        if len(self._pending) % 4:
            # Some encoders leave the padding away.
            self._pending += b"=" * (-len(self._pending) % 4)
        self._decode(len(self._pending))

    def _decode(self, length: int) -> None:
        if not length:
            return
        if self._ended:
            raise Fault(BAD_PARAMS, "the document is not base64: text after its end")
        try:
            data = binascii.a2b_base64(bytes(self._pending[:length]), strict_mode=True)
        except binascii.Error:
            raise Fault(BAD_PARAMS, "the document is not base64") from None
        self._ended = self._pending[length - 1 : length] == b"="
        del self._pending[:length]
        self.size += len(data)
        if self.size > self._limit:
            raise Fault(Code.TOO_LARGE, f"the document is larger than {self._limit} bytes")
        self.sink.write(data)


def encoded_length(size: int) -> int:
    """The length of ``size`` bytes as base64."""
    return (size + 2) // 3 * 4


def encode(source: Source) -> Iterator[bytes]:
    """The source as base64, in pieces; raises ``EOFError`` where it gives less than it has promised."""
    left = source.size
    while left:
        data = source.read(min(PIECE, left))
        if len(data) != min(PIECE, left):
            raise EOFError("the document became shorter while it was sent")
        left -= len(data)
        yield binascii.b2a_base64(data, newline=False)
