"""The front end on a real loopback socket, before a real engine, with clocks that the test moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from pfserver.frontends.pageflex import PageflexFrontEndPlugin
from tests.engine.support import EngineCase

VECTORS = Path(__file__).parents[2] / "vectors" / "pageflex"


def vector(name: str) -> bytes:
    """The packet whose file begins with ``name``."""
    [path] = VECTORS.glob(f"{name}*")
    return path.read_bytes()


def packet(command: str, /, document_variables: Mapping[str, str] = {}, **variables: str) -> bytes:
    """A plain UTF-8 packet."""

    def block(tag: str, values: Mapping[str, str]) -> str:
        inner = "".join(f'<p:var name="{name}">{value}</p:var>' for name, value in values.items())
        return f"<p:{tag}>{inner}</p:{tag}>"

    return (
        f'<p:job_command xmlns:p="http://www.pageflex.com/schemas" name="{command}">'
        f"{block('job_variables', variables)}{block('doc_variables', document_variables)}</p:job_command>"
    ).encode()


def submission(**variables: str) -> bytes:
    """A packet that submits a job."""
    return packet("SubmitJob", ProjectName="p.pf", JobName="Job 1", **variables)


@frozen
class Services:
    engine: Any
    clock: Any
    build_string: str = "pfserver 1 (Python 3, Twisted 26)"


class Client(Protocol):
    """Keeps what it receives; ``closed`` fires with all of it once the server has closed."""

    def __init__(self) -> None:
        self.received = b""
        self.closed: Deferred[bytes] = Deferred()
        self.reason: Failure = connectionDone

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.reason = reason
        self.closed.callback(self.received)


class FrontEndCase(EngineCase):
    """A listening front end whose engine takes any project."""

    frontend_options: Mapping[str, Any] = {}

    async def setUp(self) -> None:
        await super().setUp()
        self.backend.takes = lambda request: True  # type: ignore[method-assign]
        services: Any = Services(self.engine, self.clock)
        self.frontend = PageflexFrontEndPlugin().build(services, self.frontend_options)
        self.port = reactor.listenTCP(0, self.frontend.factory, interface="127.0.0.1")
        self.addCleanup(self.close_frontend)

    async def close_frontend(self) -> None:
        await self.port.stopListening()
        stopped = self.frontend.stopService()
        await self.until(lambda: stopped.called)

    def connections(self) -> Sequence[Any]:
        """The connections that the front end has."""
        return list(self.frontend.factory._open)

    def received(self) -> list[int]:
        """How many bytes each connection has read of its packet."""
        return [one._reader._size for one in self.connections() if one._reader is not None]

    async def connect(self, data: bytes = b"") -> Client:
        """A client that has sent something."""
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.port.getHost().port)
        client = await connectProtocol(endpoint, Client())
        client.transport.write(data)
        return client

    async def talk(self, data: bytes) -> bytes:
        """Send, and give all that comes until the server closes."""
        client = await self.connect(data)
        await self.until(lambda: client.closed.called)
        return await client.closed

    async def assert_refused(self, data: bytes, number: int) -> str:
        """The packet is answered with this R number and nothing is stored; gives the reply's text."""
        reply = (await self.talk(data)).decode("cp1252")
        self.assertRegex(reply, rf"\AR{number:07d}: [^\r\n]+\r\n\Z")
        self.assertEqual(await self.engine.recent_jobs(), [])
        return reply
