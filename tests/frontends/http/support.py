"""A server with a real engine, store and port, whose clock a test moves; and peers that block, for threads."""

from __future__ import annotations

import base64
import http.client
import socket
import xmlrpc.client
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import define
from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock, deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from pfserver.backends.factory import FactoryBackendPlugin
from pfserver.engine.feed import Feed
from pfserver.engine.locks import LockTable
from pfserver.engine.reports import Tools
from pfserver.engine.service import Engine, EngineOptions
from pfserver.frontends.http import HttpFrontEndPlugin
from pfserver.interfaces import IFrontEndServices
from pfserver.remote import Factory, Worker
from pfserver.store.database import Database
from pfserver.store.factories import Factories
from pfserver.store.handouts import Handouts
from pfserver.store.jobs import JobStore
from pfserver.store.outputs import Outputs
from tests.backends.office import samples
from tests.backends.office.fakes import FakeServices

PDF = b"%PDF-1.4\n"


@implementer(IFrontEndServices)
@define(kw_only=True)
class Services:
    """See ``IFrontEndServices``."""

    engine: Any
    reactor: Any
    clock: Any
    state: Path
    store: Any
    factories: Any
    projects_root: Path
    locks: Any
    build_string: str = "pfserver"


class HttpCase(TestCase):
    """The front end with the factory backend behind it."""

    timeout = 60
    options: Mapping[str, Any] = {}
    shared = False
    """Whether other servers have the same jobs."""

    async def setUp(self) -> None:
        self.root = Path(self.mktemp()).absolute()
        self.state, self.projects = self.root / "state", self.root / "projects"
        self.projects.mkdir(parents=True)
        samples.odt(self.projects / "letter.odt")
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.database = Database(f"sqlite:///{self.root / 'jobs.sqlite'}", reactor)
        await deferToThread(self.database.open)
        self.handouts = Handouts()
        self.engine = self.build_engine("node-1", self.state)
        await self.engine.start()
        self.factories = Factories(self.database, self.clock, self.handouts)
        self.locks = LockTable()
        services = Services(
            engine=self.engine,
            reactor=reactor,
            clock=self.clock,
            state=self.state,
            store=self.database,
            factories=self.factories,
            projects_root=self.projects,
            locks=self.locks,
        )
        self.frontend = HttpFrontEndPlugin().build(services, self.options)
        self.frontend.startService()
        self.port = await self.listen()
        self.number = self.port.getHost().port
        self.addCleanup(lambda: ensureDeferred(self.close()))

    def build_engine(self, node: str, state: Path) -> Engine:
        """The engine of a server, whose jobs are in the one database."""
        home = node if self.shared else ""
        services = FakeServices(reactor=reactor, clock=self.clock, projects_root=self.projects, state=state, home=home)
        backends = [FactoryBackendPlugin().build(services, {})]
        store = JobStore(self.database, self.clock, self.handouts)
        outputs, feed = Outputs(self.root / "output"), Feed(store, self.clock)
        tools = Tools(store, outputs, feed, self.clock, deferToThread, node)
        return Engine(EngineOptions(host="press-1"), backends, None, tools)

    async def listen(self) -> Any:
        return reactor.listenTCP(0, self.frontend.factory, interface="127.0.0.1")  # type: ignore[attr-defined]

    async def close(self) -> None:
        await self.port.stopListening()
        self.frontend.stopService()
        await self.stop(self.engine)
        while self.frontend.factory._open:
            await deferLater(reactor, 0.001)  # type: ignore[arg-type]
        await deferToThread(self.database.close)

    async def stop(self, engine: Engine) -> None:
        stopping = Deferred.fromCoroutine(engine.stop())
        while not stopping.called:
            await deferLater(reactor, 0.001)  # type: ignore[arg-type]
            self.clock.advance(0.05)
        await stopping

    # -- what tests need --------

    async def add_factory(self, name: str = "My factory", account: str = "", **changes: Any) -> None:
        workers = changes.pop("workers", (Worker(application="LibreOffice Writer", version="7.4"),))
        await self.factories.put_factory(Factory(name=name, account=account, workers=workers, **changes))

    def proxy(self, **options: Any) -> xmlrpc.client.ServerProxy:
        return xmlrpc.client.ServerProxy(f"http://127.0.0.1:{self.number}/xmlrpc", **options)

    async def call(self, method: str, *params: Any) -> Any:
        """Call a method with the standard library's client."""

        def work() -> Any:
            with self.proxy() as proxy:
                return getattr(proxy, method)(*params)

        return await deferToThread(work)

    async def fault(self, code: int, method: str, *params: Any) -> str:
        """Call a method that must answer with this fault; gives its text."""
        try:
            result = await self.call(method, *params)
        except xmlrpc.client.Fault as fault:
            self.assertEqual(fault.faultCode, code, fault.faultString)
            self.assertNotIn(str(self.root), fault.faultString)
            return fault.faultString
        self.fail(f"no fault but {result!r}")
        return None

    async def submit(self, **changes: Any) -> list[str]:
        request = {"filename": "letter.odt", "applications": [{"application": "LibreOffice Writer"}], "format": "pdf"}
        result = await self.call("pfserver.submit", {**request, **changes})
        assert isinstance(result, list)
        return result

    async def post(self, body: bytes, headers: Mapping[str, str] | None = None, path: str = "/xmlrpc") -> Any:
        """Send a request; gives status, headers and body."""

        def work() -> Any:
            connection = http.client.HTTPConnection("127.0.0.1", self.number, timeout=30)
            connection.request("POST" if body else "GET", path, body or None, dict(headers or {}))
            response = connection.getresponse()
            result = response.status, response.headers, response.read()
            connection.close()
            return result

        return await deferToThread(work)

    async def raw(self, data: bytes) -> bytes:
        """Send bytes, read to the end."""

        def work() -> bytes:
            with socket.create_connection(("127.0.0.1", self.number), timeout=30) as connection:
                connection.sendall(data)
                received = b""
                while chunk := connection.recv(65536):
                    received += chunk
                return received

        return await deferToThread(work)

    def uploads(self) -> list[str]:
        """What lies there, complete or not."""
        return [path.name for path in (self.state / "uploads").rglob("*") if path.is_file()]


def encoded(data: bytes) -> str:
    """Base64 text."""
    return base64.b64encode(data).decode("ascii")
