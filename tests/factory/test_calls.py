"""The calls of a factory over one kept connection, of all lengths."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from twisted.internet import reactor as any_reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import Site

from pfserver.factory.calls import SMALL, Calls
from pfserver.wire.xmlrpc import Limits, encode_response

reactor: Any = any_reactor


class Document(BytesIO):
    """A document of so many bytes."""

    def __init__(self, size: int) -> None:
        super().__init__(b"x" * size)
        self.size = size


class Counting(Resource):
    """Answers each call with how many bytes it had."""

    isLeaf = True

    def render_POST(self, request: Any) -> bytes:
        return bytes(encode_response(len(request.content.read())))


class CallsTests(TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.connections = 0
        site = Site(Counting())
        build = site.buildProtocol

        def count(address: Any) -> Any:
            self.connections += 1
            return build(address)

        site.buildProtocol = count  # type: ignore[method-assign]
        port = reactor.listenTCP(0, site, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        url = f"http://127.0.0.1:{port.getHost().port}/xmlrpc"
        self.calls = Calls(reactor, url, policy=None, limits=Limits())
        self.addCleanup(self.calls.close)

    async def test_long_calls_follow_short_ones(self) -> None:
        # About the length at which a call is sent piece by piece, and at which a transport asks to pause.
        for size in (10, SMALL // 4 * 3 - 300, SMALL // 4 * 3, 50_000, 70_000, 400_000, 1_000, 400_000):
            # Not as the end of the call before: what is written is sent before there is more.
            call = deferLater(reactor, 0.01, lambda size=size: Deferred.fromCoroutine(self.call(size)))
            answer: Any = await call
            self.assertGreater(answer, size * 4 // 3)
        self.assertEqual(self.connections, 1)

    async def call(self, size: int) -> Any:
        return await self.calls.call("jobs.finish", "My factory", "a job", "pdf", Document(size))
