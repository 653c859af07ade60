"""One message after another: what it asks for is handed to the session, and the responses are made its reply."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from pfserver.errors import PFServerError
from pfserver.frontends.omi.errors import omi_error
from pfserver.frontends.omi.limits import MAJOR_VERSIONS, Agreement, negotiate
from pfserver.frontends.omi.quick import joined
from pfserver.frontends.omi.responses import alone, bunched, lengthened, refusal, shortened
from pfserver.frontends.omi.session import Session
from pfserver.wire.omi import (
    CLASS,
    Connect,
    ErrorType,
    FormatError,
    FrameReader,
    OMIError,
    Operation,
    ResponseHeader,
    bunch,
    bunch_bytes,
    message,
    split_bunch,
    split_request,
)

if TYPE_CHECKING:
    from pfserver.frontends.omi.plugin import OMIOptions

#: The shortest request: a short header with its length.
_HEADER = 12


def _not_yet(data: bytes, start: int) -> None:
    """There is no short way before there is a session."""


class Dialogue:
    """Gives the replies to the messages of one circuit; no more is known of it.

    :param frames: what reads the messages; it is told how long they may be.
    :param admit: gives a session to an agent at an address. Raises ``PFServerError``.
    :param peer: the agent's address.
    """

    log = Logger()

    def __init__(
        self,
        frames: FrameReader,
        admit: Callable[[str, Connect, Agreement], Awaitable[Session]],
        options: OMIOptions,
        implementation: bytes,
        peer: str,
    ) -> None:
        self.session: Session | None = None
        self.is_bunched = False
        self._frames = frames
        self._admit = admit
        self._options = options
        self._implementation = implementation
        self._peer = peer
        self._closing = False
        self.quick: Callable[[bytes, int], bytes | Deferred[bytes] | None] = _not_yet
        """The reply to a message that goes the short way, with its length (4) or without (0); None to all others."""

    def is_over(self) -> bool:
        """Whether the last reply was the last one of the circuit."""
        return self._closing or (self.session is not None and self.session.closing)

    def answer(self, content: bytes) -> bytes | Deferred[bytes]:
        """The reply to a message, at once or later; empty where the circuit ends without one."""
        session = self.session
        if session is None:
            return self._before_session(content)
        if len(content) + 4 > self._frames.limit:
            # It came together with the connect that agreed on less, or it would not have been read.
            self.log.info("circuit.refused", peer=self._peer, reason="a message is longer than was agreed")
            self._closing = True
            return b""
        reply = self.quick(content, 0)
        if reply is not None:
            return reply
        try:
            parts = split_bunch(content) if self.is_bunched else [content]
        except FormatError as error:
            return self._refuse([b""], error)
        answered = session.answer(parts) if min(map(len, parts), default=_HEADER) >= _HEADER else None
        if answered is None:
            return self._answer_unusual(session, parts)
        if isinstance(answered, Deferred):
            return answered.addCallback(self._reply, parts)
        return self._reply(answered, parts)

    def _answer_unusual(self, session: Session, parts: Sequence[bytes]) -> bytes | Deferred[bytes]:
        """A message with long headers (version 2), or with headers that cannot be used: nothing of it is done."""
        try:
            headers = [split_request(part) for part in parts]
            for header, _ in headers:
                if header.operation_class != CLASS or (header.long and session.agreement.major < 2):
                    raise FormatError("a header that this version does not have")
        except FormatError as error:
            return self._refuse(parts, error)
        longs = [header.long for header, _ in headers]
        shorts = [shortened(part) for part in parts]
        answered = session.answer(shorts, sum(longs))
        assert answered is not None
        if not isinstance(answered, Deferred):
            return self._reply(lengthened(answered, longs), shorts)
        return answered.addCallback(lambda answers: self._reply(lengthened(answers, longs), shorts))

    def _reply(self, responses: Sequence[bytes], parts: Sequence[bytes]) -> bytes:
        limit = self._frames.limit
        return bunched(responses, limit, *joined(parts)) if self.is_bunched else alone(responses, limit)

    def fault(self, content: bytes) -> bytes:
        """What is told where :meth:`answer` raised what it should not: error 6 to all that the message asks for."""
        self.log.failure("message.failed", peer=self._peer)
        try:
            parts = split_bunch(content) if self.is_bunched else [content]
        except FormatError:
            parts = [b""]
        return self._refusals(parts, OMIError(ErrorType.UNRECOVERABLE))

    def _refuse(self, parts: Sequence[bytes], error: OMIError) -> bytes:
        """What cannot be read is answered and ends the circuit: nobody knows what the agent means by what follows."""
        self._closing = True
        self.log.info("message.refused", peer=self._peer, type=error.type)
        return self._refusals(parts, error)

    def _refusals(self, parts: Sequence[bytes], error: OMIError) -> bytes:
        refused = [refusal(part, error) for part in parts]
        if not self.is_bunched:
            return message(refused[0])
        # Requests without a header are shorter than their refusals. Where these are too long all together, the bunch
        # is answered like one that cannot be taken apart.
        return bunch(refused if bunch_bytes(refused) <= self._frames.limit else [refusal(b"", error)])

    # -- connect --------

    def _before_session(self, content: bytes) -> bytes | Deferred[bytes]:
        try:
            header, body = split_request(content)
            if header.operation_class != CLASS:
                raise FormatError("a class that this version does not have")
        except FormatError as error:
            return self._refuse([content], error)
        fine = ResponseHeader(sequence=header.sequence, request_id=header.request_id, long=header.long)
        if header.operation != Operation.CONNECT:
            return message(evolve(fine, error_class=CLASS, error_type=ErrorType.NO_SESSION).pack())
        return Deferred.fromCoroutine(self._connect(fine, body))

    async def _connect(self, fine: ResponseHeader, body: bytes) -> bytes:
        try:
            if body and body[0] not in MAJOR_VERSIONS:
                # Before anything else: the fields of another version need not be ours.
                raise OMIError(ErrorType.VERSION)
            connect = Connect.parse_all(body)
            agreement = negotiate(connect, self._options.limits)
            self.session = await self._admit(self._peer, connect, agreement)
        except PFServerError as error:
            refused = omi_error(error)
            self.log.info("connect.refused", peer=self._peer, type=refused.type)
            self._closing = True
            return message(evolve(fine, error_class=CLASS, error_type=refused.type).pack())
        self._frames.limit = agreement.limits.message
        self.is_bunched = agreement.is_bunched
        self.quick = self.session.quick.many if agreement.is_bunched else self.session.quick.one
        connected = agreement.reply(connect, self._implementation, self._options.server_name.encode())
        return message(fine.pack() + connected.pack())
