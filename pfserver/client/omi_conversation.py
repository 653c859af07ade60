"""What an OMI agent says and hears on one circuit, without I/O; the clients with and without a reactor share it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence, Set

from attrs import frozen

from pfserver.client.errors import NoServer, ServerRefused
from pfserver.wire.omi import (
    CLASS,
    ERROR_TEXTS,
    MESSAGE_BYTES,
    CircuitError,
    Connect,
    Connected,
    ErrorType,
    Extension,
    FrameReader,
    OMIError,
    Operation,
    Reply,
    Request,
    bunch,
    message,
    parse_reply,
    split_bunch,
    split_response,
)
from pfserver.wire.omi.header import SHORT

#: Requests of one message, at most; more gain nothing.
BUNCH = 500

#: What a message's length and count take of it, and what a length and a header, for each request.
_MESSAGE, _OVERHEAD = 4 + 2, 4 + 12

#: Bytes of an answer with the longest sum of two numbers.
_SUM = 2 + 64

_TEXTS = {**ERROR_TEXTS, ErrorType.VALUE_TOO_LONG: "value too long, or all values of a message together"}


_ORDERS = frozenset({Operation.ORDER, Operation.NEXT, Operation.REVERSE_ORDER})

#: Fetches whose answers tell of more than one node.
_WALKS = _ORDERS | {Operation.DEFINE, Operation.QUERY, Operation.REVERSE_QUERY}

_UPDATES = frozenset({Operation.SET, Operation.SET_PIECE, Operation.SET_EXTRACT, Operation.KILL})

#: Stands for all globals.
_ALL = b""

#: A request's operation and its fields.
Packed = tuple[Operation, bytes]


def in_order(requests: Iterable[Packed]) -> Iterator[Packed]:
    """The first requests that may travel together though a fetch among them may have to be asked again.

    That is so where all answers are too long for one reply. Asked again, it must find what it would have found: an
    update of a get's node, of the global that any other fetch walks, and a lock or a job of whatever kind, waits for
    the next message.
    """
    gets: set[bytes] = set()
    walked: set[bytes] = set()
    for operation, body in requests:
        if operation is Operation.GET:
            gets.add(body)
        elif operation in _WALKS:
            walked.add(_walked(operation, body))
        elif (gets or walked) and operation is not Operation.STATUS and _may_change(operation, body, gets, walked):
            return
        yield operation, body


def is_crowded_out(request: Packed, answer: Answer) -> bool:
    """Whether an answer among several says no more than that the reply had no room for it: ask again, alone."""
    error = answer.error
    return (
        error is not None
        and error.number == ErrorType.VALUE_TOO_LONG
        and (request[0] is Operation.GET or request[0] in _WALKS)
    )


def _may_change(operation: Operation, body: bytes, gets: Set[bytes], walked: Set[bytes]) -> bool:
    if operation is Operation.INCREMENT:
        start = 0
    elif operation in _UPDATES:
        # Behind the field that asks to replicate.
        start = 1
    else:
        return True
    end = start + 2 + int.from_bytes(body[start : start + 2], "little")
    if walked and (_ALL in walked or _global(body, start) in walked):
        return True
    if operation is Operation.KILL:
        return any(get.startswith(body[start + 2 : end], 2) for get in gets)
    return body[start:end] in gets


def _walked(operation: Operation, body: bytes) -> bytes:
    """The global whose nodes a fetch tells of; :data:`_ALL` for an order over the names of globals."""
    found = _global(body, 0)
    return _ALL if operation in _ORDERS and 2 + len(found) == len(body) else found


def _global(body: bytes, start: int) -> bytes:
    """Environment and name of the reference whose field begins at ``start``."""
    begin = start + 2
    name = begin + 2 + int.from_bytes(body[begin : begin + 2], "little")
    return body[begin : name + 1 + body[name]]


@frozen
class Answer:
    """The response to one request: its fields, or the error, and the header's modifier."""

    reply: Reply | None
    error: ServerRefused | None = None
    modifier: int = 0


class OMIConversation:
    """One circuit of one agent: connect first, then any number of messages."""

    def __init__(self, connect: Connect) -> None:
        self.connected: Connected | None = None
        self._connect = connect
        self._most = MESSAGE_BYTES
        self._frames = FrameReader()
        self._sequence = 0
        self._asked: deque[list[Operation]] = deque()

    @property
    def is_bunched(self) -> bool:
        """Whether a message may hold several requests."""
        connected = self.connected
        return connected is not None and (connected.major >= 2 or Extension.BUNCHING in connected.extensions)

    @property
    def outstanding(self) -> int:
        """Messages that are not answered yet."""
        return len(self._asked)

    def hello(self) -> bytes:
        """The connect message."""
        self._asked.append([Operation.CONNECT])
        return message(self._request((self._connect.operation, self._connect.pack())))

    def packed(self, request: Request) -> Packed:
        """A request, ready to go. Raises ``OMIError`` for a value that is too long for its field or for a message."""
        body = request.pack()
        if len(body) > self._most:
            text = f"the fields of a request have {len(body)} bytes, and at most {self._most} in this session"
            raise OMIError(ErrorType.VALUE_TOO_LONG, text)
        return request.operation, body

    def message(self, requests: Sequence[Packed]) -> bytes:
        """A message of requests; several only where :attr:`is_bunched`, and no more than :meth:`fitting` says."""
        parts = [self._request(request) for request in requests]
        self._asked.append([operation for operation, _ in requests])
        return bunch(parts) if self.is_bunched else message(parts[0])

    def fitting(self, requests: Iterable[Packed]) -> int:
        """How many of the first requests go into one message; at least one."""
        if not self.is_bunched or self.connected is None:
            return 1
        room = answer_room = self.connected.message - _MESSAGE
        count = 0
        for operation, body in requests:
            room -= _OVERHEAD + len(body)
            # Sums that do not fit are refused all together. Values that do not fit are asked for again.
            answer_room -= _OVERHEAD + (_SUM if operation == Operation.INCREMENT else 0)
            if room < 0 or answer_room < 0 or count == BUNCH:
                break
            count += 1
        return max(count, 1)

    def feed(self, data: bytes) -> list[list[Answer]]:
        """The answers of each message that is complete now. Raises ``NoServer`` for what is no OMI."""
        try:
            return [self._answers(content) for content in self._frames.feed(data)]
        except (OMIError, CircuitError) as error:
            raise NoServer(f"the server's answer cannot be read: {error}") from error

    def _request(self, request: Packed) -> bytes:
        operation, body = request
        self._sequence = self._sequence % 65_535 + 1
        return SHORT.pack(SHORT.size - 1, CLASS, operation, 0, 0, self._sequence, self._sequence) + body

    def _answers(self, content: bytes) -> list[Answer]:
        if not self._asked:
            raise NoServer("the server answers what was not asked")
        asked = self._asked.popleft()
        parts = split_bunch(content) if self.is_bunched else [content]
        if len(parts) != len(asked):
            raise NoServer(f"{len(parts)} answers to {len(asked)} requests")
        return [self._answer(operation, part) for operation, part in zip(asked, parts, strict=True)]

    def _answer(self, operation: Operation, part: bytes) -> Answer:
        header, body = split_response(part)
        if header.error_type:
            text = _TEXTS.get(header.error_type, "error")
            return Answer(None, ServerRefused(header.error_type, text), header.modifier)
        reply = parse_reply(operation, body)
        if isinstance(reply, Connected):
            self.connected = reply
            self._most = reply.message - _OVERHEAD - (_MESSAGE if self.is_bunched else 0)
        return Answer(reply, None, header.modifier)
