"""The hub on real loopback sockets: it reads, and all else stays with the transports."""

from __future__ import annotations

import itertools
import select
import socket
import struct
from typing import Any

from twisted.internet import reactor as any_reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from pfserver.host import hub
from pfserver.host.hub import AT_ONCE, LOOKS, READ_BYTES, REST, SHORT, ReadHub

reactor: Any = any_reactor


class Echo(Protocol):
    """Answers what it reads; ``!`` is a fault."""

    def connectionMade(self) -> None:
        factory: Any = self.factory
        self.hub: ReadHub = factory.hub
        self.lost: Deferred[None] = Deferred()
        self.reason = connectionDone
        factory.made.append(self)
        self.left_over: list[bytes] = []
        self.is_read()

    def is_read(self) -> None:
        self.hub.add(self.transport, self.received, self.unsent)  # type: ignore[arg-type]

    def received(self, data: bytes) -> bytes | None:
        if b"!" in data:
            raise ZeroDivisionError("a fault")
        return data

    def unsent(self, data: bytes) -> None:
        self.left_over.append(data)
        self.transport.write(data)  # type: ignore[union-attr]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.hub.discard(self.transport)  # type: ignore[arg-type]
        self.reason = reason
        self.lost.callback(None)


class Client(Protocol):
    def __init__(self) -> None:
        self.received = b""
        self.lost: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost.callback(None)


def hears(server: Echo, function: Any) -> None:
    """Have a server's side call something else with what it reads."""
    server.hub.discard(server.transport)  # type: ignore[arg-type]
    server.received = function  # type: ignore[method-assign]
    server.is_read()


def readable(servers: list[Echo]) -> int:
    """How many have something to read; the hub does not notice that somebody looks."""
    poller = select.poll()
    for server in servers:
        poller.register(server.transport.socket, select.POLLIN)  # type: ignore[union-attr]
    return len(poller.poll(0))


