"""The short way of a message: only globals that are stored, nearly all there is, from its bytes to those of its reply.

Whatever else a message asks for, and most of what is wrong with one, is left to the longer way, which can do all.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from itertools import accumulate, islice, pairwise
from struct import Struct
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from pfserver.errors import StoreUnavailable
from pfserver.frontends.omi.data import Data, Step, fail
from pfserver.frontends.omi.keys import LiveReference
from pfserver.frontends.omi.responses import FINE, alone, bunched, error_response, room_for
from pfserver.interfaces import IGlobals, IGlobalsView
from pfserver.wire.omi import ErrorType, FormatError, OMIError, Operation, bunch_spans
from pfserver.wire.omi.header import SHORT

#: The first bytes of a request of class 1 with a short header; its operation type follows, then 8 bytes of ids.
PREFIX = b"\x0b\x01\x00"

_HEADER = SHORT.size
#: After so many steps it is seen how long the responses are already: values of as many gets are read in vain at most.
_SLICE = 64
#: The length of a message, and the header of a response without error.
_MESSAGE = Struct("<I8s4s")
_LENGTH = Struct("<I").unpack_from
#: The length of a message of one request, the first 4 bytes of its header and, behind 4 others, the last.
_REQUEST = Struct("<I4s4x4s")
_PARTS = _REQUEST.unpack_from

Span = tuple[int, int]


class Quick:
    """Answers messages of one session: those with their length before them, which has to be right, or without.

    :param limit: the most bytes of a message, its length field included.
    :param refuse: the responses to requests of which nothing could be kept, with the failure that says why.
    """

    def __init__(
        self, globals_: IGlobals, data: Data, limit: int, refuse: Callable[[Any, Sequence[bytes]], list[bytes]]
    ) -> None:
        self._at_once = _by_header(data.at_once)
        self._fetches = _by_header(data.fetches)
        self._updates = _by_header(data.updates)
        self.values = data.values
        self._limit = limit
        self._refuse = refuse
        self._globals = globals_

    def one(self, data: bytes, start: int) -> bytes | Deferred[bytes] | None:
        """The reply to a message of one request, which begins at ``start`` (0 or 4), at once or when it is on disk.

        None where the longer way has to be gone: nothing is done then.
        """
        end = len(data)
        if start:
            if end < _REQUEST.size:
                return None
            length, kind, ids = _PARTS(data)
            if 4 + length != end or end > self._limit:
                return None
        else:
            kind, ids = data[:4], data[8:_HEADER]
        at_once = self._at_once.get(kind)
        try:
            if at_once is not None:
                body = at_once(data, start, end)
            elif (decode := self._fetches.get(kind)) is not None:
                perform, argument = decode(data, start, end)
                body = perform(self._globals.view(), argument)
            elif (decode := self._updates.get(kind)) is None:
                return None
            else:
                perform, argument = decode(data, start, end)
                body = self._globals.try_write(perform, argument)
                if body is None:
                    answered = self._written(data, [(start, end)], [(perform, argument)])
                    if isinstance(answered, Deferred):
                        return answered.addCallback(alone, self._limit)
                    return alone(answered, self._limit)
        except (OMIError, LiveReference, StoreUnavailable):
            return None
        length = _HEADER + len(body)
        if length + 4 > self._limit:
            return alone([FINE + ids + body], self._limit)
        reply: bytes = _MESSAGE.pack(length, FINE, ids) + body
        return reply

    def many(self, data: bytes, start: int) -> bytes | Deferred[bytes] | None:
        """The reply to a bunch, which begins at ``start``, at once or when all is on disk; None as for :meth:`one`."""
        end = len(data)
        if start and not self._is_whole(data, end):
            return None
        try:
            spans = bunch_spans(data, start)
        except FormatError:
            return None
        answered = self.responses(data, spans)
        if answered is None:
            return None
        if isinstance(answered, Deferred):
            return answered.addCallback(bunched, self._limit, data, spans)
        return bunched(answered, self._limit, data, spans)

    def responses(
        self, data: bytes, spans: Sequence[Span], longs: int = 0
    ) -> list[bytes] | Deferred[list[bytes]] | None:
        """The responses to the requests in these places, at once or when all is on disk; None as for :meth:`one`.

        So many of them will get ``longs``, long headers.
        """
        decoded = self._decoded(data, spans)
        if decoded is None:
            return None
        steps, updates = decoded
        if updates:
            return self._written(data, spans, steps, longs)
        room = room_for(len(spans), longs, self._limit)
        try:
            view = self._globals.view()
        except StoreUnavailable:
            return self._refuse(Failure(), [data[begin:end] for begin, end in spans])
        return run_steps(data, spans, steps, room, self.values, view)

    def _is_whole(self, data: bytes, size: int) -> bool:
        """Whether this is one message, all of it and nothing more, with its length."""
        return size >= 4 and 4 + _LENGTH(data)[0] == size <= self._limit

    def _written(
        self, data: bytes, spans: Sequence[Span], steps: Sequence[Step], longs: int = 0
    ) -> list[bytes] | Deferred[list[bytes]]:
        """The responses when all is written."""
        room = room_for(len(spans), longs, self._limit)
        done = self._globals.write(partial(run_steps, data, spans, steps, room, self.values))
        # What is not waited for has its result at once; callbacks would cost as much as the update.
        if done.called and isinstance(done.result, list):
            return done.result
        return done.addErrback(self._refuse, [data[begin:end] for begin, end in spans])

    def _decoded(self, data: bytes, spans: Sequence[Span]) -> tuple[list[Step], bool] | None:
        """The steps of a bunch and whether any of them updates; None where one is not on stored globals."""
        steps: list[Step] = []
        add = steps.append
        fetch, updates = self._fetches.get, False
        for start, end in spans:
            kind = data[start : start + 4]
            decode = fetch(kind)
            if decode is None:
                decode = self._updates.get(kind)
                if decode is None:
                    return None
                updates = True
            try:
                add(decode(data, start, end))
            except OMIError as error:
                if end - start < _HEADER:
                    return None
                add((fail, error))
            except LiveReference:
                return None
        return steps, updates

    def decode(self, part: bytes) -> tuple[Step, bool] | None:
        """The step of a request on globals and whether it updates; None for any other request.

        Raises ``OMIError``, ``LiveReference``.
        """
        if decode := self._fetches.get(part[:4]):
            return decode(part, 0, len(part)), False
        if decode := self._updates.get(part[:4]):
            return decode(part, 0, len(part)), True
        return None


def joined(parts: Sequence[bytes]) -> tuple[bytes, list[Span]]:
    """Requests in one piece, as they are in a bunch, and where each begins and ends."""
    ends = list(accumulate(map(len, parts)))
    return b"".join(parts), list(pairwise([0, *ends]))


def _by_header(decoders: Any) -> dict[bytes, Any]:
    """Decoders by the bytes that a request begins with."""
    return {PREFIX + bytes([operation]): decode for operation, decode in decoders.items()}


def run_steps(
    data: bytes,
    spans: Sequence[Span],
    steps: Sequence[Step],
    room: int,
    values: Collection[int],
    view: IGlobalsView,
) -> list[bytes]:
    """Carry out the steps of a message on one view; gives the responses.

    :param room: so many bytes of fields fit into the reply. Once there are more, fetches of values are told that
        without being carried out. Raises ``OMIError`` where the updates' alone do not fit: none of them must be kept.
    :param values: the operation types that fetch values.
    """
    answers: list[bytes] = []
    add = answers.append
    todo: Iterator[tuple[Span, Step]] = zip(spans, steps, strict=True)
    size, is_full = 0, False
    for done in range(0, len(steps), _SLICE):
        if size > room and not is_full:
            is_full, todo = True, _without(values, data, todo)
        for (start, _), (perform, argument) in islice(todo, _SLICE):
            ids = data[start + 8 : start + _HEADER]
            try:
                add(FINE + ids + perform(view, argument))
            except OMIError as error:
                add(error_response(error, ids))
        size += sum(map(len, answers[done:])) - _HEADER * (len(answers) - done)
    if size > room and update_bytes(data, spans, answers) > room:
        raise OMIError(ErrorType.VALUE_TOO_LONG, "the new values are longer than a message all together")
    return answers


def update_bytes(data: bytes, spans: Sequence[Span], answers: Sequence[bytes]) -> int:
    """How many bytes of fields the responses to updates have: only increments have any."""
    told = zip(spans, answers, strict=True)
    return sum(len(answer) - _HEADER for (start, _), answer in told if data[start + 3] == Operation.INCREMENT)


def _without(values: Collection[int], data: bytes, todo: Iterator[tuple[Span, Step]]) -> Iterator[tuple[Span, Step]]:
    """The same, but these operation types fail."""
    for (start, end), step in todo:
        is_value = data[start + 3] in values
        yield (start, end), (fail, OMIError(ErrorType.VALUE_TOO_LONG)) if is_value else step
