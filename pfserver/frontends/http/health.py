"""``/healthz`` for load balancers and ``/metrics`` for Prometheus."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from pfserver.errors import NotAllowed
from pfserver.frontends.http.api import XMLRPC
from pfserver.frontends.http.identity import Doorkeeper
from pfserver.frontends.http.site import Request
from pfserver.interfaces import IEngine, IFactories

log = Logger(namespace="pfserver.frontends.http.health")


class Health(Resource):
    """200 as long as the store answers."""

    isLeaf = True

    def __init__(self, engine: IEngine) -> None:
        super().__init__()
        self._engine = engine

    def render_GET(self, request: Request) -> int:
        """Ask the store for something small."""
        asking = Deferred.fromCoroutine(_answer(request, self._text()))
        asking.addErrback(_unwell, request)
        return NOT_DONE_YET

    async def _text(self) -> str:
        await self._engine.queue_length()
        return "ok\n"


class Metrics(Resource):
    """Counters in Prometheus' text format. They name factories, so strangers do not see them."""

    isLeaf = True

    def __init__(self, engine: IEngine, factories: IFactories, api: XMLRPC, doorkeeper: Doorkeeper) -> None:
        super().__init__()
        self._engine = engine
        self._factories = factories
        self._api = api
        self._doorkeeper = doorkeeper

    def render_GET(self, request: Request) -> int:
        """All of them."""
        asking = Deferred.fromCoroutine(_answer(request, self._text(request)))
        asking.addErrback(_not_allowed, request)
        asking.addErrback(_unwell, request)
        return NOT_DONE_YET

    async def _text(self, request: Request) -> str:
        await self._doorkeeper.identify(request)
        factories = await self._factories.factories()
        lines = ["# TYPE pfserver_jobs_waiting gauge"]
        for queue in self._engine.queue_names():
            lines.append(f'pfserver_jobs_waiting{{queue="{_quote(queue)}"}} {await self._engine.queue_length(queue)}')
        lines.append("# TYPE pfserver_xmlrpc_calls_total counter")
        for method, count in sorted(self._api.calls.items()):
            lines.append(f'pfserver_xmlrpc_calls_total{{method="{method}"}} {count}')
        lines += ["# TYPE pfserver_xmlrpc_faults_total counter", f"pfserver_xmlrpc_faults_total {self._api.faults}"]
        for name, kind in (("polls", "counter"), ("leased", "counter"), ("finished", "counter")):
            lines.append(f"# TYPE pfserver_factory_{name}_total {kind}")
            for factory in factories:
                lines.append(
                    f'pfserver_factory_{name}_total{{factory="{_quote(factory.name)}"}} {getattr(factory, name)}'
                )
        return "\n".join(lines) + "\n"


async def _answer(request: Request, text: object) -> None:
    body: str = await text  # type: ignore[misc]
    if not request._disconnected:
        request.answer(body.encode("utf-8"), b"text/plain; version=0.0.4; charset=utf-8")


def _not_allowed(failure: Failure, request: Request) -> None:
    failure.trap(NotAllowed)
    if not request._disconnected:
        request.setResponseCode(403)
        request.answer(f"{failure.getErrorMessage()}\n".encode(), b"text/plain")


def _unwell(failure: Failure, request: Request) -> None:
    log.failure("http.unwell", failure)
    if not request._disconnected:
        request.setResponseCode(503)
        request.answer(b"unwell\n", b"text/plain")


def _quote(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
