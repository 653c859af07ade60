"""Responses as bytes: errors, long headers, and what to do where a message gets too long.

A bunch of short requests may have responses that are longer than a message all together. What is not told then, but
answered as too long a value, are fetches, which can be repeated without harm: first gets, whose values may be long. An
update, a lock or a job that is answered with an error did not take place: whoever carries it out sees to it that there
is room for its response (:func:`room_for`).
"""

from __future__ import annotations

from collections.abc import Sequence

from pfserver.wire.omi import ErrorType, OMIError, Operation, bunch, bunch_bytes, message
from pfserver.wire.omi.header import LONG, SHORT

#: A response without error up to its sequence and request id, which are the request's last 4 bytes of the header.
FINE = SHORT.pack(SHORT.size - 1, 0, 0, 0, 0, 0, 0)[:8]

#: How a long header begins: with its length.
_LONG = bytes([LONG.size - 1])

_VALUE_TOO_LONG = OMIError(ErrorType.VALUE_TOO_LONG)

#: A bunch of none, and what each response without fields adds to it.
_BUNCH, _RESPONSE = bunch_bytes([]), 4 + SHORT.size

#: What changes nothing and can be asked again.
_FETCHES = frozenset(range(Operation.GET, Operation.REVERSE_QUERY + 1))


def fine_response(ids: bytes, body: bytes, modifier: int = 0) -> bytes:
    """A response without error; ``ids`` are sequence and request id as they were in the request."""
    start = FINE if not modifier else SHORT.pack(SHORT.size - 1, 0, 0, modifier, 0, 0, 0)[:8]
    return start + ids + body


def error_response(error: OMIError, ids: bytes) -> bytes:
    """A response that tells an error."""
    return SHORT.pack(SHORT.size - 1, 1, error.type, error.modifier, 0, 0, 0)[:8] + ids


def refusal(part: bytes, error: OMIError) -> bytes:
    """What is told to a request that was not carried out, in kind; where its header ends early, ids are zero."""
    is_long = part[:1] == _LONG
    ids = part[9:13] if is_long else part[8:12]
    response = error_response(error, ids.ljust(4, b"\0"))
    return lengthened([response], [True])[0] if is_long else response


def shortened(part: bytes) -> bytes:
    """A request with a short header; an operation type that does not fit becomes 0, which there is not."""
    if part[0] == SHORT.size - 1:
        return part
    operation = part[3] if not part[4] else 0
    return bytes([SHORT.size - 1, part[1], part[2], operation]) + part[5:]


def lengthened(responses: Sequence[bytes], longs: Sequence[bool]) -> list[bytes]:
    """Responses with long headers where the requests had them."""
    return [
        bytes([SHORT.size]) + response[1:4] + b"\0" + response[4:] if is_long else response
        for response, is_long in zip(responses, longs, strict=True)
    ]


def too_long(response: bytes) -> bytes:
    """What is told instead of a response that does not fit into a message: value too long."""
    if response[0] == SHORT.size - 1:
        return error_response(_VALUE_TOO_LONG, response[8:12])
    return lengthened([error_response(_VALUE_TOO_LONG, response[9:13])], [True])[0]


def alone(responses: Sequence[bytes], limit: int) -> bytes:
    """The only response to a message that is no bunch, as the message that is its reply, at most ``limit`` bytes."""
    reply = message(responses[0])
    return reply if len(reply) <= limit else message(too_long(responses[0]))


def room_for(count: int, longs: int, limit: int) -> int:
    """How many bytes the fields of a bunch's responses may have, ``longs`` of them with long headers.

    Never below 0: a request is at least as long as a response without fields.
    """
    return limit - _BUNCH - count * _RESPONSE - longs


def bunched(responses: Sequence[bytes], limit: int, data: bytes, spans: Sequence[tuple[int, int]]) -> bytes:
    """Responses as the message that is the reply to a bunch, at most ``limit`` bytes.

    :param data: the requests, with short headers, which are in the places ``spans``.
    """
    reply = bunch(responses)
    if len(reply) <= limit:
        return reply
    return bunch(fitting(responses, limit, [data[start + 3] for start, _ in spans]))


def fitting(responses: Sequence[bytes], limit: int, operations: Sequence[int]) -> list[bytes]:
    """A bunch's responses, some fetches told as too long where all together are longer than a message may be.

    There is room for what is no fetch first, then for what tells a place or a bit, then for values; of each kind for
    the first ones that fit. The errors themselves always fit: a request is as long as they are at least.
    """
    fitted = [too_long(response) for response in responses]
    room = limit - bunch_bytes(fitted)

    def rank(index: int) -> int:
        return (operations[index] in _FETCHES) + (operations[index] == Operation.GET)

    for index in sorted(range(len(responses)), key=rank):
        more = len(responses[index]) - len(fitted[index])
        if more <= room:
            room -= more
            fitted[index] = responses[index]
    return fitted
