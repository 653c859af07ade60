"""The OMI clients and ``pfserver globals`` against real servers."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from pfserver.client.errors import NoServer, ServerRefused
from pfserver.client.omi import OMIClient
from pfserver.client.omi_blocking import BlockingOMIClient
from pfserver.client.omi_calls import JobState, Login, subscript_of
from pfserver.wire.omi import FormatError, Get, GetReply, Kill, OMIError, Order, Reference, Set, SetPiece, Status, bunch
from tests.frontends.omi.support import OMICase
from tests.support.process import BIN, PATIENCE, ROOT, ServerProcess

TABLE = {"SAMPLE": {"project": "scripted.pf", "variables": ["Name"]}}


class TwistedClientTests(OMICase):
    frontend_options: Any = {"routines": TABLE}

    async def client(self, **login: Any) -> OMIClient:
        client = await OMIClient.at("127.0.0.1", self.port.getHost().port, Login(**login))
        self.addCleanup(client.disconnect)
        return client

    async def test_all_calls(self) -> None:
        client = await self.client(environment="e", client=4711)
        self.assertEqual(client.version, 2)
        await client.set("v", "X", 1, "a")
        self.assertEqual(await client.get("^X", 1, "a"), b"v")
        self.assertIsNone(await client.get("X", 2))
        self.assertEqual(await client.define("X", 1), 10)
        self.assertEqual(await client.increment("2.5", "X", "i"), b"2.5")
        self.assertEqual([await client.order("X", ""), await client.reverse_order("X", "")], [b"1", b"i"])
        self.assertEqual(await client.order("X"), b"")
        self.assertEqual(await client.query("X"), Reference(b"e", b"X", (b"1", b"a")))
        self.assertEqual(await client.reverse_query("X", ""), Reference(b"e", b"X", (b"i",)))
        self.assertIs(await client.lock("X", 1), True)
        self.assertEqual([(lock.client, lock.environment) for lock in self.locks.held()], [(b"4711", b"e")])
        other = await self.client(environment="e")
        self.assertIs(await other.lock("X"), False)
        await client.unlock("X", 1)
        self.assertIs(await other.lock("X"), True)
        await other.unlock_client()
        self.assertEqual(self.locks.held(), [])
        await client.kill("X")
        self.assertEqual(await client.define("X"), 0)

    async def test_jobs(self) -> None:
        client = await self.client()
        started = await client.start_job("SAMPLE", ["Zoe"], timeout=10)
        self.assertEqual((started.number, started.process), (1, b"1"))
        await self.ended(await self.engine.job(1))
        self.assertEqual(await client.job_status(1), JobState(1, b"1", False))
        with self.assertRaises(ServerRefused) as caught:
            await client.job_status(1)
        self.assertEqual((caught.exception.number, caught.exception.text), (31, "unknown job request"))
        started = await client.start_job("SAMPLE")
        await client.cancel_job(started.number)

    async def test_concurrent_calls_travel_together_and_keep_their_order(self) -> None:
        client = await self.client()
        calls: list[Deferred[Any]] = []
        for n in range(1_000):
            calls += [client.set(n, "X", n), client.get("X", n)]
        answers = await gatherResults(calls)
        self.assertEqual(answers, [one for n in range(1_000) for one in (None, b"%d" % n)])
        # A few messages, not two thousand.
        [session] = [one._dialogue.session for one in self.frontend.factory._open]
        self.assertIsNotNone(session)
        self.assertLess(client._protocol.messages, 10)

    async def test_values_too_long_together_come_alone(self) -> None:
        client = await self.client()
        value = os.urandom(32_000)
        await gatherResults([client.set(value, "X", n) for n in range(5)])
        self.assertEqual(await gatherResults([client.get("X", n) for n in range(5)]), [value] * 5)

    async def test_values_that_come_alone_keep_their_order(self) -> None:
        client = await self.client()
        values = [os.urandom(32_000) for _ in range(6)]
        await gatherResults([client.set(value, "X", n) for n, value in enumerate(values)])
        order: list[int] = []

        def note(found: bytes | None, n: int) -> None:
            order.append(n)
            self.assertEqual(found, values[n] if n < 6 else None)

        # The last is called while the first ones are under way.
        calls = [client.get("X", n).addCallback(note, n) for n in range(6)]
        calls[0].addCallback(lambda _: calls.append(client.get("X", 6).addCallback(note, 6)))
        await gatherResults(calls)
        await calls[6]
        self.assertEqual(order, list(range(7)))

    async def test_what_is_asked_again_finds_what_was_there_when_it_was_called(self) -> None:
        client = await self.client(client=1)
        value = os.urandom(32_000)
        changes: list[Any] = [
            lambda: client.set("new", "X", 3),
            lambda: client.ask(SetPiece(Reference(b"", b"X", (b"3",)), b"new", 1, 1, b"^")),
            lambda: client.increment(1, "X", 3),
            lambda: client.kill("X", 3),
            lambda: client.kill("X"),
        ]
        for change in changes:
            await gatherResults([client.set(value, "X", n) for n in range(4)])
            gets = [client.get("X", n) for n in range(4)]
            changed = change()
            self.assertEqual(await gatherResults(gets), [value] * 4)
            await changed
            self.assertNotEqual(await client.get("X", 3), value)
        await gatherResults([client.set(value, "X", n) for n in range(4)])
        held: list[int] = []
        locked = client.lock("L")
        gets = [client.get("X", n).addCallback(lambda _: held.append(len(self.locks.held()))) for n in range(4)]
        await gatherResults([locked, *gets, client.unlock("L")])
        self.assertEqual(held, [1] * 4)

    async def test_errors_are_those_of_one_call(self) -> None:
        client = await self.client()
        good, bad, wrong = client.set(1, "X", 1), client.set(1, "X", ""), client.get("1X")
        await good
        for refused, number in ((bad, 3), (wrong, 3)):
            with self.assertRaises(ServerRefused) as caught:
                await refused
            self.assertEqual(caught.exception.number, number)
        with self.assertRaises(FormatError):
            await client.get("X", "a" * 256)
        self.assertIsNone(await client.get("X", 2))

    async def test_version_1(self) -> None:
        client = await self.client(versions=(1,))
        self.assertEqual(client.version, 1)
        await gatherResults([client.set(n, "X", n) for n in range(100)])
        self.assertEqual(await client.get("X", 99), b"99")

    async def test_a_lost_circuit(self) -> None:
        client = await self.client()
        pending = client.get("X")
        for protocol in list(self.frontend.factory._open):
            protocol.abort()
        for call in (pending, client.get("X")):
            with self.assertRaises(NoServer):
                await call

    async def test_nobody_there(self) -> None:
        with self.assertRaises(NoServer):
            await OMIClient.at("127.0.0.1", 1)

    async def test_a_server_of_another_protocol(self) -> None:
        class Other(Protocol):
            def dataReceived(self, data: bytes) -> None:
                assert self.transport is not None
                self.transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        port = reactor.listenTCP(0, Factory.forProtocol(Other), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        with self.assertRaises(NoServer):
            await OMIClient.at("127.0.0.1", port.getHost().port)


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


class LoginTests(OMICase):
    frontend_options: Any = {"agents": {"mis": {"password": "secret"}}}

    async def test_passwords(self) -> None:
        port = self.port.getHost().port
        with self.assertRaises(ServerRefused) as caught:
            await OMIClient.at("127.0.0.1", port, Login(agent="mis", password="guess"))
        self.assertEqual(caught.exception.number, 1)
        client = await OMIClient.at("127.0.0.1", port, Login(agent="mis", password="secret"))
        await client.disconnect()
        self.assertNotIn("secret", repr(Login(password="secret")))


class BlockingClientTests(OMICase):
    frontend_options: Any = {"routines": TABLE}

    async def in_thread(self, work: Any) -> Any:
        def call() -> Any:
            with BlockingOMIClient("127.0.0.1", self.port.getHost().port) as client:
                return work(client)

        return await deferToThread(call)

    async def test_all_calls(self) -> None:
        def work(client: BlockingOMIClient) -> list[Any]:
            client.set("v", "X", 1)
            found: list[Any] = [client.version, client.get("X", 1), client.get("X", 2), client.define("X")]
            found += [client.increment(2, "X", "i"), client.order("X", ""), client.reverse_order("X", "")]
            found += [client.query("X"), client.reverse_query("X", ""), client.lock("X"), len(self.locks.held())]
            client.unlock("X")
            client.unlock_client()
            client.kill("X")
            started = client.start_job("SAMPLE", ["Zoe"])
            client.cancel_job(started.number)
            return [*found, client.define("X"), started.number, len(self.locks.held())]

        first, last = Reference(b"", b"X", (b"1",)), Reference(b"", b"X", (b"i",))
        expected = [2, b"v", None, 10, b"2", b"1", b"i", first, last, True, 1, 0, 1, 0]
        self.assertEqual(await self.in_thread(work), expected)

    async def test_many_at_once(self) -> None:
        def work(client: BlockingOMIClient) -> list[Any]:
            nodes = [Reference(b"", b"X", (b"%d" % n,)) for n in range(2_000)]
            client.ask_all([Set(node, b"v" * 100) for node in nodes])
            return client.ask_all([Get(node) for node in nodes])

        answers = await self.in_thread(work)
        self.assertEqual([answer.reply for answer in answers], [GetReply(1, b"v" * 100)] * 2_000)

    async def test_errors(self) -> None:
        def work(client: BlockingOMIClient) -> int:
            with self.assertRaises(ServerRefused) as caught:
                client.get("X", "")
            client.ask(Status())
            return caught.exception.number

        self.assertEqual(await self.in_thread(work), 3)

    async def test_an_answer_that_comes_too_late_is_nobodys(self) -> None:
        held: Deferred[None] = Deferred()
        write = self.globals.write

        async def late(function: Any) -> Any:
            await held
            return await write(function)

        self.patch(self.globals, "write", lambda function: Deferred.fromCoroutine(late(function)))

        def work(client: BlockingOMIClient) -> None:
            client._socket.settimeout(0.05)
            with self.assertRaisesRegex(NoServer, "in time"):
                client.increment(7, "X")
            reactor.callFromThread(held.callback, None)
            with self.assertRaisesRegex(NoServer, "lost"):
                client.increment(1, "X")

        await self.in_thread(work)

    def test_nobody_there(self) -> None:
        with self.assertRaises(NoServer):
            BlockingOMIClient("127.0.0.1", 1)


class CommandTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = Path(self.mktemp())
        self.server = ServerProcess(folder, frontends=("omi",))
        self.addCleanup(self.server.close)
        self.server.wait()

    def run_(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        address = "{}:{}".format(*self.server.addresses["omi"])
        environment = {**os.environ, "PFSERVER_OMI": address, "PYTHONPATH": str(ROOT), "TERM": "dumb"}
        command = [str(BIN / "pfserver"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=environment)

    def assert_prints(self, output: str, *arguments: str, code: int = 0) -> None:
        done = self.run_(*arguments)
        self.assertEqual((done.stdout, done.returncode), (output, code), done.stderr)

    def test_globals(self) -> None:
        self.assert_prints("", "globals", "set", '^X(1,"a")', "häl lo")
        self.assert_prints("", "globals", "set", "^X(2)", "two\tparts")
        self.assert_prints("häl lo\n", "globals", "get", '^X(1,"a")')
        self.assert_prints("", "globals", "get", "^X(1)", code=1)
        self.assert_prints("", "globals", "get", "-e", "other", "^X(2)", code=1)
        self.assert_prints("1\n2\n", "globals", "order", '^X("")', "-n", "9")
        self.assert_prints("1\n", "globals", "order", "-r", "^X(2)")
        self.assert_prints("^X\n", "globals", "order", "^%", "-n", "9")
        self.assert_prints('^X(1,"a")=häl lo\n^X(2)=two\ufffdparts\n', "globals", "query", "^X", "-n", "9")
        self.assert_prints('^X(1,"a")=häl lo\n', "globals", "query", "-r", "^X(2)")
        self.assert_prints("", "globals", "kill", "^X(1)")
        self.assert_prints("^X(2)=two\ufffdparts\n", "globals", "query", "^X", "-n", "9")

    def test_locks(self) -> None:
        self.assert_prints("", "locks")
        host, port = self.server.addresses["omi"]
        with BlockingOMIClient(host, port, Login(client=4711, environment="e")) as client:
            client.lock("X", 1, "a")
            client.lock("X", 1, "a")
            self.assert_prints('^X(1,"a") in e by $Job 4711 of session 2, 2 times\n', "locks")
            listed = json.loads(self.run_("locks", "--json").stdout)
        self.assertEqual((listed["reference"], listed["client"], listed["count"]), ('^X(1,"a")', "4711", "2"))
        self.assert_prints("", "locks")

    def test_errors(self) -> None:
        done = self.run_("globals", "get", "^X(1")
        self.assertEqual(done.returncode, 64)
        self.assertIn("is no reference", done.stderr)
        done = self.run_("globals", "set", '^X("")', "v")
        self.assertEqual((done.returncode, done.stdout), (65, ""))
        self.assertIn("(3)", done.stderr)
        done = self.run_("--omi", "127.0.0.1:1", "globals", "get", "^X")
        self.assertEqual(done.returncode, 69)
