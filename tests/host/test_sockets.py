"""Writing past the reactor, on real sockets: all comes in order, and what wraps a socket is not passed by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from OpenSSL.SSL import Connection as TLSConnection
from twisted.internet import reactor as any_reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.internet.ssl import CertificateOptions, KeyPair
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from pfserver.host.sockets import plain_socket, send_now, write_at_once

reactor: Any = any_reactor

#: More than the kernel keeps for a connection that nobody reads.
MUCH = bytes(range(256)) * 64 * 1024


class Peer(Protocol):
    """Either end: remembers what it gets."""

    transport: Any

    def __init__(self) -> None:
        self.received = bytearray()
        self.lost: Deferred[Failure] = Deferred()

    def connectionMade(self) -> None:
        if self.factory is not None:
            self.factory.made.append(self)  # type: ignore[attr-defined]

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost.callback(None)  # type: ignore[arg-type]


class AnyCertificate(CertificateOptions):
    """A client that takes whatever certificate the server has."""

    def clientConnectionForTLS(self, protocol: Any) -> Any:
        return TLSConnection(self.getContext(), None)


class SocketCase(TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.factory: Any = ServerFactory.forProtocol(Peer)
        self.factory.made = []
        self.port = self.listen()
        self.addCleanup(self.port.stopListening)

    def listen(self) -> Any:
        return reactor.listenTCP(0, self.factory, interface="127.0.0.1")

    def endpoint(self) -> Any:
        return TCP4ClientEndpoint(reactor, "127.0.0.1", self.port.getHost().port)

    async def connect(self) -> tuple[Peer, Peer]:
        """A client, and the server's end of it."""
        client = await connectProtocol(self.endpoint(), Peer())
        await self.until(lambda: self.factory.made)
        (server,) = self.factory.made
        self.addCleanup(self.end, client, server)
        return client, server

    async def end(self, *ends: Peer) -> None:
        for one in ends:
            if not one.lost.called:
                one.transport.abortConnection()
            await self.until(lambda one=one: one.lost.called)

    async def until(self, condition: Callable[[], Any]) -> None:
        while not condition():
            await deferLater(reactor, 0.001)


class PlainTests(SocketCase):
    async def test_all_at_once(self) -> None:
        client, server = await self.connect()
        self.assertIs(plain_socket(server.transport), server.transport)
        self.assertTrue(write_at_once(server.transport, b"one "))
        self.assertTrue(write_at_once(server.transport, b"two"))
        await self.until(lambda: client.received == b"one two")

    async def test_a_peer_that_does_not_read(self) -> None:
        client, server = await self.connect()
        client.transport.pauseProducing()
        self.assertFalse(write_at_once(server.transport, MUCH))
        # What waits goes first.
        self.assertFalse(write_at_once(server.transport, b"last"))
        server.transport.write(b" of all")
        client.transport.resumeProducing()
        await self.until(lambda: len(client.received) >= len(MUCH) + 11)
        self.assertTrue(client.received == MUCH + b"last of all")
        self.assertTrue(write_at_once(server.transport, b"!"))

    async def test_what_the_transport_has_to_write_goes_first(self) -> None:
        client, server = await self.connect()
        server.transport.write(b"first ")
        self.assertFalse(write_at_once(server.transport, b"second"))
        await self.until(lambda: client.received == b"first second")

    async def test_sent_now(self) -> None:
        client, server = await self.connect()
        send_now(server.transport)
        server.transport.write(b"one ")
        server.transport.write(b"two")
        send_now(server.transport)
        self.assertFalse(server.transport.dataBuffer or server.transport._tempDataBuffer)
        await self.until(lambda: client.received == b"one two")

    async def test_sent_now_to_a_peer_that_does_not_read(self) -> None:
        client, server = await self.connect()
        client.transport.pauseProducing()
        for piece in (MUCH, b" and", b" more"):
            server.transport.write(piece)
            send_now(server.transport)
        client.transport.resumeProducing()
        await self.until(lambda: len(client.received) >= len(MUCH) + 9)
        self.assertTrue(client.received == MUCH + b" and more")

    async def test_sent_now_before_the_end(self) -> None:
        client, server = await self.connect()
        server.transport.write(b"the end")
        server.transport.loseConnection()
        send_now(server.transport)
        await self.until(lambda: server.lost.called and client.lost.called)
        self.assertEqual(client.received, b"the end")
        send_now(server.transport)

    async def test_a_peer_that_is_gone(self) -> None:
        client, server = await self.connect()
        # It does not notice by reading.
        server.transport.pauseProducing()
        client.transport.abortConnection()
        await client.lost
        while write_at_once(server.transport, b"x"):
            await deferLater(reactor, 0.001)
        await self.until(lambda: server.lost.called)
        # Nothing happens any more.
        self.assertFalse(write_at_once(server.transport, b"x"))


class TLSTests(SocketCase):
    """From the first byte, and begun later."""

    certificate = KeyPair.generate(size=2048).selfSignedCert(1, CN="localhost")

    def listen(self) -> Any:
        return reactor.listenSSL(0, self.factory, self.certificate.options(), interface="127.0.0.1")

    def endpoint(self) -> Any:
        return wrapClientTLS(AnyCertificate(), super().endpoint())

    async def test_it_is_not_passed_by(self) -> None:
        client, server = await self.connect()
        self.assertIsNone(plain_socket(server.transport))
        self.assertFalse(write_at_once(server.transport, b"secret"))
        send_now(server.transport)
        await self.until(lambda: client.received == b"secret")


class StartTLSTests(SocketCase):
    async def test_it_is_not_passed_by(self) -> None:
        client, server = await self.connect()
        server.transport.startTLS(TLSTests.certificate.options())
        client.transport.startTLS(AnyCertificate())
        self.assertIsNone(plain_socket(server.transport))
        self.assertFalse(write_at_once(server.transport, b"secret"))
        await self.until(lambda: client.received == b"secret")


class NoneTests(TestCase):
    def test_no_transport(self) -> None:
        self.assertIsNone(plain_socket(None))
