"""Every request as a value (OMI: operations); :func:`parse_request` finds its class."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

from attrs import frozen

from pfserver.wire.omi.errors import OMIError
from pfserver.wire.omi.layout import LI, LS, REFERENCE, ROUTINE, SI, SS, Laid
from pfserver.wire.omi.numbers import ErrorType, Operation
from pfserver.wire.omi.reference import Reference, RoutineReference
from pfserver.wire.omi.sessions import Connect, Disconnect, Status

# -- updates --------


@frozen
class Set(Laid):
    """Gives a node its value."""

    operation: ClassVar = Operation.SET
    layout: ClassVar = (("replicate", SI), ("reference", REFERENCE), ("value", LS))

    reference: Reference
    value: bytes
    replicate: int = 0


@frozen
class SetPiece(Laid):
    """``SET $PIECE(reference, delimiter, first, last) = value``."""

    operation: ClassVar = Operation.SET_PIECE
    layout: ClassVar = (*Set.layout, ("first", LI), ("last", LI), ("delimiter", SS))

    reference: Reference
    value: bytes
    first: int
    last: int
    delimiter: bytes
    replicate: int = 0


@frozen
class SetExtract(Laid):
    """``SET $EXTRACT(reference, first, last) = value``."""

    operation: ClassVar = Operation.SET_EXTRACT
    layout: ClassVar = (*Set.layout, ("first", LI), ("last", LI))

    reference: Reference
    value: bytes
    first: int
    last: int
    replicate: int = 0


@frozen
class Kill(Laid):
    """Removes a node's value and all its descendants."""

    operation: ClassVar = Operation.KILL
    layout: ClassVar = (("replicate", SI), ("reference", REFERENCE))

    reference: Reference
    replicate: int = 0


@frozen
class Increment(Laid):
    """``$INCREMENT(reference, amount)``; extension 3."""

    operation: ClassVar = Operation.INCREMENT
    layout: ClassVar = (("reference", REFERENCE), ("amount", LS))

    reference: Reference
    amount: bytes = b"1"


# -- fetches --------


@frozen
class _OfReference(Laid):
    layout: ClassVar = (("reference", REFERENCE),)

    reference: Reference


@frozen
class Get(_OfReference):
    """A node's value."""

    operation: ClassVar = Operation.GET


@frozen
class Define(_OfReference):
    """``$DATA``."""

    operation: ClassVar = Operation.DEFINE


@frozen
class Order(_OfReference):
    """``$ORDER``: the next subscript, or the next global's name with its caret."""

    operation: ClassVar = Operation.ORDER


@frozen
class Next(_OfReference):
    """``$NEXT``, the older ``$ORDER``: -1 is start and end."""

    operation: ClassVar = Operation.NEXT


@frozen
class Query(_OfReference):
    """``$QUERY``: the next node that has a value."""

    operation: ClassVar = Operation.QUERY


@frozen
class ReverseOrder(_OfReference):
    """``$ORDER(reference, -1)``."""

    operation: ClassVar = Operation.REVERSE_ORDER


@frozen
class ReverseQuery(_OfReference):
    """``$QUERY(reference, -1)``."""

    operation: ClassVar = Operation.REVERSE_QUERY


# -- locks; a client is its $Job --------


@frozen
class Lock(Laid):
    """Locks a name for a client, if nobody else has it or what is above or below it."""

    operation: ClassVar = Operation.LOCK
    layout: ClassVar = (("reference", REFERENCE), ("client", SS))

    reference: Reference
    client: bytes


@frozen
class Unlock(Laid):
    """Takes one lock of a client's back."""

    operation: ClassVar = Operation.UNLOCK
    layout: ClassVar = (("reference", REFERENCE), ("client", SS))

    reference: Reference
    client: bytes


@frozen
class UnlockClient(Laid):
    """Releases all of a client's locks."""

    operation: ClassVar = Operation.UNLOCK_CLIENT
    layout: ClassVar = (("client", SS),)

    client: bytes


@frozen
class UnlockAll(Laid):
    """Releases all locks of the session."""

    operation: ClassVar = Operation.UNLOCK_ALL


# -- jobs --------


@frozen(kw_only=True)
class StartJob(Laid):
    """``JOB label+offset^ROUTINE(arguments):parameters:timeout`` (OMI 5.4.31)."""

    operation: ClassVar = Operation.JOB
    layout: ClassVar = (
        *(("environment", LS), ("client", SS), ("label", SS), ("offset", LI)),
        *(("routine", ROUTINE), ("parameters", LS), ("timeout", SS)),
    )

    environment: bytes = b""
    client: bytes
    label: bytes = b""
    offset: int = 0
    routine: RoutineReference
    parameters: bytes = b""
    timeout: bytes = b""
    """Decimal seconds, perhaps with a fraction; empty for none."""


@frozen
class JobStatus(Laid):
    """Asks for the status of a job request (OMI 5.4.32)."""

    operation: ClassVar = Operation.JOB_STATUS
    layout: ClassVar = (("number", LI),)

    number: int


@frozen
class CancelJob(Laid):
    """Cancels a job request; the operation's number is not published, so a server may be told another than 63."""

    operation: ClassVar = Operation.CANCEL_JOB
    layout: ClassVar = (("number", LI),)

    number: int


Request = (
    (Connect | Status | Disconnect)
    | (Set | SetPiece | SetExtract | Kill | Increment)
    | (Get | Define | Order | Next | Query | ReverseOrder | ReverseQuery)
    | (Lock | Unlock | UnlockClient | UnlockAll)
    | (StartJob | JobStatus | CancelJob)
)

REQUESTS: Mapping[int, type[Request]] = MappingProxyType(
    {
        one.operation: one
        for one in (
            *(Connect, Status, Disconnect),
            *(Set, SetPiece, SetExtract, Kill, Increment),
            *(Get, Define, Order, Next, Query, ReverseOrder, ReverseQuery),
            *(Lock, Unlock, UnlockClient, UnlockAll),
            *(StartJob, JobStatus, CancelJob),
        )
    }
)
"""By operation type, the class of its requests."""


def parse_request(operation: int, body: bytes) -> Request:
    """The request whose fields these are. Raises ``OMIError``: operation type, message format, reference format …."""
    found = REQUESTS.get(operation)
    if found is None:
        raise OMIError(ErrorType.OPERATION_TYPE)
    return found.parse_all(body)
