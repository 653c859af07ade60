"""One circuit: bytes to messages, messages to the session one at a time, its responses to bytes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IPullProducer, IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.tcp import Connection
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from pfserver.frontends.omi.dialogue import Dialogue
from pfserver.host.sockets import plain_socket
from pfserver.wire.omi import CircuitError, FrameReader

if TYPE_CHECKING:
    from pfserver.frontends.omi.plugin import OMIFactory

#: Replies of so many bytes are written before more requests are carried out: the transport says if it is too much.
_ENOUGH = 65_536


@implementer(IPushProducer, IPullProducer, IHalfCloseableProtocol)
class OMIProtocol(Protocol):
    """Serves one session after another's bytes have made a message; replies in the order of the messages."""

    log = Logger()
    factory: OMIFactory
    _dialogue: Dialogue

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
        # The reply to what was just answered is the last one.
        self._closing = False
        # No more is read: the agent has said all, or what it says cannot be read, or the circuit closes.
        self._ended = False
        self._lost = False
        # For the factory's look at who is idle.
        self._active = True
        self._since = 0.0
        self._begun: float | None = None
        self._paused_at = self._closed_at = 0.0

    # -- Protocol --------

    def connectionMade(self) -> None:
        """An agent is there."""
        factory = self.factory
        dialogue = Dialogue(self._frames, factory.admit, factory.options, factory.implementation, self.peer)
        self._dialogue, self._answer = dialogue, dialogue.answer
        transport: Any = self.transport
        if hasattr(transport, "setTcpNoDelay"):
            transport.setTcpNoDelay(True)
            transport.setTcpKeepAlive(True)
        # What a socket does not take at once, the transport keeps, and as a pull producer we hear when it is gone.
        # Where something wraps the socket, we are told to pause.
        plain = self._plain = plain_socket(transport)
        if plain is not None:
            self._send_now = plain.socket.send
            self.factory.hub.add(plain, self.received, self._unsent)
        transport.registerProducer(self, plain is None)
        self._since = self.factory.clock.seconds()
        self.factory.opened(self)

    def dataReceived(self, data: bytes) -> None:
        """Bytes of messages, from a transport."""
        reply = self.received(data)
        if reply is not None:
            self._write(reply)

    def received(self, data: bytes) -> bytes | None:
        """Bytes of messages; gives the reply that is to be written, if there is one already."""
        if self._ended:
            return None
        self._active = True
        if self._begun is None and not (self._waiting or self._busy or self._paused):
            # The usual, the short way: one message, and nothing before it.
            try:
                quick = self._dialogue.quick
                answered = quick(data, 4)
            except Exception:  # noqa: BLE001 - whatever it is, the agent waits for a reply
                answered = self._dialogue.fault(data[4:])
            if answered is not None:
                if isinstance(answered, bytes):
                    return answered
                self._take(answered)
                return None
        self._feed(data)
        return None

    def _feed(self, data: bytes) -> None:
        try:
            contents = self._frames.feed(data)
        except CircuitError as error:
            self.log.info("circuit.refused", peer=self.peer, reason=str(error))
            self._end()
            self._waiting.extend(error.before)
            if not self._busy:
                self._work()
            return
        if self._frames.is_between:
            self._begun = None
        elif contents or self._begun is None:
            self._begun = self.factory.clock.seconds()
        self._waiting.extend(contents)
        if self._busy:
            self._pace()
        else:
            self._work()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The circuit is gone, and the session with it; what was begun is finished."""
        self._lost = self._ended = True
        self._leave_hub()
        self._waiting.clear()
        self._ready.clear()
        session = self._dialogue.session
        if session is not None:
            session.end()
        self.factory.closed(self)
        if not isinstance(reason.value, ConnectionDone):
            self.log.debug("circuit.lost", peer=self.peer, reason=reason.getErrorMessage())

    # -- IHalfCloseableProtocol: what was asked is answered, whoever has no more to ask --------

    def readConnectionLost(self) -> None:
        """The agent has said all; it may still read. The circuit ends with the last reply."""
        self._end()
        if not self._working:
            self._flush()

    def writeConnectionLost(self) -> None:
        """We never close this half alone."""

    # -- IPushProducer, IPullProducer: the transport says when the agent does not read, and when it has --------

    def pauseProducing(self) -> None:
        """The agent does not keep up: its next messages wait, in its own buffers where they can."""
        self._hold()
        self._pace()

    def resumeProducing(self) -> None:
        """The agent has read."""
        self._paused = False
        # To read is a sign of life, too.
        self._active = True
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
        """Close where an agent has not connected, ended its message or read its replies, or was silent for too long."""
        if self._active or self._busy:
            self._active = False
            if self._dialogue.session is not None:
                self._since = now
        if self._busy:
            # The time that we work is not the agent's.
            return
        limit, since = self._limit()
        if limit and now - since > limit:
            self.log.info("circuit.timeout", peer=self.peer, seconds=limit)
            self.abort()

    def _limit(self) -> tuple[float, float]:
        """How many seconds the agent has for what it has to do now, and since when they count."""
        options = self.factory.options
        if self._closing:
            return options.message_timeout or options.stalled, self._closed_at
        if self._dialogue.session is None:
            return options.connect_timeout, self._since
        if self._paused:
            return options.stalled, self._paused_at
        if self._begun is not None:
            return options.message_timeout, self._begun
        return options.idle_timeout, self._since

    def close(self) -> None:
        """Close when all replies are written; nothing is read any more."""
        self._closing = self._ended = True
        self._waiting.clear()
        # Who never reads the last replies does not keep the circuit.
        self._closed_at = self.factory.clock.seconds()
        if self.transport is not None and not self._lost:
            transport: Any = self.transport
            # A transport that is no plain socket reads on: it has to hear that the agent closes, too.
            self._leave_hub()
            transport.unregisterProducer()
            transport.loseConnection()

    def abort(self) -> None:
        """Close now; what was read already is not looked at."""
        self._ended = True
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
            content = self._waiting.popleft()
            try:
                answered = self._answer(content)
            except Exception:  # noqa: BLE001 - whatever it is, the agent waits for a reply
                answered = self._dialogue.fault(content)
            self._take(answered)
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
        self._closing = self._closing or self._dialogue.is_over()
        if not self._working:
            self._work()

    def _broken(self, failure: Failure) -> None:
        """A fault of ours: the agent cannot know what was done, so its circuit ends."""
        self.log.failure("message.failed", failure, peer=self.peer)
        self._busy = False
        self.close()

    def _flush(self) -> None:
        if self._ready and not self._lost and self.transport is not None:
            data = b"".join(self._ready)
            self._ready.clear()
            self._write(data)
        if (self._closing or (self._ended and not self._waiting)) and not self._busy:
            self.close()

    def _write(self, data: bytes) -> None:
        transport: Any = self.transport
        if self._send_now is None or self._paused:
            transport.write(data)
            return
        try:
            sent = self._send_now(data)
        except OSError:
            # There is no room for more, or the circuit is lost: the transport will find that, too.
            sent = 0
        if sent < len(data):
            self._unsent(data[sent:])

    def _unsent(self, data: bytes) -> None:
        """What the socket does not take at once, the transport keeps."""
        self._hold()
        transport: Any = self.transport
        transport.write(data)
        self._pace()

    def _hold(self) -> None:
        """Replies wait until the agent reads; its time runs."""
        if not self._paused:
            self._paused = True
            self._paused_at = self.factory.clock.seconds()

    def _pace(self) -> None:
        """Read no more than can be answered."""
        reading = not (self._paused or (self._busy and self._waiting))
        if reading is not self._reading and not (self._ended or self._closing):
            self._reading = reading
            transport: Any = self.transport
            if reading:
                if self._begun is not None:
                    # The time that we did not read is not the agent's.
                    self._begun = self.factory.clock.seconds()
                if self._plain is not None:
                    self.factory.hub.add(self._plain, self.received, self._unsent)
                else:
                    transport.resumeProducing()
            elif self._plain is not None:
                self._leave_hub()
            else:
                transport.pauseProducing()

    def _end(self) -> None:
        """Read no more; what has been read is answered, then the circuit closes."""
        self._ended = True
        self._leave_hub()

    def _leave_hub(self) -> None:
        if self._plain is not None:
            self.factory.hub.discard(self._plain)