class HubTests(TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.hub = ReadHub()
        self.factory: Any = ServerFactory.forProtocol(Echo)
        self.factory.hub = self.hub
        self.factory.made = []
        self.port = reactor.listenTCP(0, self.factory, interface="127.0.0.1")
        self.addCleanup(self.port.stopListening)

    async def connect(self) -> tuple[Client, Echo]:
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.port.getHost().port)
        count = len(self.factory.made)
        client = await connectProtocol(endpoint, Client())
        await self.until(lambda: len(self.factory.made) > count)
        return client, self.factory.made[-1]

    async def until(self, condition: Any) -> None:
        while not condition():
            await deferLater(reactor, 0.001)

    async def close(self, client: Client, server: Echo) -> None:
        client.transport.loseConnection()  # type: ignore[union-attr]
        await server.lost
        await client.lost

    async def test_each_gets_its_own(self) -> None:
        pairs = [await self.connect() for _ in range(20)]
        for number, (client, _) in enumerate(pairs):
            client.transport.write(b"%d" % number * 5)  # type: ignore[union-attr]
        for number, (client, _) in enumerate(pairs):
            await self.until(lambda client=client: len(client.received) >= 5)
            self.assertEqual(client.received, b"%d" % number * 5)
        for client, server in pairs:
            await self.close(client, server)
        self.assertNotIn(self.hub, reactor.getReaders())

    async def test_an_end_is_the_transport_s(self) -> None:
        client, server = await self.connect()
        client.transport.loseConnection()  # type: ignore[union-attr]
        await server.lost
        self.assertIsNotNone(server.reason.check(ConnectionDone))
        await client.lost
        self.assertNotIn(self.hub, reactor.getReaders())

    async def test_a_reset_is_told_as_one(self) -> None:
        client, server = await self.connect()
        client.transport.abortConnection()  # type: ignore[union-attr]
        await server.lost
        self.assertIsNotNone(server.reason.check(ConnectionLost))
        await client.lost
        self.assertNotIn(self.hub, reactor.getReaders())

    async def test_a_fault_ends_one_connection_only(self) -> None:
        (bad, broken), (good, server) = await self.connect(), await self.connect()
        bad.transport.write(b"!")  # type: ignore[union-attr]
        await broken.lost
        self.assertIsNotNone(broken.reason.check(ConnectionAborted))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        await bad.lost
        good.transport.write(b"still here")  # type: ignore[union-attr]
        await self.until(lambda: good.received == b"still here")
        await self.close(good, server)

    async def test_nor_does_a_fault_when_it_is_written_to_or_lost(self) -> None:
        pairs = [await self.connect() for _ in range(3)]
        (_, full), (_, gone), _ = pairs
        lost = gone.connectionLost

        def fault(*arguments: Any) -> None:
            if arguments and isinstance(arguments[0], Failure):
                lost(arguments[0])
            raise ZeroDivisionError("a fault")

        hears(full, lambda data: b"z" * 50_000_000)
        self.hub.discard(full.transport)  # type: ignore[arg-type]
        full.unsent = gone.connectionLost = fault  # type: ignore[method-assign]
        full.is_read()
        reactor.removeReader(self.hub)
        gone_client = pairs[1][0].transport
        gone_client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # type: ignore[union-attr]
        for client, _ in pairs:
            client.transport.socket.send(b"x")  # type: ignore[union-attr]
        gone_client.abortConnection()  # type: ignore[union-attr]
        await pairs[1][0].lost
        await self.until(lambda: readable([server for _, server in pairs]) == 3)
        self.hub.doRead()
        reactor.addReader(self.hub)
        await self.until(lambda: pairs[2][0].received == b"x")
        await gone.lost
        await full.lost
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        await pairs[0][0].lost
        await self.close(*pairs[2])

    async def test_discarded_it_is_not_read_and_added_again_it_is(self) -> None:
        (client, server), (other, other_server) = await self.connect(), await self.connect()
        self.hub.discard(server.transport)  # type: ignore[arg-type]
        client.transport.write(b"one")  # type: ignore[union-attr]
        other.transport.write(b"two")  # type: ignore[union-attr]
        await self.until(lambda: other.received == b"two")
        self.assertEqual(client.received, b"")
        server.is_read()
        await self.until(lambda: client.received == b"one")
        await self.close(client, server)
        await self.close(other, other_server)

    async def test_one_may_end_another_in_the_same_turn(self) -> None:
        (first, one), (second, two) = await self.connect(), await self.connect()

        def end_both(data: bytes) -> None:
            for protocol in (one, two):
                self.hub.discard(protocol.transport)  # type: ignore[arg-type]
                protocol.transport.abortConnection()  # type: ignore[union-attr]

        for protocol in (one, two):
            hears(protocol, end_both)
        first.transport.write(b"x")  # type: ignore[union-attr]
        second.transport.write(b"x")  # type: ignore[union-attr]
        for protocol in (one, two, first, second):
            await protocol.lost
        self.assertNotIn(self.hub, reactor.getReaders())

    async def test_more_than_are_read_at_once_are_all_served(self) -> None:
        count = AT_ONCE + 60
        pairs = [await self.connect() for _ in range(count)]
        served: list[bytes] = []
        for _, server in pairs:
            hears(server, served.append)
        # None is read before all are ready.
        reactor.removeReader(self.hub)
        for number, (client, _) in enumerate(pairs):
            client.transport.write(b"%04d" % number)  # type: ignore[union-attr]
        servers = [server for _, server in pairs]
        await self.until(lambda: readable(servers) == count)
        self.patch(hub, "TURN", 0)
        self.hub.doRead()
        self.assertEqual(len(served), AT_ONCE)
        # Those that go on sending do not keep the others from their turn.
        for data in tuple(served):
            pairs[int(data)][0].transport.write(data)  # type: ignore[union-attr]
        await self.until(lambda: readable(servers) == count)
        self.hub.doRead()
        self.assertEqual(set(served), {b"%04d" % number for number in range(count)})
        reactor.addReader(self.hub)
        await self.until(lambda: len(served) == count + AT_ONCE)
        for client, server in pairs:
            await self.close(client, server)
        self.assertNotIn(self.hub, reactor.getReaders())

    async def test_what_comes_in_several_pieces_is_all_read(self) -> None:
        client, server = await self.connect()
        read: list[bytes] = []
        self.hub.discard(server.transport)  # type: ignore[arg-type]
        client.transport.write(b"y" * (3 * READ_BYTES + 5))  # type: ignore[union-attr]
        await deferLater(reactor, 0.1)
        hears(server, read.append)
        await self.until(lambda: len(b"".join(read)) == 3 * READ_BYTES + 5)
        self.assertGreater(len(read), 2)
        await self.close(client, server)

    async def test_a_request_as_long_as_a_first_read(self) -> None:
        client, server = await self.connect()
        for size in (SHORT - 1, SHORT, SHORT + 1, SHORT + READ_BYTES, SHORT + READ_BYTES + 1):
            client.received = b""
            client.transport.write(b"w" * size)  # type: ignore[union-attr]
            await self.until(lambda size=size: len(client.received) >= size)
            self.assertEqual(client.received, b"w" * size)
        await self.close(client, server)

    async def test_an_end_is_seen_with_what_was_sent_before_it(self) -> None:
        client, server = await self.connect()
        read: list[bytes] = []
        self.hub.discard(server.transport)  # type: ignore[arg-type]
        client.transport.write(b"the last")  # type: ignore[union-attr]
        client.transport.loseConnection()  # type: ignore[union-attr]
        await client.lost
        hears(server, read.append)
        await server.lost
        self.assertIsNotNone(server.reason.check(ConnectionDone))
        self.assertEqual(read, [b"the last"])

    async def test_what_a_socket_does_not_take_is_told(self) -> None:
        client, server = await self.connect()
        reply = bytes(range(256)) * 100_000
        hears(server, lambda data: reply)
        client.transport.write(b"x")  # type: ignore[union-attr]
        await self.until(lambda: len(client.received) == len(reply))
        self.assertEqual(client.received, reply)
        self.assertEqual(len(server.left_over), 1)
        self.assertTrue(reply.endswith(server.left_over[0]))
        await self.close(client, server)

    async def test_replies_are_written_when_all_that_was_ready_is_read(self) -> None:
        pairs = [await self.connect() for _ in range(3)]
        servers = [server for _, server in pairs]
        told: list[tuple[bytes, int]] = []

        def answer(data: bytes) -> bytes:
            told.append((data, sum(map(has_reply, pairs))))
            return b"reply"

        def has_reply(pair: tuple[Client, Echo]) -> bool:
            return bool(select.select([pair[0].transport.socket], [], [], 0)[0])  # type: ignore[union-attr]

        for client, server in pairs:
            self.hub.discard(server.transport)  # type: ignore[arg-type]
            client.transport.write(b"x")  # type: ignore[union-attr]
        await self.until(lambda: readable(servers) == 3)
        for server in servers:
            hears(server, answer)
        await self.until(lambda: all(client.received == b"reply" for client, _ in pairs))
        # Nobody is read again, and nobody has a reply, before all are answered.
        self.assertEqual(told, [(b"x", 0)] * 3)
        for client, server in pairs:
            await self.close(client, server)


