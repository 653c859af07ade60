"""The Twisted client and the blocking one against a real server, and against servers that stop halfway."""

from __future__ import annotations

from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from pfserver.client.blocking import BlockingClient
from pfserver.client.conversation import Submission
from pfserver.client.errors import NoServer, ServerRefused
from pfserver.client.pageflex import PageflexClient
from pfserver.client.servers import host_and_port
from pfserver.model import Outcome
from pfserver.wire.pageflex import Line
from tests.support.process import ServerProcess


class RealServerTests(TestCase):
    timeout = 120

    def setUp(self) -> None:
        self.server = ServerProcess(Path(self.mktemp())).wait()
        self.addCleanup(self.server.close)
        self.client = PageflexClient.at(*self.server.pageflex)
        self.blocking = BlockingClient(*self.server.pageflex)

    async def test_everything_a_server_can_be_asked(self) -> None:
        heard: list[Line] = []
        accepted: list[str] = []
        outcome = await self.client.submit_and_watch(Submission("noop-output", "x"), heard.append, accepted.append)
        self.assertEqual((outcome, accepted), (Outcome.COMPLETED, ["T0000001"]))
        self.assertEqual([line.number for line in heard], [100, 101, 20, 1])
        self.assertEqual(await self.client.task_log("T0000001"), heard)
        self.assertEqual(await self.client.status("T0000001"), "Job Status = SUCCESS")
        self.assertEqual(await self.client.queue_length(), 0)
        self.assertTrue((await self.client.build_string()).startswith("pfserver "))
        self.assertEqual(await self.client.restart_server(), "Server restarted")
        transaction = await self.client.submit(Submission("noop-slow", "x"))
        self.assertEqual(await self.client.cancel(transaction), transaction)
        with self.assertRaises(ServerRefused) as caught:
            await self.client.status("T0000099")
        self.assertEqual(caught.exception.number, 5113)

    async def test_many_at_once(self) -> None:
        submissions = [Deferred.fromCoroutine(self.client.submit(Submission("noop", "x"))) for _ in range(100)]
        self.assertEqual(len(set(await gatherResults(submissions))), 100)

    def test_blocking(self) -> None:
        lines = list(self.blocking.submit_and_watch(Submission("noop", "x")))
        self.assertEqual([(line.kind, line.number) for line in lines][:2], [("R", 0), ("J", 100)])
        transaction = self.blocking.submit(Submission("noop-slow", "x", {"Colour": "Größe €"}))
        self.assertIsNone(self.blocking.outcome(transaction))
        self.assertEqual(self.blocking.cancel(transaction), transaction)
        self.assertEqual(list(self.blocking.watch(transaction))[-1].number, 1)
        self.assertEqual(self.blocking.outcome(transaction), Outcome.CANCELLED)
        self.assertEqual(self.blocking.queue_length("default"), 0)
        self.assertTrue(self.blocking.build_string().startswith("pfserver "))
        self.assertEqual(self.blocking.restart_server(), "Server restarted")


class Scripted(Protocol):
    """Answers a packet with ``script`` and closes."""

    script = b""

    def dataReceived(self, data: bytes) -> None:
        if self.script is not None:
            self.transport.write(self.script)
            self.transport.loseConnection()


class OddServerTests(TestCase):
    timeout = 60

    def serve(self, script: bytes | None) -> tuple[str, int]:
        factory = Factory.forProtocol(type("Answer", (Scripted,), {"script": script}))
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return ("127.0.0.1", port.getHost().port)

    async def test_conversations_that_end_early(self) -> None:
        for script in (b"", b"R00", b"R0000000- half\r\n", b"J0000020: no reply\r\n", b"HTTP/1.1 400\r\n"):
            address = self.serve(script)
            with self.assertRaises(NoServer):
                await PageflexClient.at(*address).status("T0000001")
            with self.assertRaises(NoServer):
                await deferToThread(BlockingClient(*address).status, "T0000001")

    async def test_a_monitor_that_is_cut(self) -> None:
        address = self.serve(b"R0000000: T0000001\r\nJ0000100: Machine name: x\r\n")
        with self.assertRaises(NoServer):
            await PageflexClient.at(*address).submit_and_watch(Submission("a", "b"), lambda line: None)

    async def test_nobody_answers_in_time(self) -> None:
        address = self.serve(None)
        with self.assertRaises(NoServer):
            await PageflexClient.at(*address, seconds=0.05).status("T0000001")
        with self.assertRaises(NoServer):
            await deferToThread(BlockingClient(*address, seconds=0.05).status, "T0000001")

    async def test_nobody_listens(self) -> None:
        with self.assertRaises(NoServer):
            await PageflexClient.at("127.0.0.1", 1).status("T0000001")

    def test_addresses(self) -> None:
        for text, expected in (
            ("host", ("host", 8008)),
            ("host:1", ("host", 1)),
            ("[::1]:2", ("::1", 2)),
            ("[::1]", ("::1", 8008)),
        ):
            self.assertEqual(host_and_port(text, 8008), expected)
        for text in ("host:x", "host:0", "host:70000", ":1"):
            with self.assertRaises(ValueError):
                host_and_port(text, 8008)
