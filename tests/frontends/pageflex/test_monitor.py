"""The job monitor over a real socket: what is told, to whom, and what a client may do meanwhile."""

from __future__ import annotations

import select
import socket
import struct

from twisted.internet.defer import Deferred

from pfserver.frontends.pageflex.protocol import LOOK
from pfserver.host import sockets
from pfserver.interfaces import IReporter
from pfserver.model import Outcome, Progress
from tests.frontends.pageflex.support import Client, FrontEndCase, submission, vector

#: What a backend tells that has one failing record.
STREAM = (
    b"R0000000: T0000001\r\n"
    b"J0000100: Machine name: press-1\r\n"
    b"J0005000- Evaluation failed for variable: FormatPriceJS\r\n"
    b"J0005000: Script result was null, line 48, column 4\r\n"
    b"J0000101: Job Status = PARTIAL\r\n"
    b"J0000021: Job partially completed. 2 documents and 4 pages produced.\r\n"
    b"J0000001: Transaction T0000001 ended\r\n"
)


class MonitorCase(FrontEndCase):
    async def setUp(self) -> None:
        await super().setUp()
        self.gate: Deferred[None] = Deferred()

        async def work(reporter: IReporter) -> Outcome:
            await self.gate
            reporter.message(
                5000, "Evaluation failed for variable: FormatPriceJS\nScript result was null, line 48, column 4"
            )
            reporter.progress(Progress(documents=2, pages=4, failures=1, total=3))
            return Outcome.PARTIAL

        self.backend.work = work

    async def monitor(self) -> Client:
        client = await self.connect(vector("01"))
        await self.until(lambda: b"Machine name" in client.received)
        return client

    async def rest(self, client: Client) -> bytes:
        self.gate.callback(None)
        await self.until(lambda: client.closed.called)
        return await client.closed


class MonitorTests(MonitorCase):
    async def test_the_whole_stream(self) -> None:
        client = await self.monitor()
        self.assertEqual(await self.rest(client), STREAM)

    async def test_a_half_close_changes_nothing(self) -> None:
        client = await self.connect(vector("01"))
        client.transport.loseWriteConnection()
        self.assertEqual(await self.rest(client), STREAM)

    async def test_what_the_client_sends_is_thrown_away(self) -> None:
        client = await self.monitor()
        client.transport.write(b"\x00noise" * 100_000 + vector("20"))
        self.assertEqual(await self.rest(client), STREAM)

    async def test_a_full_close_ends_the_monitor_and_not_the_job(self) -> None:
        client = await self.monitor()
        client.transport.abortConnection()
        await self.until(lambda: not self.frontend.factory._open)
        self.assertEqual(self.feed._jobs, {})
        self.gate.callback(None)
        self.assertEqual((await self.ended(await self.engine.job(1))).outcome, Outcome.PARTIAL)

    async def half_closed(self) -> socket.socket:
        """A monitor whose client has closed its sending side, which the server has heard."""
        client = socket.create_connection(("127.0.0.1", self.port.getHost().port))
        self.addCleanup(client.close)
        client.sendall(vector("01"))
        client.shutdown(socket.SHUT_WR)
        # From here on nothing is written, which would find out at once.
        received = b""
        while b"Machine name: press-1\r\n" not in received:
            await self.until(lambda: bool(select.select([client], [], [], 0)[0]))
            received += client.recv(4096)
        self.assertTrue(all(one._ended for one in self.connections()))
        return client

    async def test_a_half_closed_client_that_resets_is_found_out_while_the_job_is_silent(self) -> None:
        client = await self.half_closed()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        await self.gone()

    async def test_a_half_closed_client_that_closes_without_a_word_is_found_out(self) -> None:
        self.patch(sockets, "KEEP_IDLE", 1)
        client = await self.half_closed()
        # Its machine forgets the connection after a second, not after a minute.
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_LINGER2, 1)
        client.close()
        await self.gone()

    async def gone(self) -> None:
        """The server finds out, by and by; its job goes on."""

        def looked() -> bool:
            self.clock.advance(LOOK)
            return not self.connections()

        await self.until(looked)
        self.assertEqual(self.feed._jobs, {})
        self.gate.callback(None)
        self.assertEqual((await self.ended(await self.engine.job(1))).outcome, Outcome.PARTIAL)

    async def test_a_half_closed_client_that_reads_is_served(self) -> None:
        client = await self.half_closed()
        for _ in range(3):
            self.clock.advance(LOOK)
        self.assertEqual(len(self.connections()), 1)
        self.gate.callback(None)
        await self.until(lambda: not self.connections())
        received = b""
        while more := client.recv(4096):
            received += more
        self.assertTrue(received and STREAM.endswith(received), received)
        self.assertTrue(received.startswith(b"J0005000- "), received)

    async def test_response_encoding_and_control_characters(self) -> None:
        async def work(reporter: IReporter) -> Outcome:
            reporter.message(114, "Zürich € \u2603 \x1b[2J\x00\r\nline two\n\nend")
            return Outcome.COMPLETED

        self.backend.work = work
        plain = await self.talk(submission(_sys_ClientJobMonitor="true"))
        self.assertIn("J0000114- Zürich € ? ".encode("cp1252"), plain)
        utf8 = await self.talk(submission(_sys_ClientJobMonitor="true", _sys_ResponseEncoding="UTF-8"))
        self.assertIn("J0000114- Zürich € \u2603 ".encode(), utf8)
        for received in (plain, utf8):
            self.assertIn(b"\r\nJ0000114- line two\r\n", received)
            self.assertIn(b"\r\nJ0000114: end\r\n", received)
            self.assertNotRegex(received, rb"[\x00-\x09\x0b\x0c\x0e-\x1f]")

    async def test_many_monitors_of_many_jobs(self) -> None:
        self.gate.callback(None)
        clients = [await self.connect(vector("01")) for _ in range(40)]
        await self.until(lambda: all(client.closed.called for client in clients))
        for client in clients:
            self.assertEqual(client.received.count(b"\r\n"), STREAM.count(b"\r\n"))
            self.assertTrue(client.received.endswith(b" ended\r\n"))


class SlowReaderTests(FrontEndCase):
    async def test_one_that_never_reads_costs_nothing_and_harms_nobody(self) -> None:
        count = 100_000

        async def work(reporter: IReporter) -> Outcome:
            for n in range(count):
                # More than the kernel takes for a client that does not read.
                reporter.message(114, f"note {n} " + "x" * 200)
                if n % 1000 == 0:
                    await reporter.flush()
            return Outcome.COMPLETED

        self.backend.work = work
        stuck = await self.connect(submission(_sys_ClientJobMonitor="true"))
        stuck.transport.pauseProducing()
        await self.until(lambda: self.frontend.factory._open)
        [held] = self.frontend.factory._open
        job = await self.ended_without_stepping()
        self.assertEqual(job.messages, count + 4)
        await self.until(lambda: held._paused is not None)
        unsent = len(held.transport.dataBuffer) + held.transport._tempDataLen
        self.assertLess(unsent, 1 << 20)
        self.assertEqual(await self.talk(vector("21")), b"R0000000: Job Status = SUCCESS\r\n")
        stuck.transport.resumeProducing()
        await self.until(lambda: stuck.closed.called)
        self.assertEqual(stuck.received.count(b"\r\n"), count + 5)

    async def ended_without_stepping(self) -> object:
        while not await self.engine.recent_jobs():
            await self.turn()
        return await self.ended(await self.engine.job(1))
