"""The front end on a real loopback socket, before a real engine and real globals, with clocks that the test moves."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from pfserver.engine.locks import LockTable
from pfserver.frontends.omi import OMIFrontEndPlugin
from pfserver.frontends.omi.protocol import OMIProtocol
from pfserver.store.globals import Globals
from pfserver.wire.omi import (
    Connect,
    FrameReader,
    Reference,
    Reply,
    Request,
    RequestHeader,
    bunch,
    message,
    parse_reply,
    split_bunch,
    split_response,
)
from tests.engine.support import EngineCase


@frozen
class Services:
    engine: Any
    clock: Any
    globals: Any
    locks: Any
    build_string: str = "pfserver 1 (Python 3, Twisted 26)"


def ref(*subscripts: bytes | str | int, name: bytes = b"X", environment: bytes = b"") -> Reference:
    """A reference to ^X."""
    path = [one if isinstance(one, bytes) else str(one).encode() for one in subscripts]
    return Reference(environment, name, tuple(path))


class Circuit(Protocol):
    """An agent that sends what it is told and keeps the messages that come; no more is known of it."""

    def __init__(self) -> None:
        self.is_bunched = False
        self.closed: Deferred[None] = Deferred()
        self.received = b""
        self._frames = FrameReader(1 << 32)
        self._inbox: deque[bytes] = deque()
        self._waiting: deque[Deferred[bytes]] = deque()
        self._sequence = 0

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        for content in self._frames.feed(data):
            if self._waiting:
                self._waiting.popleft().callback(content)
            else:
                self._inbox.append(content)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        while self._waiting:
            self._waiting.popleft().errback(reason)
        self.closed.callback(None)

    def send(self, data: bytes) -> None:
        """Bytes as they are."""
        assert self.transport is not None
        self.transport.write(data)

    def next(self) -> Deferred[bytes]:
        """The next message's content."""
        waiting: Deferred[bytes] = Deferred()
        if self._inbox:
            waiting.callback(self._inbox.popleft())
        else:
            self._waiting.append(waiting)
        return waiting

    def packed(self, request: Request, **header: Any) -> bytes:
        """A request with the next sequence number."""
        self._sequence += 1
        header = {"sequence": self._sequence, "request_id": 7, **header}
        return RequestHeader(request.operation, **header).pack() + request.pack()

    async def raw(self, content: bytes) -> bytes:
        """Send a message's content and give that of the reply."""
        self.send(message(content))
        return await self.next()

    async def ask(self, request: Request, **header: Any) -> Reply | int:
        """One request; gives the reply, or the error type. The ids have to come back."""
        [(_, answer)] = await self.ask_all([request], **header)
        return answer

    async def ask_all(self, requests: Sequence[Request], **header: Any) -> list[tuple[int, Reply | int]]:
        """A message of requests; gives modifiers and replies, or error types."""
        parts = [self.packed(request, **header) for request in requests]
        is_bunched = self.is_bunched and not isinstance(requests[0], Connect)
        self.send(bunch(parts) if is_bunched else message(parts[0]))
        content = await self.next()
        answers = split_bunch(content) if is_bunched else [content]
        assert len(answers) == len(requests), answers
        told: list[tuple[int, Reply | int]] = []
        for index, (request, answer) in enumerate(zip(requests, answers, strict=True)):
            head, body = split_response(answer)
            assert head.request_id == 7
            assert head.sequence == self._sequence - len(requests) + 1 + index
            if head.error_type:
                assert (head.error_class, body) == (1, b"")
                told.append((head.modifier, head.error_type))
            else:
                told.append((head.modifier, parse_reply(request.operation, body)))
        return told


class OMICase(EngineCase):
    """A listening front end whose engine takes any project."""

    frontend_options: Mapping[str, Any] = {}
    durability = "message"

    async def setUp(self) -> None:
        await super().setUp()
        self.backend.takes = lambda request: True  # type: ignore[method-assign]
        self.time = Clock()
        self.globals = Globals(self.root / "globals", reactor, durability=self.durability)
        self.globals.open()
        self.addCleanup(self.globals.close)
        self.locks = LockTable()
        services: Any = Services(self.engine, self.time, self.globals, self.locks)
        self.frontend = OMIFrontEndPlugin().build(services, self.frontend_options)
        self.frontend.startService()
        self.port = reactor.listenTCP(0, self.frontend.factory, interface="127.0.0.1", backlog=2000)
        self.addCleanup(self.close_frontend)

    async def close_frontend(self) -> None:
        await self.port.stopListening()
        stopped = self.frontend.stopService()
        self.time.advance(5)
        await stopped

    async def circuit(self) -> Circuit:
        """A circuit without a session."""
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.port.getHost().port)
        circuit = await connectProtocol(endpoint, Circuit())
        self.addCleanup(self.drop, circuit)
        return circuit

    async def drop(self, circuit: Circuit) -> None:
        """Cut a circuit, unless it is cut."""
        if not circuit.closed.called:
            circuit.transport.abortConnection()
        await circuit.closed

    def server_side(self, circuit: Circuit) -> OMIProtocol:
        """The server's protocol of a circuit."""
        port = circuit.transport.getHost().port  # type: ignore[union-attr]
        return next(one for one in self.frontend.factory._open if one.transport.getPeer().port == port)

    async def session(self, major: int = 2, **connect: Any) -> Circuit:
        """A circuit with a session."""
        circuit = await self.circuit()
        reply = await circuit.ask(Connect(major=major, **connect))
        assert not isinstance(reply, int), reply
        circuit.is_bunched = major == 2 or 1 in connect.get("extensions", ())
        return circuit
