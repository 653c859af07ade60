"""What an XML-RPC message says, the codes of its faults, and what a document is read into and written from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import IntEnum
from typing import Protocol, TypeAlias

from attrs import field, frozen

from pfserver.errors import PFServerError

MIB = 1024 * 1024


class Code(IntEnum):
    """The numbers of faults: the negative ones are common to XML-RPC servers, the others are this API's own."""

    NOT_WELL_FORMED = -32700
    NOT_A_CALL = -32600
    NO_SUCH_METHOD = -32601
    BAD_PARAMS = -32602
    INTERNAL = -32500
    UNKNOWN_FACTORY = 1
    NOT_AUTHORIZED = 2
    NO_SUCH_JOB = 3
    LOCK_LOST = 4
    FORMAT_NOT_ASKED_FOR = 5
    NOT_VALID = 6
    TOO_LARGE = 7


NOT_WELL_FORMED = Code.NOT_WELL_FORMED
NOT_A_CALL = Code.NOT_A_CALL
NO_SUCH_METHOD = Code.NO_SUCH_METHOD
BAD_PARAMS = Code.BAD_PARAMS
INTERNAL = Code.INTERNAL


class Fault(PFServerError):
    """A fault: raised by the reader for what it cannot accept, returned by it where the message is a fault.

    :param code: one of :class:`Code`, or whatever number a peer has sent.
    :param text: for people; never a path, a traceback or a version.
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class Sink(Protocol):
    """What a document is decoded into, usually a file."""

    def write(self, data: bytes, /) -> object:
        """Take the next bytes of the document."""


class Source(Protocol):
    """What a document is encoded from, usually a file."""

    @property
    def size(self) -> int:
        """How many bytes :meth:`read` will give in all."""

    def read(self, size: int, /) -> bytes:
        """The next bytes, exactly ``size`` of them until the end."""


Value: TypeAlias = (
    "bool | int | float | str | bytes | datetime | Sink | Source | Sequence[Value] | Mapping[str, Value] | None"
)

#: Where a document stands: the method ("" in a response), the parameter's index from 0, then names of struct members.
DocumentPath = tuple[str | int, ...]


@frozen
class Call:
    """A method and its parameters."""

    method: str
    params: tuple[Value, ...] = ()


@frozen
class Response:
    """The value that a call has returned; None also where there was none."""

    value: Value


@frozen(kw_only=True)
class Limits:
    """What a reader accepts."""

    document: int = field(default=128 * MIB)
    """Bytes of one document, decoded: what a job may hold."""
    outside: int = field(default=64 * 1024)
    """Bytes of everything else in a message. No call of the API needs a tenth of it."""
    depth: int = field(default=32)
    """Nested elements. A call needs seven, a struct in a struct five more."""

    @property
    def body(self) -> int:
        """Bytes of the longest message that can be accepted: base64 is a third longer, line ends a few per cent."""
        return self.document * 4 // 3 + self.document // 24 + self.outside
