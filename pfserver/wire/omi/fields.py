"""The field types.

SI, LI and VI are little-endian integers of 1, 2 and 4 bytes; SS, LS and VS a length of that type and so many bytes.
"""

from __future__ import annotations

from struct import Struct

from pfserver.wire.omi.errors import FormatError

_LI = Struct("<H")
_VI = Struct("<I")

SI_MAX, LI_MAX = 0xFF, 0xFFFF


def si(value: int) -> bytes:
    """A short integer. Raises ``FormatError`` above 255."""
    if not 0 <= value <= SI_MAX:
        raise FormatError(f"{value} does not fit into one byte")
    return value.to_bytes(1, "little")


def li(value: int) -> bytes:
    """A long integer. Raises ``FormatError`` above 65,535."""
    if not 0 <= value <= LI_MAX:
        raise FormatError(f"{value} does not fit into two bytes")
    return _LI.pack(value)


def vi(value: int) -> bytes:
    """A very long integer."""
    return _VI.pack(value)


def ss(value: bytes) -> bytes:
    """A short string. Raises ``FormatError`` above 255 bytes."""
    try:
        return si(len(value)) + value
    except FormatError:
        raise FormatError(_longer(value, SI_MAX)) from None


def ls(value: bytes) -> bytes:
    """A long string. Raises ``FormatError`` above 65,535 bytes."""
    try:
        return li(len(value)) + value
    except FormatError:
        raise FormatError(_longer(value, LI_MAX)) from None


def vs(value: bytes) -> bytes:
    """A very long string."""
    return vi(len(value)) + value


def _longer(value: bytes, limit: int) -> str:
    return f"{len(value)} bytes do not fit into a field of at most {limit}"


class Fields:
    """Reads one field after another; each method raises ``FormatError`` where there is less than it says."""

    __slots__ = ("_data", "_position")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def si(self) -> int:
        """A short integer."""
        return self._take(1)[0]

    def li(self) -> int:
        """A long integer."""
        return int.from_bytes(self._take(2), "little")

    def vi(self) -> int:
        """A very long integer."""
        return int.from_bytes(self._take(4), "little")

    def ss(self) -> bytes:
        """A short string."""
        return self._take(self.si())

    def ls(self) -> bytes:
        """A long string."""
        return self._take(self.li())

    def vs(self) -> bytes:
        """A very long string."""
        return self._take(self.vi())

    def rest(self) -> bool:
        """Whether anything is left."""
        return self._position < len(self._data)

    def end(self) -> None:
        """Nothing may be left. Raises ``FormatError``."""
        if self.rest():
            raise FormatError(f"{len(self._data) - self._position} bytes follow the last field")

    def _take(self, count: int) -> bytes:
        end = self._position + count
        if end > len(self._data):
            raise FormatError(f"a field of {count} bytes ends behind the message")
        taken = self._data[self._position : end]
        self._position = end
        return taken
