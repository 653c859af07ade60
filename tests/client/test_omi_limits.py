"""The OMI clients' limits: on time, and on what fits into a message."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure

from pfserver.client.errors import NoServer
from pfserver.client.omi import OMIClient
from pfserver.client.omi_blocking import BlockingOMIClient
from pfserver.client.omi_calls import subscript_of
from pfserver.wire.omi import Kill, OMIError, Order, Reference, Set, bunch
from tests.frontends.omi.support import OMICase


class Silent(Protocol):
    """A server that hears and says nothing."""

    def __init__(self) -> None:
        self.heard: Deferred[bytes] = Deferred()
        self.lost: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.heard.callback(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost.callback(None)


class LimitTests(OMICase):
    def silent(self) -> tuple[TCP4ClientEndpoint, Silent]:
        server = Silent()
        factory = Factory.forProtocol(lambda: server)
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port), server

    async def test_a_connect_that_is_cancelled_leaves_no_circuit(self) -> None:
        endpoint, server = self.silent()
        connecting = ensureDeferred(OMIClient.connect(endpoint))
        await server.heard
        connecting.cancel()
        await self.assertFailure(connecting, CancelledError)
        await server.lost

    async def test_a_connect_has_a_limit(self) -> None:
        endpoint, server = self.silent()
        clock = Clock()
        connecting = ensureDeferred(OMIClient.connect(endpoint, reactor=clock, seconds=5))
        await server.heard
        clock.pump([5, 0])
        error = await self.assertFailure(connecting, NoServer)
        self.assertIn("in time", str(error))
        await server.lost

    async def test_calls_have_a_limit(self) -> None:
        clock = Clock()
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.port.getHost().port)
        client = await OMIClient.connect(endpoint, reactor=clock, seconds=5)
        self.assertEqual(clock.getDelayedCalls(), [])
        held: Deferred[None] = Deferred()
        asked: Deferred[None] = Deferred()
        write = self.globals.write

        async def late(function: Any) -> Any:
            asked.callback(None)
            await held
            return await write(function)

        self.patch(self.globals, "write", lambda function: Deferred.fromCoroutine(late(function)))
        calls = [client.increment(7, "X")]
        clock.advance(0)
        await asked
        calls.append(client.get("X"))
        clock.advance(4)
        self.assertFalse(any(call.called for call in calls))
        clock.pump([1, 0])
        for call in [*calls, client.get("X")]:
            await self.assertFailure(call, NoServer)
        await client._protocol.closed
        held.callback(None)

    async def test_an_answer_that_lies_in_the_socket_is_in_time(self) -> None:
        """Where it was the program that stood still."""
        clock = Clock()
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.port.getHost().port)
        client = await OMIClient.connect(endpoint, reactor=clock, seconds=5)
        call = client.get("X")
        clock.advance(0)
        # The reactor calls what is due before it looks at sockets.
        clock.getDelayedCalls()[0].cancel()
        client._protocol._late()
        self.assertEqual(await call, None)
        self.assertEqual(clock.getDelayedCalls(), [])

    async def test_no_limit(self) -> None:
        clock = Clock()
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.port.getHost().port)
        client = await OMIClient.connect(endpoint, reactor=clock, seconds=None)
        call = client.get("X")
        clock.advance(0)
        self.assertEqual(clock.getDelayedCalls(), [])
        self.assertEqual(await call, None)


class NarrowTests(OMICase):
    """Messages of a size that is soon reached."""

    frontend_options: Any = {"message_bytes": 1024}

    async def client(self) -> OMIClient:
        client = await OMIClient.at("127.0.0.1", self.port.getHost().port)
        self.addCleanup(client.disconnect)
        return client

    async def test_calls_that_are_too_long_fail_alone_however_many(self) -> None:
        client = await self.client()
        calls = [client.set(b"v" * 2_000, "V", n) for n in range(1_500)]
        good = [client.set("v", "V"), client.get("V")]
        for call in calls:
            error = await self.assertFailure(call, OMIError)
            self.assertEqual(error.type, 5)
        self.assertEqual(await gatherResults(good), [None, b"v"])

    async def test_the_longest_that_fits(self) -> None:
        client = await self.client()
        longest = 1024 - len(bunch([bytes(12) + Set(Reference(b"", b"V"), b"").pack()]))
        await client.set(b"v" * longest, "V")
        self.assertEqual(await client.get("V"), b"v" * longest)
        await self.assertFailure(client.set(b"v" * (longest + 1), "V"), OMIError)

    async def test_fetches_whose_answers_are_too_long_together_come_alone(self) -> None:
        client = await self.client()
        long = ["a" * 250, "b" * 250]
        await gatherResults([client.set("v", "X", one) for one in long])
        for call, expected in (
            (lambda: client.order("X", ""), b"a" * 250),
            (lambda: client.reverse_order("X", ""), b"b" * 250),
            (lambda: client.query("X"), Reference(b"", b"X", (b"a" * 250,))),
            (lambda: client.reverse_query("X", ""), Reference(b"", b"X", (b"b" * 250,))),
        ):
            self.assertEqual(await gatherResults([call() for _ in range(8)]), [expected] * 8)
        # The value leaves no room for even one byte more than an error has.
        value = b"v" * (1024 - 6 - 3 * (4 + 12) - 3)
        await client.set(value, "V")
        calls = [client.get("V"), client.define("X"), client.define("V")]
        self.assertEqual(await gatherResults(calls), [value, 10, 1])

    async def test_what_walks_again_finds_what_was_there_when_it_was_called(self) -> None:
        client = await self.client()
        long, first = "b" * 250, Reference(b"", b"X", (b"b" * 250,))
        # Leaves no room for even one byte more than errors have.
        value = b"v" * (1024 - 6 - 5 * (4 + 12) - 3)
        await client.set(value, "V")
        for call, expected, change in (
            (lambda: client.order("X", ""), long.encode(), lambda: client.set("v", "X", "a")),
            (lambda: client.reverse_order("X", ""), long.encode(), lambda: client.set("v", "X", "c")),
            (lambda: client.query("X"), first, lambda: client.increment(1, "X", "a", "below")),
            (lambda: client.reverse_query("X", ""), first, lambda: client.kill("X", long)),
            (lambda: client.define("X", "a"), 0, lambda: client.set("v", "X", "a", "below")),
            (lambda: client.define("X"), 10, lambda: client.kill("X")),
            (lambda: client.order("W"), b"^X", lambda: client.set("v", "Wa")),
        ):
            await gatherResults([client.kill("X"), client.set("v", "X", long)])
            large = client.get("V")
            fetches = [call() for _ in range(4)]
            changed = change()
            self.assertEqual(await gatherResults(fetches), [expected] * 4)
            self.assertEqual(await large, value)
            await changed

    async def test_the_blocking_client_asks_again_as_well(self) -> None:
        long = b"a" * 250
        place = Reference(b"", b"X", (long,))

        def work() -> list[Any]:
            with BlockingOMIClient("127.0.0.1", self.port.getHost().port) as client:
                client.set("v", "X", long)
                fetches = [Order(Reference(b"", b"X", (b"",)))] * 8
                answers = client.ask_all([*fetches, Kill(place), *fetches])
                with self.assertRaises(OMIError):
                    client.ask_all([Set(place, b"v"), Set(place, b"v" * 2_000)])
                return [*map(subscript_of, answers), client.get("X", long)]

        self.assertEqual(await deferToThread(work), [long] * 8 + [b""] * 9 + [None])
