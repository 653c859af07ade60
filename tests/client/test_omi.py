"""The Twisted OMI client against real servers."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.protocol import Factory, Protocol

from pfserver.client.errors import NoServer, ServerRefused
from pfserver.client.omi import OMIClient
from pfserver.client.omi_calls import JobState, Login
from pfserver.wire.omi import FormatError, Reference, SetPiece
from tests.frontends.omi.support import OMICase


class TwistedClientTests(OMICase):
    frontend_options: Any = {"routines": {"SAMPLE": {"project": "scripted.pf", "variables": ["Name"]}}}

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
