"""One circuit: bytes to messages, messages to the session one at a time, its responses to bytes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPullProducer, IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.tcp import Connection
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from pfserver.errors import PFServerError
from pfserver.frontends.omi.errors import omi_error
from pfserver.frontends.omi.limits import MAJOR_VERSIONS, negotiate
from pfserver.frontends.omi.responses import error_response, fitting, lengthened, shortened, too_long
from pfserver.frontends.omi.session import Session
from pfserver.host.sockets import plain_socket
from pfserver.wire.omi import (
    CLASS,
    CircuitError,
    Connect,
    ErrorType,
    FormatError,
    FrameReader,
    OMIError,
    Operation,
    ResponseHeader,
    bunch,
    message,
    split_bunch,
    split_request,
)

if TYPE_CHECKING:
    from pfserver.frontends.omi.plugin import OMIFactory

#: The shortest request: a short header with its length.
_HEADER = 12

#: Replies of so many bytes are written before more requests are carried out: the transport says if it is too much.
_ENOUGH = 65_536


@implementer(IPushProducer, IPullProducer)
class OMIProtocol(Protocol):
    """Serves one session after another's bytes have made a message; replies in the order of the messages."""

    log = Logger()
    factory: OMIFactory

    def __init__(self) -> None:
        self._frames = FrameReader()
        self._waiting: deque[bytes] = deque()
        self._ready: list[bytes] = []
        self._working = False
        self._busy = False
        self._paused = False
        self._plain: Connection | None = None
        self._send_now: Callable[[bytes], int] | None = None
        self._reading = True
        self._closing = False
        self._lost = False
        self._session: Session | None = None
        self._is_bunched = False
        # For the factory's look at who is idle.
        self._active = True
        self._since = 0.0
        self._begun: float | None = None

    # -- Protocol --------

    def connectionMade(self) -> None:
        """An agent is there."""
        transport: Any = self.transport
        if hasattr(transport, "setTcpNoDelay"):
            transport.setTcpNoDelay(True)
            transport.setTcpKeepAlive(True)
        # What a socket does not take at once, the transport keeps, and as a pull producer we hear when it is gone.
        # Where something wraps the socket, we are told to pause.
        plain = self._plain = plain_socket(transport)
        if plain is not None:
            self._send_now = plain.socket.send
            self.factory.hub.add(plain)
        transport.registerProducer(self, plain is None)
        self._since = self.factory.clock.seconds()
        self.factory.opened(self)

    def dataReceived(self, data: bytes) -> None:
        """Bytes of messages."""
        if self._lost or self._closing:
            return
        self._active = True
        try:
            contents = self._frames.feed(data)
        except CircuitError as error:
            self.log.info("circuit.refused", peer=self.peer, reason=str(error))
            self.close()
            return
        if self._frames.is_between:
            self._begun = None
        elif contents or self._begun is None:
            self._begun = self.factory.clock.seconds()
        if len(contents) == 1 and not (self._waiting or self._busy or self._paused):
            # The usual, the short way: one message, and nothing before it.
            answered = self._answer(contents[0])
            if isinstance(answered, bytes) and not self._is_closing():
                self._write(answered)
                if self._paused:
                    self._pace()
            else:
                self._take(answered)
        else:
            self._waiting.extend(contents)
            if self._busy:
                self._pace()
            else:
                self._work()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The circuit is gone, and the session with it; what was begun is finished."""
        self._lost = True
        self._leave_hub()
        self._waiting.clear()
        self._ready.clear()
        if self._session is not None:
            self._session.end()
        self.factory.closed(self)
        if not isinstance(reason.value, ConnectionDone):
            self.log.debug("circuit.lost", peer=self.peer, reason=reason.getErrorMessage())

    # -- IPushProducer, IPullProducer: the transport says when the agent does not read, and when it has --------

    def pauseProducing(self) -> None:
        """The agent does not keep up: its next messages wait, in its own buffers where they can."""
        self._paused = True
        self._pace()

    def resumeProducing(self) -> None:
        """The agent has read."""
        self._paused = False
        if not self._busy and not self._working:
            self._work()

    def stopProducing(self) -> None:
        """The agent is gone; ``connectionLost`` follows."""

    # -- time and end --------

    @property
    def peer(self) -> str:
        """The agent's address; empty for a local socket."""
        return str(getattr(self.transport.getPeer(), "host", "")) if self.transport else ""

    def check_time(self, now: float) -> None:
        """Close where an agent has not connected, has not ended its message, or was silent for too long."""
        options = self.factory.options
        if self._active:
            self._active = False
            if self._session is not None:
                self._since = now
        limit = options.idle_timeout
        since = self._since
        if self._session is None:
            limit = options.connect_timeout
        elif self._begun is not None:
            limit, since = options.message_timeout, self._begun
        if limit and now - since > limit and not self._busy and (self._reading or self._closing):
            self.log.info("circuit.timeout", peer=self.peer, seconds=limit)
            self.abort()

    def close(self) -> None:
        """Close when all replies are written; nothing is read any more."""
        self._closing = True
        self._waiting.clear()
        # Who never reads the last replies does not keep the circuit.
        self._begun = self.factory.clock.seconds()
        if self.transport is not None and not self._lost:
            transport: Any = self.transport
            # A transport that is no plain socket reads on: it has to hear that the agent closes, too.
            self._leave_hub()
            transport.unregisterProducer()
            transport.loseConnection()

    def abort(self) -> None:
        """Close now."""
        transport: Any = self.transport
        if transport is not None and not self._lost:
            self._leave_hub()
            transport.abortConnection()

    # -- messages --------

    def _work(self) -> None:
        """Answer what waits, until something has to be waited for; replies that are ready go out together."""
        self._working = True
        size = 0
        while self._waiting and not (self._busy or self._paused or self._closing):
            self._take(self._answer(self._waiting.popleft()))
            size += len(self._ready[-1]) if self._ready else 0
            if size > _ENOUGH:
                self._flush()
                size = 0
        self._working = False
        self._flush()
        self._pace()

    def _take(self, answered: bytes | Deferred[bytes]) -> None:
        if isinstance(answered, Deferred):
            self._busy = True
            answered.addCallbacks(self._answered, self._broken)
        else:
            self._answered(answered)

    def _answered(self, reply: bytes) -> None:
        self._busy = False
        self._ready.append(reply)
        self._closing = self._is_closing()
        if not self._working:
            self._work()

    def _broken(self, failure: Failure) -> None:
        """A fault of ours: the agent cannot know what was done, so its circuit ends."""
        self.log.failure("message.failed", failure, peer=self.peer)
        self._busy = False
        self.close()

    def _is_closing(self) -> bool:
        """Whether the next reply is the last."""
        return self._closing or (self._session is not None and self._session.closing)

    def _flush(self) -> None:
        if self._ready and not self._lost and self.transport is not None:
            data = b"".join(self._ready)
            self._ready.clear()
            self._write(data)
        if self._closing and not self._busy:
            self.close()

    def _write(self, data: bytes) -> None:
        transport: Any = self.transport
        if self._send_now is None or self._paused:
            transport.write(data)
            return
        # As write_at_once does it, but for what is bound or known here: a twentieth of what a request costs.
        try:
            sent = self._send_now(data)
        except OSError:
            # There is no room for more, or the circuit is lost: the transport will find that, too.
            sent = 0
        if sent < len(data):
            self._paused = True
            transport.write(data[sent:])

    def _pace(self) -> None:
        """Read no more than can be answered."""
        reading = not (self._paused or (self._busy and self._waiting))
        if reading is not self._reading and not self._lost and not self._closing:
            self._reading = reading
            transport: Any = self.transport
            if reading:
                if self._begun is not None:
                    # The time that we did not read is not the agent's.
                    self._begun = self.factory.clock.seconds()
                if self._plain is not None:
                    self.factory.hub.add(self._plain)
                else:
                    transport.resumeProducing()
            elif self._plain is not None:
                self._leave_hub()
            else:
                transport.pauseProducing()

    def _leave_hub(self) -> None:
        if self._plain is not None:
            self.factory.hub.discard(self._plain)

    # -- one message --------

    def _answer(self, content: bytes) -> bytes | Deferred[bytes]:
        session = self._session
        if session is None:
            return self._before_session(content)
        if not self._is_bunched and len(content) >= _HEADER:
            fetched = session.fetch(content)
            if fetched is not None:
                return self._message(fetched)
        try:
            parts = split_bunch(content) if self._is_bunched else [content]
        except FormatError as error:
            return self._refuse([b""], error)
        answered = session.answer(parts) if min(map(len, parts), default=_HEADER) >= _HEADER else None
        if answered is None:
            return self._answer_unusual(session, parts)
        if isinstance(answered, Deferred):
            # Updates that are not waited for have their result at once; callbacks would cost as much as the update.
            if not (answered.called and isinstance(answered.result, list)):
                return answered.addCallback(self._reply)
            answered = answered.result
        return self._reply(answered)

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
        answered = session.answer(shorts)
        assert answered is not None
        if not isinstance(answered, Deferred):
            return self._reply(lengthened(answered, longs))
        return answered.addCallback(lambda answers: self._reply(lengthened(answers, longs)))

    def _reply(self, responses: Sequence[bytes]) -> bytes:
        limit = self._frames.limit
        if self._is_bunched:
            reply = bunch(responses)
            return reply if len(reply) <= limit else bunch(fitting(responses, limit))
        return self._message(responses[0])

    def _message(self, response: bytes) -> bytes:
        reply = message(response)
        return reply if len(reply) <= self._frames.limit else message(too_long(response))

    def _refuse(self, parts: Sequence[bytes], error: OMIError) -> bytes:
        """What cannot be read is answered and ends the circuit: nobody knows what the agent means by what follows."""
        self._closing = True
        self.log.info("message.refused", peer=self.peer, type=error.type)
        return self._reply([error_response(error, part[8:12].ljust(4, b"\0")) for part in parts])

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
            agreement = negotiate(connect, self.factory.options.limits)
            self._session = await self.factory.admit(self, connect, agreement)
        except PFServerError as error:
            refused = omi_error(error)
            self.log.info("connect.refused", peer=self.peer, type=refused.type)
            self._closing = True
            return message(evolve(fine, error_class=CLASS, error_type=refused.type).pack())
        self._frames.limit = agreement.limits.message
        self._is_bunched = agreement.is_bunched
        connected = agreement.reply(connect, self.factory.implementation, self.factory.options.server_name.encode())
        return message(fine.pack() + connected.pack())
