"""Messages on a circuit: a VI length and so many bytes; with bunching, a count of requests or responses in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from struct import Struct

from pfserver.wire.omi.errors import CircuitError, FormatError
from pfserver.wire.omi.fields import li, vi
from pfserver.wire.omi.numbers import MESSAGE_BYTES

_VI = Struct("<I")


class FrameReader:
    """Cuts a stream of bytes into messages; never keeps more than one incomplete message.

    :param limit: the most bytes of a message, its length field included.
    """

    def __init__(self, limit: int = MESSAGE_BYTES) -> None:
        self.limit = limit
        self._kept = bytearray()
        # So many bytes are needed before there is anything new to see: a message that trickles in is not copied again
        # and again.
        self._needed = 4

    @property
    def is_between(self) -> bool:
        """Whether no message has been begun."""
        return not self._kept

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that are complete now, without their lengths.

        Raises ``CircuitError`` for one that is too long; nothing can be read after it. The error has the complete ones
        before it.
        """
        if self._kept:
            self._kept += data
            if len(self._kept) < self._needed:
                return []
            data = bytes(self._kept)
            self._kept.clear()
        elif len(data) >= 4 and 4 + _VI.unpack_from(data)[0] == len(data) <= self.limit:
            # The usual.
            return [data[4:]]
        messages: list[bytes] = []
        position, end = 0, len(data)
        self._needed = 4
        while end - position >= 4:
            length = _VI.unpack_from(data, position)[0]
            if length + 4 > self.limit:
                reason = f"a message of {length} bytes; {self.limit} are allowed with the length"
                raise CircuitError(reason, messages)
            following = position + 4 + length
            if following > end:
                self._needed = 4 + length
                break
            messages.append(data[position + 4 : following])
            position = following
        self._kept += data[position:]
        return messages


def message(content: bytes) -> bytes:
    """A message that is not a bunch: its length and its content."""
    return _VI.pack(len(content)) + content


def bunch(contents: Sequence[bytes]) -> bytes:
    """A message that is a bunch of requests or of responses."""
    pack = _VI.pack
    parts = [b"", li(len(contents))]
    for content in contents:
        parts += (pack(len(content)), content)
    parts[0] = vi(sum(map(len, parts)))
    return b"".join(parts)


def split_bunch(content: bytes) -> list[bytes]:
    """The requests or responses of a bunch. Raises ``FormatError`` where count and lengths do not fit exactly."""
    return [content[start:end] for start, end in bunch_spans(content)]


def bunch_spans(data: bytes, start: int = 0) -> list[tuple[int, int]]:
    """Where the parts of a bunch begin and end, which itself begins at ``start``. Raises as :func:`split_bunch`."""
    end = len(data)
    if end < start + 2:
        raise FormatError("a bunch begins with its count")
    count = data[start] | data[start + 1] << 8
    position = start + 2
    spans: list[tuple[int, int]] = []
    length_at = _VI.unpack_from
    for _ in range(count):
        begin = position + 4
        if begin > end:
            raise FormatError(f"a bunch of {count} ends after {len(spans)}")
        position = begin + length_at(data, position)[0]
        if position > end:
            raise FormatError(f"a part of {position - begin} bytes ends behind its bunch")
        spans.append((begin, position))
    if position != end:
        raise FormatError(f"{end - position} bytes follow the last part of a bunch")
    return spans


def bunch_bytes(contents: Iterable[bytes]) -> int:
    """How long a bunch of these is as a message."""
    return 6 + sum(4 + len(content) for content in contents)