class LookingTests(TestCase):
    """A hub looks again for who is answered and asks at once; the reactor goes first, and what is vain ends."""

    timeout = 60

    def setUp(self) -> None:
        self.hub = ReadHub()
        self.hub._most = self.hub._looks = LOOKS  # as on a machine with several processors
        self.factory: Any = ServerFactory.forProtocol(Echo)
        self.factory.hub = self.hub
        self.factory.made = []
        self.port = reactor.listenTCP(0, self.factory, interface="127.0.0.1")
        self.addCleanup(self.port.stopListening)
        self.socket = socket.create_connection(("127.0.0.1", self.port.getHost().port))

    async def connected(self) -> Echo:
        while not self.factory.made:
            await deferLater(reactor, 0.001)
        server: Echo = self.factory.made[0]
        return server

    async def close(self, server: Echo) -> None:
        self.socket.close()
        await server.lost

    def reads(self, server: Echo, then: Any) -> list[int]:
        """Has every read counted, and ``then`` called after it; the counts so far when the turn ended."""
        counts = [0]

        def counted(data: bytes) -> None:
            counts[0] += 1
            then(counts[0])

        hears(server, counted)
        return counts

    def a_turn_has_four_ticks(self) -> None:
        """The clock ticks whenever it is looked at."""
        ticks = itertools.count()
        self.patch(hub, "perf_counter", lambda: next(ticks) * hub.TURN / 4)

    async def test_who_asks_at_once_is_read_in_the_same_turn(self) -> None:
        server = await self.connected()
        counts = self.reads(server, lambda count: self.socket.send(b"x") if count < 5 else None)
        self.socket.send(b"x")
        self.hub.doRead()
        self.assertEqual(counts, [5])
        await self.close(server)

    async def test_a_turn_ends_though_there_is_always_more(self) -> None:
        server = await self.connected()
        counts = self.reads(server, lambda count: self.socket.send(b"x"))
        self.a_turn_has_four_ticks()
        self.socket.send(b"x")
        self.hub.doRead()
        self.assertEqual(counts, [5])
        self.hub.discard(server.transport)  # type: ignore[arg-type]
        server.received = lambda data: None  # type: ignore[method-assign]
        server.is_read()
        await self.close(server)

    async def test_a_turn_ends_though_somebody_asks_again_and_again(self) -> None:
        server = await self.connected()
        counts = self.reads(server, lambda count: None)
        poller = self.hub._poller

        class Late:
            """Somebody asks again, but only after a look."""

            def poll(_, *arguments: Any) -> Any:
                found = poller.poll(*arguments)
                if not found:
                    self.socket.send(b"x")
                return found

            def __getattr__(_, name: str) -> Any:
                return getattr(poller, name)

        self.hub._poller = Late()
        self.a_turn_has_four_ticks()
        self.socket.send(b"x")
        self.hub.doRead()
        self.assertEqual(counts, [5])
        self.hub._poller = poller
        await self.close(server)

    async def test_what_the_reactor_has_to_call_goes_first(self) -> None:
        server = await self.connected()
        polls = []

        class Counting:
            def __init__(self, poller: Any) -> None:
                self.poller = poller

            def poll(self, *arguments: Any) -> Any:
                polls.append(arguments)
                return self.poller.poll(*arguments)

            def __getattr__(self, name: str) -> Any:
                return getattr(self.poller, name)

        called: list[str] = []
        for make in (
            lambda count: reactor.callLater(0, called.append, "later"),
            lambda count: reactor.callFromThread(called.append, "thread"),
        ):
            self.reads(server, make)
            self.hub._poller = Counting(self.hub._poller)
            polls.clear()
            self.socket.send(b"x")
            self.hub.doRead()
            self.assertEqual(len(polls), 2)
            await deferLater(reactor, 0.01)
        self.assertEqual(called, ["later", "thread"])
        await self.close(server)

    async def test_looking_in_vain_ends_and_is_tried_again(self) -> None:
        server = await self.connected()
        self.reads(server, lambda count: None)
        seen = []
        for _ in range(REST + 20):
            self.socket.send(b"x")
            self.hub.doRead()
            seen.append(self.hub._looks)
        halves = LOOKS.bit_length()
        self.assertEqual(seen[: halves + 1], [LOOKS >> turn for turn in range(1, halves + 1)] + [0])
        self.assertIn(LOOKS, seen[halves:])
        await self.close(server)
