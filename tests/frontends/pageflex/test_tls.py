"""The socket API over TLS, as an ``ssl:`` endpoint gives it: the same conversation, and a clean end."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.error import ConnectionDone
from twisted.internet.ssl import CertificateOptions, KeyPair

from pfserver.frontends.pageflex.protocol import LINGER
from tests.frontends.pageflex.support import Client, FrontEndCase, packet, submission


class AnyCertificate(CertificateOptions):
    """A client that takes whatever certificate the server has."""

    def clientConnectionForTLS(self, protocol: Any) -> Any:
        from OpenSSL.SSL import Connection

        return Connection(self.getContext(), None)


class TlsTests(FrontEndCase):
    async def setUp(self) -> None:
        await super().setUp()
        certificate = KeyPair.generate(size=2048).selfSignedCert(1, CN="localhost")
        self.tls = reactor.listenSSL(0, self.frontend.factory, certificate.options(), interface="127.0.0.1")
        self.addCleanup(self.tls.stopListening)

    async def connect(self, data: bytes = b"") -> Client:
        tcp = TCP4ClientEndpoint(reactor, "127.0.0.1", self.tls.getHost().port)
        client = await connectProtocol(wrapClientTLS(AnyCertificate(), tcp), Client())
        client.transport.write(data)
        return client

    async def test_a_reply_and_a_monitor_end_cleanly(self) -> None:
        for data, end in (
            (packet("GetBuildString"), b"Twisted 26)\r\n"),
            (submission(_sys_ClientJobMonitor="true"), b"Transaction T0000001 ended\r\n"),
            (b"no packet", b"does not begin with <\r\n"),
        ):
            client = await self.connect(data)
            await self.until(lambda client=client: client.closed.called)
            self.assertTrue(client.received.endswith(end), client.received)
            # Anything else is how TLS libraries say that the end may be missing.
            self.assertIsInstance(client.reason.value, ConnectionDone)

    async def test_a_client_that_does_not_close_is_closed(self) -> None:
        client = await self.connect(packet("GetBuildString"))
        transport: Any = client.transport
        transport._shutdownTLS = lambda: None
        await self.until(lambda: client.received)
        self.clock.advance(LINGER)
        await self.until(lambda: not self.frontend.factory._open)
