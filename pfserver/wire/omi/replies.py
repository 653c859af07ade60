"""The fields of every response as a value; those that have none are :class:`Done`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

from attrs import frozen

from pfserver.wire.omi.layout import LI, LS, OPTIONAL_REFERENCE, SI, SS, Laid
from pfserver.wire.omi.numbers import Operation
from pfserver.wire.omi.reference import Reference
from pfserver.wire.omi.sessions import Connected


@frozen
class Done(Laid):
    """Nothing to tell."""


@frozen
class GetReply(Laid):
    """Whether the node has a value, and which."""

    layout: ClassVar = (("defined", SI), ("value", LS))

    defined: int
    value: bytes


@frozen
class DefineReply(Laid):
    """``$DATA``: 0, 1, 10 or 11."""

    layout: ClassVar = (("define", SI),)

    define: int


@frozen
class OrderReply(Laid):
    """A subscript, or a global's name with its caret; empty at the end."""

    layout: ClassVar = (("subscript", SS),)

    subscript: bytes


@frozen
class WideReply(Laid):
    """What get, define and order tell with extension 3 in version 1.

    ``next`` is what order finds; the other fields are of the node that was asked for, or for order of the one found.
    """

    layout: ClassVar = (("next", SS), ("define", SI), ("defined", SI), ("value", LS))

    next: bytes
    define: int
    defined: int
    value: bytes


@frozen
class QueryReply(Laid):
    """The node found, None at the end."""

    layout: ClassVar = (("reference", OPTIONAL_REFERENCE),)

    reference: Reference | None


@frozen
class IncrementReply(Laid):
    """The new value."""

    layout: ClassVar = (("value", LS),)

    value: bytes


@frozen
class LockReply(Laid):
    """1 where the lock was granted."""

    layout: ClassVar = (("granted", SI),)

    granted: int


@frozen
class JobReply(Laid):
    """The number of a job request, and the process id where known."""

    layout: ClassVar = (("number", LI), ("process", SS))

    number: int
    process: bytes = b""


@frozen
class CancelReply(Laid):
    """The number of a job request."""

    layout: ClassVar = (("number", LI),)

    number: int


Reply = (
    Connected
    | Done
    | (GetReply | DefineReply | OrderReply | WideReply | QueryReply)
    | (IncrementReply | LockReply | JobReply | CancelReply)
)

_REPLIES: Mapping[int, type[Reply]] = MappingProxyType(
    {
        Operation.CONNECT: Connected,
        Operation.INCREMENT: IncrementReply,
        Operation.GET: GetReply,
        Operation.DEFINE: DefineReply,
        Operation.ORDER: OrderReply,
        Operation.NEXT: OrderReply,
        Operation.REVERSE_ORDER: OrderReply,
        Operation.QUERY: QueryReply,
        Operation.REVERSE_QUERY: QueryReply,
        Operation.LOCK: LockReply,
        Operation.JOB: JobReply,
        Operation.JOB_STATUS: JobReply,
        Operation.CANCEL_JOB: CancelReply,
    }
)

#: Operations whose replies are wide with extension 3 in version 1.
WIDE = frozenset({Operation.GET, Operation.DEFINE, Operation.ORDER})


def parse_reply(operation: int, body: bytes, *, wide: bool = False) -> Reply:
    """The fields of a response without error to a request of this operation. Raises ``OMIError``."""
    found: type[Reply] = WideReply if wide and operation in WIDE else _REPLIES.get(operation, Done)
    return found.parse_all(body)
