"""The headers that begin each request and response: 11 bytes, or 12 where the operation type is an LI (version 2)."""

from __future__ import annotations

from struct import Struct

from attrs import frozen

from pfserver.wire.omi.errors import FormatError
from pfserver.wire.omi.numbers import CLASS

#: With the length of the header itself before it.
SHORT = Struct("<BHBHHHH")
LONG = Struct("<BHHHHHH")

SHORT_LENGTH, LONG_LENGTH = SHORT.size - 1, LONG.size - 1


@frozen
class RequestHeader:
    """A request's header. ``sequence`` and ``request_id`` come back in the response's."""

    operation: int
    user: int = 0
    group: int = 0
    sequence: int = 0
    request_id: int = 0
    operation_class: int = CLASS
    long: bool = False
    """Whether it has 12 bytes."""

    def pack(self) -> bytes:
        """The header with its length."""
        layout = LONG if self.long else SHORT
        ids = self.user, self.group, self.sequence, self.request_id
        return layout.pack(layout.size - 1, self.operation_class, self.operation, *ids)


@frozen
class ResponseHeader:
    """A response's header; all zero but the last two where nothing went wrong."""

    error_class: int = 0
    error_type: int = 0
    modifier: int = 0
    server_status: int = 0
    sequence: int = 0
    request_id: int = 0
    long: bool = False

    def pack(self) -> bytes:
        """The header with its length."""
        layout = LONG if self.long else SHORT
        ids = self.server_status, self.sequence, self.request_id
        return layout.pack(layout.size - 1, self.error_class, self.error_type, self.modifier, *ids)


def split_request(data: bytes) -> tuple[RequestHeader, bytes]:
    """A request's header and its fields. Raises ``FormatError``."""
    layout = _layout(data)
    _, operation_class, operation, user, group, sequence, request_id = layout.unpack_from(data)
    header = RequestHeader(operation, user, group, sequence, request_id, operation_class, layout is LONG)
    return header, data[layout.size :]


def split_response(data: bytes) -> tuple[ResponseHeader, bytes]:
    """A response's header and its fields. Raises ``FormatError``."""
    layout = _layout(data)
    _, error_class, error_type, modifier, status, sequence, request_id = layout.unpack_from(data)
    header = ResponseHeader(error_class, error_type, modifier, status, sequence, request_id, layout is LONG)
    return header, data[layout.size :]


def _layout(data: bytes) -> Struct:
    if data[:1] == b"\x0b":
        layout = SHORT
    elif data[:1] == b"\x0c":
        layout = LONG
    else:
        raise FormatError(f"a header has 11 or 12 bytes, not {data[0] if data else 'none'}")
    if len(data) < layout.size:
        raise FormatError(f"a header of {layout.size - 1} bytes in a message of {len(data)}")
    return layout
