"""What peers do that harm no other: cut circuits, never read, send noise, come in crowds."""

from __future__ import annotations

import os
import random
import socket
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import SSL4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectionClosed
from twisted.internet.ssl import CertificateOptions, KeyPair, PrivateCertificate
from twisted.internet.task import deferLater

from pfserver.wire.omi import (
    Connect,
    Disconnect,
    Done,
    Get,
    GetReply,
    Lock,
    Set,
    Status,
    bunch,
    message,
)
from tests.frontends.omi.support import Circuit, OMICase, ref
from tests.wire.omi.fuzz import KINDS, Fuzzer, is_whole


def self_signed() -> PrivateCertificate:
    """A certificate for a test."""
    return KeyPair.generate(size=2048).selfSignedCert(1, CN="localhost")


def unread(one: socket.socket) -> bytes:
    """What has come to a socket and stays there."""
    try:
        return one.recv(1 << 20, socket.MSG_PEEK)
    except BlockingIOError:
        return b""


class CircuitTests(OMICase):
    async def test_lost_in_the_middle_of_a_message(self) -> None:
        watcher = await self.session()
        probe = await self.session()
        parts = [probe.packed(Set(ref(n), b"v")) for n in range(3)]
        data = bunch(parts)
        for end in range(len(data)):
            circuit = await self.session()
            circuit.send(data[:end])
            # What was sent is read before the other's message is answered, or else never.
            self.assertEqual(await watcher.ask(Status()), Done())
            await self.drop(circuit)
        self.assertEqual(await watcher.ask(Get(ref(0))), GetReply(0, b""))

    async def test_lost_while_its_update_is_committed(self) -> None:
        watcher = await self.session()
        circuit = await self.session()
        await circuit.ask(Lock(ref(), b"1"))
        written: list[Deferred[Any]] = []
        write = self.globals.write

        def watched(function: Any) -> Any:
            written.append(write(function))
            return written[-1]

        self.globals.write = watched  # type: ignore[method-assign]
        circuit.send(bunch([circuit.packed(Set(ref(n), b"v")) for n in range(100)]))
        await self.until(lambda: written)
        await self.drop(circuit)
        await self.until(lambda: not self.locks.held() and written[0].called)
        found = [await watcher.ask(Get(ref(n))) for n in (0, 99)]
        self.assertEqual(found, [GetReply(1, b"v")] * 2)

    async def test_a_thousand_sessions_at_once(self) -> None:
        async def work(n: int) -> object:
            circuit = await self.session()
            await circuit.ask(Lock(ref(n), b"1"))
            await circuit.ask(Set(ref(n), b"%d" % n))
            return await circuit.ask(Get(ref(n)))

        answers = await gatherResults([Deferred.fromCoroutine(work(n)) for n in range(1_000)])
        self.assertEqual(answers, [GetReply(1, b"%d" % n) for n in range(1_000)])
        self.assertEqual(len(self.locks.held()), 1_000)

    async def test_who_never_reads_costs_nothing(self) -> None:
        other = await self.session()
        await other.ask(Set(ref(1), os.urandom(32_000)))
        greedy = await self.session(1)
        transport = greedy.transport
        assert transport is not None
        transport.pauseProducing()
        request = message(greedy.packed(Get(ref(1))))
        # A thousandfold: 23 kB of requests whose replies are 32 MB.
        transport.write(request * 1_000)
        [protocol] = [one for one in self.frontend.factory._open if one is not self.server_side(other)]
        await self.until(lambda: protocol._paused)
        for _ in range(20):
            self.assertEqual(await other.ask(Status()), Done())
        self.assertTrue(protocol._waiting)
        self.assertLess(sum(map(len, protocol.transport._tempDataBuffer)) + len(protocol.transport.dataBuffer), 1 << 20)
        transport.resumeProducing()
        for _ in range(1_000):
            await greedy.next()
        self.assertEqual(await greedy.ask(Status()), Done())

    async def test_who_does_not_read_is_not_read(self) -> None:
        other = await self.session()
        await other.ask(Set(ref(1), os.urandom(32_000)))
        greedy = await self.session(1)
        transport, ours = greedy.transport, self.server_side(greedy)
        assert transport is not None
        transport.pauseProducing()
        transport.write(message(greedy.packed(Get(ref(1)))) * 500)
        await self.until(lambda: ours._paused)
        waiting = len(ours._waiting)
        # What it sends from now on stays in the socket.
        received: list[bytes] = []
        take = ours.received

        def note(data: bytes) -> Any:
            received.append(data)
            return take(data)

        ours.received = note
        end = message(greedy.packed(Status()))
        transport.write(end)
        await self.until(lambda: end in unread(ours._plain.socket))
        for _ in range(20):
            self.assertEqual(await other.ask(Status()), Done())
        self.assertEqual((received, len(ours._waiting)), ([], waiting))
        transport.resumeProducing()
        for _ in range(500):
            await greedy.next()
        self.assertEqual((await greedy.next())[2:4], b"\0\0")
        self.assertEqual(b"".join(received)[-len(end) :], end)

    async def test_who_never_reads_and_goes_away(self) -> None:
        other = await self.session()
        await other.ask(Set(ref(1), os.urandom(32_000)))
        for _ in range(3):
            greedy = await self.session(1)
            greedy.transport.pauseProducing()
            greedy.send(message(greedy.packed(Get(ref(1)))) * 500)
            await self.until(lambda greedy=greedy: self.server_side(greedy)._paused)
            await self.drop(greedy)
        await self.until(lambda: len(self.frontend.factory._open) == 1)
        self.assertEqual(await other.ask(Status()), Done())

    async def tls_session(self) -> Circuit:
        """A session over TLS."""
        port = reactor.listenSSL(0, self.frontend.factory, self_signed().options(), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        endpoint = SSL4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port, CertificateOptions())
        circuit = await connectProtocol(endpoint, Circuit())
        self.addCleanup(self.drop, circuit)
        await circuit.ask(Connect(major=1))
        return circuit

    async def test_tls_ends_with_the_session(self) -> None:
        """No clock moves: neither an orderly end nor a refused message keeps the circuit, nor its locks."""
        circuit = await self.tls_session()
        self.assertEqual(await circuit.ask(Disconnect()), Done())
        await self.until(lambda: not self.frontend.factory._open)
        circuit = await self.tls_session()
        await circuit.ask(Lock(ref(), b"1"))
        circuit.send(message(b"no request"))
        await self.until(lambda: not self.frontend.factory._open)
        self.assertEqual(list(self.locks.held()), [])

    async def test_what_follows_an_update_that_takes_long_is_not_read(self) -> None:
        circuit = await self.session(1)
        [protocol] = self.frontend.factory._open
        gate: Deferred[None] = Deferred()
        write = self.globals.write

        def late(function: Any) -> Any:
            return gate.addCallback(lambda _: write(function))

        self.globals.write = late  # type: ignore[method-assign]
        circuit.send(message(circuit.packed(Set(ref(0), b"v"))))
        await self.until(lambda: protocol._busy)
        self.globals.write = write  # type: ignore[method-assign]
        for n in range(1, 1_001):
            circuit.send(message(circuit.packed(Set(ref(n), b"v" * 30_000))))
        await self.until(lambda: not protocol._reading)
        await deferLater(reactor, 0.1)
        self.assertLess(sum(map(len, protocol._waiting)), 1 << 20)
        gate.callback(None)
        for _ in range(1_001):
            await circuit.next()
        self.assertEqual(await circuit.ask(Get(ref(1_000))), GetReply(1, b"v" * 30_000))

    async def test_each_message_has_its_own_time(self) -> None:
        circuit = await self.session(1)
        data = message(circuit.packed(Status()))
        circuit.send(data[:5])
        for _ in range(6):
            # Nine seconds of thirty for each message, but no read ends where a message does.
            await deferLater(reactor, 0.01)
            self.time.pump([1.0] * 9)
            circuit.send(data[5:] + data[:5])
            await circuit.next()
        self.assertFalse(circuit.closed.called)

    async def test_tls(self) -> None:
        """Nothing goes past the encryption, and who does not read is paused there as well."""
        circuit = await self.tls_session()
        value = os.urandom(32_000)
        self.assertEqual(await circuit.ask(Set(ref(1), value)), Done())
        circuit.transport.pauseProducing()
        circuit.send(message(circuit.packed(Get(ref(1)))) * 500)
        [ours] = self.frontend.factory._open
        await self.until(lambda: ours._paused)
        circuit.transport.resumeProducing()
        for _ in range(500):
            self.assertTrue((await circuit.next()).endswith(value))

    async def test_noise(self) -> None:
        other = await self.session()
        tls = bytes.fromhex("16030100f8010000f40303")
        for data in (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", tls + os.urandom(240), b"\xff" * 4, os.urandom(5_000)):
            circuit = await self.circuit()
            circuit.send(data)
            self.assertEqual(await other.ask(Status()), Done())
            await self.drop(circuit)

    async def test_fuzzed_messages(self) -> None:
        """A few of what bench/fuzz_omi.py sends; each is answered or its circuit ends, and nobody else is harmed."""
        seed = random.SystemRandom().getrandbits(32)
        fuzzer = Fuzzer(seed)
        other = await self.session()
        try:
            for number in range(150):
                major, is_bunched = KINDS[number % len(KINDS)]
                circuit = await self.session(major, extensions=(1,) if is_bunched and major == 1 else ())
                for _ in range(10):
                    data = fuzzer.message(bunched=is_bunched)
                    circuit.send(data)
                    if not is_whole(data):
                        break
                    try:
                        await circuit.next()
                    except ConnectionClosed:
                        break
                self.assertEqual(await other.ask(Status()), Done())
                await self.drop(circuit)
        except BaseException:
            print(f"seed {seed}")  # noqa: T201
            raise
        self.assertEqual(self.flushLoggedErrors(), [])
