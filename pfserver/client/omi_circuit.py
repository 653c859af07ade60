"""A Twisted agent's circuit: one message outstanding, and what is asked meanwhile waits for the next."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice, takewhile
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, fail
from twisted.internet.endpoints import connectProtocol
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import IDelayedCall, IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from pfserver.client.errors import NoServer
from pfserver.client.omi_calls import Login
from pfserver.client.omi_conversation import BUNCH, Answer, OMIConversation, Packed, in_order, is_crowded_out
from pfserver.wire.omi import OMIError, Request


@define(eq=False)
class _Call:
    request: Packed
    is_alone: bool = False
    answered: Deferred[Answer] = field(factory=Deferred)


class AgentProtocol(Protocol):
    """Keeps one message outstanding, as agents have to.

    :param seconds: how long the answer to a message may take; then the circuit is aborted.
    """

    def __init__(self, conversation: OMIConversation, clock: Any, seconds: float | None) -> None:
        self.conversation = conversation
        self.connecting: Deferred[None] = Deferred()
        self.closed: Deferred[None] = Deferred()
        self.messages = 0
        """How many have been sent."""
        self._clock = clock
        self._seconds = seconds
        self._timer: IDelayedCall | None = None
        self._waiting: deque[_Call] = deque()
        self._sent: list[_Call] = []
        self._is_lost = False
        self._is_scheduled = False

    def ask(self, request: Request) -> Deferred[Answer]:
        """See ``OMIClient.ask``."""
        if self._is_lost:
            return fail(NoServer("the circuit is closed"))
        try:
            call = _Call(self.conversation.packed(request))
        except OMIError as error:
            return fail(error)
        self._waiting.append(call)
        if not self._sent and not self._is_scheduled:
            self._is_scheduled = True
            self._clock.callLater(0, self._send)
        return call.answered

    def connectionMade(self) -> None:
        """Say hello."""
        transport: Any = self.transport
        if hasattr(transport, "setTcpNoDelay"):
            transport.setTcpNoDelay(True)
        self._write(self.conversation.hello())

    def dataReceived(self, data: bytes) -> None:
        """Answers, or a part of them."""
        if self._timer is not None and self._seconds is not None:
            self._timer.cancel()
            self._timer = self._clock.callLater(self._seconds, self._late)
        try:
            messages = self.conversation.feed(data)
        except NoServer as error:
            self._fail_all(error)
            self.abort()
            return
        for answers in messages:
            self._stop_timer()
            if not self.connecting.called:
                self._connected(answers[0])
            else:
                self._tell(answers)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Nobody answers any more."""
        self._fail_all(NoServer("the server has closed the circuit"))
        self.closed.callback(None)

    def abort(self) -> None:
        """Close the circuit at once."""
        transport: Any = self.transport
        if transport is not None:
            transport.abortConnection()

    def _connected(self, answer: Answer) -> None:
        if answer.error is not None:
            self.connecting.errback(answer.error)
        else:
            self.connecting.callback(None)

    def _send(self) -> None:
        self._is_scheduled = False
        if self._sent or not self._waiting or self._is_lost:
            return
        together = takewhile(lambda call: not call.is_alone, islice(self._waiting, BUNCH))
        count = self.conversation.fitting(in_order([call.request for call in together]))
        self._sent = [self._waiting.popleft() for _ in range(count)]
        self.messages += 1
        self._write(self.conversation.message([call.request for call in self._sent]))

    def _write(self, data: bytes) -> None:
        if self._seconds is not None:
            self._timer = self._clock.callLater(self._seconds, self._late)
        assert self.transport is not None
        self.transport.write(data)

    def _tell(self, answers: Sequence[Answer]) -> None:
        sent, self._sent = self._sent, []
        again: list[_Call] = []
        for call, answer in zip(sent, answers, strict=True):
            error = answer.error
            if error is None:
                call.answered.callback(answer)
            elif len(sent) > 1 and is_crowded_out(call.request, answer):
                call.is_alone = True
                again.append(call)
            else:
                call.answered.errback(error)
        # Before all that was called later, as it was.
        self._waiting.extendleft(reversed(again))
        self._send()

    def _late(self) -> None:
        # Where it was this program that stood still, the answer may lie in the socket: it is looked at first.
        self._timer = self._clock.callLater(0, self._too_late)

    def _too_late(self) -> None:
        self._timer = None
        self._fail_all(NoServer("the server did not answer in time"))
        self.abort()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fail_all(self, error: NoServer) -> None:
        self._is_lost = True
        self._stop_timer()
        failed = [*self._sent, *self._waiting]
        self._sent = []
        self._waiting.clear()
        if not self.connecting.called:
            self.connecting.errback(error)
        for call in failed:
            call.answered.errback(error)


async def open_circuit(
    endpoint: IStreamClientEndpoint, login: Login, version: int, clock: Any, seconds: float | None
) -> AgentProtocol:
    """A circuit whose session has begun. Raises ``NoServer``, ``ServerRefused``; whatever it raises, none is left."""
    protocol = AgentProtocol(OMIConversation(login.connect(version)), clock, seconds)
    try:
        await connectProtocol(endpoint, protocol)
    except (ConnectError, DNSLookupError, OSError) as error:
        raise NoServer(f"no server answers: {error}") from error
    try:
        await protocol.connecting
    except BaseException:
        # Cancelled, perhaps; the circuit would stay open, and its session with it.
        protocol.abort()
        raise
    return protocol
