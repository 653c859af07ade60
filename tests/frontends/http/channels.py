"""Connections without a socket: what they are sent, and when, is exact."""

from __future__ import annotations

from pathlib import Path

from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.task import deferLater
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from pfserver.frontends.http.site import Channel
from pfserver.wire.xmlrpc import Fault, Reader, Response
from tests.frontends.http.support import HttpCase

VECTORS = Path(__file__).parent.parent.parent / "vectors" / "officeshots"
POLL = (VECTORS / "poll-request.xml").read_bytes()


def answer(data: bytes) -> Response | Fault:
    """The answer in a whole HTTP response."""
    head, _, body = data.partition(b"\r\n\r\n")
    assert head.startswith((b"HTTP/1.1 200 OK", b"HTTP/1.0 200 OK")), head
    reader = Reader()
    reader.feed(body)
    result = reader.close()
    assert not hasattr(result, "method")
    return result  # type: ignore[return-value]


class Transport(StringTransport):
    """Notices an abort; takes so many bytes and then no more for now."""

    aborted = False
    appetite = 1_000_000_000

    def write(self, data: bytes) -> None:
        super().write(data)
        if len(self.value()) > self.appetite and self.producer is not None:
            self.producer.pauseProducing()

    def abortConnection(self) -> None:
        self.aborted = True
        super().abortConnection()


class ChannelCase(HttpCase):
    """Connections without a socket: what they are sent and when is exact."""

    def connect(self, host: str = "127.0.0.1") -> tuple[Transport, Channel]:
        address = IPv4Address("TCP", host, 1234)
        channel = self.frontend.factory.buildProtocol(address)
        transport = Transport(hostAddress=address, peerAddress=address)
        channel.makeConnection(transport)
        self.addCleanup(self.disconnect, channel)
        return transport, channel

    def disconnect(self, channel: Channel) -> None:
        if channel in self.frontend.factory._open:
            channel.connectionLost(Failure(ConnectionDone()))

    async def received(self, transport: Transport) -> bytes:
        """Wait until something was sent."""
        while not transport.value():
            await deferLater(reactor, 0.001)
        return transport.value()
