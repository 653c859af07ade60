"""What must be refused, over a real socket: an R number above 5000 that says what is wrong, close, nothing stored."""

from __future__ import annotations

import os

from twisted.internet.error import ConnectionDone

from pfserver.errors import ConfigurationError, OutsideRoot
from pfserver.frontends.pageflex.plugin import PageflexOptions
from pfserver.interfaces import IReporter
from pfserver.model import JobRequest, Outcome
from pfserver.options import read_table
from tests.frontends.pageflex.support import FrontEndCase, packet, submission, vector

#: The beginning of a TLS 1.3 connection.
TLS_HELLO = bytes.fromhex("16030100f8010000f40303") + os.urandom(239)


async def talk_for_long(reporter: IReporter) -> Outcome:
    """A job with more messages than any buffer between here and a client holds."""
    for _ in range(100):
        for _ in range(400):
            reporter.message(100, "x" * 500)
        await reporter.flush()
    return Outcome.COMPLETED


class RefusedTests(FrontEndCase):
    async def test_each_bad_packet(self) -> None:
        for name, number, word in (
            ("80", 5110, "SumitJob"),
            ("81", 5111, "JobName"),
            ("83", 5101, ""),
            ("84", 5102, "job_command"),
            ("85", 5103, "DOCTYPE"),
            ("87", 5101, ""),
        ):
            self.assertIn(word, await self.assert_refused(vector(name), number), name)

    async def test_a_path_out_of_the_projects(self) -> None:
        async def check(request: JobRequest) -> JobRequest:
            raise OutsideRoot("the project lies outside the projects folder")

        self.backend.check = check  # type: ignore[method-assign]
        await self.assert_refused(vector("86"), 5117)

    async def test_what_is_repeated_of_a_packet_is_short(self) -> None:
        self.assertLess(len(await self.assert_refused(submission(_sys_QueueName="x" * 400_000), 5124)), 1100)

    async def test_truncated_then_closed(self) -> None:
        client = await self.connect(vector("82"))
        client.transport.loseWriteConnection()
        await self.until(lambda: client.closed.called)
        self.assertTrue(client.received.startswith(b"R0005108: "), client.received)
        self.assertEqual(await self.engine.recent_jobs(), [])

    async def test_nothing_sent(self) -> None:
        client = await self.connect()
        await self.until(lambda: self.frontend.factory._open)
        self.clock.advance(29)
        self.assertEqual(client.received, b"")
        self.clock.advance(1.1)
        await self.until(lambda: client.closed.called)
        self.assertEqual(client.received, b"R0005107: the packet was not complete within 30 seconds\r\n")

    async def test_one_byte_a_second(self) -> None:
        client = await self.connect()
        await self.until(lambda: self.frontend.factory._open)
        for sent, byte in enumerate(vector("02")[:29], 1):
            client.transport.write(bytes([byte]))
            await self.until(lambda sent=sent: self.received() == [sent], moving=False)
            self.clock.advance(1)
        self.assertEqual(client.received, b"")
        self.clock.advance(1.1)
        await self.until(lambda: client.closed.called)
        self.assertTrue(client.received.startswith(b"R0005107: "))
        self.assertEqual(await self.engine.recent_jobs(), [])

    async def test_too_large_and_the_sender_still_gets_to_read_it(self) -> None:
        await self.assert_refused(submission(Bulk="x" * (2 << 20)), 5104)

    async def test_too_many_variables(self) -> None:
        await self.assert_refused(submission(**{f"v{n}": "" for n in range(20_000)}), 5106)

    async def test_too_deep(self) -> None:
        await self.assert_refused(submission(Deep="<a>" * 9 + "</a>" * 9), 5105)

    async def test_noise_and_other_protocols(self) -> None:
        for data in (b"\x00\x01\x02\x03" * 50, TLS_HELLO, b"\xff" * 100, b"SSH-2.0-OpenSSH_9.2\r\n", b"<html></html>"):
            reply = await self.talk(data)
            self.assertRegex(reply, rb"\AR00051\d\d: [^\r\n]+\r\n\Z", data)
        self.assertEqual(await self.engine.recent_jobs(), [])

    async def test_no_error_shows_a_path_or_a_version(self) -> None:
        for name in ("80", "81", "83", "84", "85", "87"):
            reply = (await self.talk(vector(name))).decode()
            for secret in (str(self.root.absolute()), "Traceback", "lxml", "Python"):
                self.assertNotIn(secret, reply)

    async def test_an_error_of_ours_says_nothing_about_itself(self) -> None:
        def broken(job_id: int) -> None:
            raise ZeroDivisionError("secret")

        self.patch(self.engine, "job", broken)
        reply = await self.talk(vector("21"))
        self.assertEqual(reply, b"R0005100: internal error; the server's log has the details\r\n")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class VanishingTests(FrontEndCase):
    async def test_a_client_that_goes_at_any_point(self) -> None:
        data = submission(_sys_ClientJobMonitor="true")
        for cut in range(0, len(data), 7):
            client = await self.connect(data[:cut])
            await self.until(
                lambda cut=cut: any(one._reader is not None and one._reader._size == cut for one in self.connections())
            )
            client.transport.abortConnection()
            await self.until(lambda: not self.connections())
        self.assertEqual(await self.engine.recent_jobs(), [])

    async def test_one_that_closed_its_side_first_is_closed_with_its_reply(self) -> None:
        client = await self.connect(submission())
        client.transport.loseWriteConnection()
        await self.until(lambda: client.closed.called and not self.connections(), moving=False)
        self.assertTrue(client.received.startswith(b"R0000000: T"), client.received)

    async def test_a_log_that_nobody_reads(self) -> None:
        self.backend.work = talk_for_long
        await self.talk(submission())
        (job,) = await self.engine.recent_jobs()
        await self.ended(job)
        client = await self.connect(packet("GetTaskLog", _sys_TransactionID=job.transaction_id))
        await self.until(lambda: client.received)
        client.transport.pauseProducing()
        await self.until(lambda: self.frontend.factory.stalled._ends)
        self.clock.advance(3600.1)
        await self.until(lambda: not self.connections())
        client.transport.resumeProducing()
        await self.until(lambda: client.closed.called)

    async def test_a_client_that_goes_after_its_packet_leaves_its_job(self) -> None:
        for _ in range(10):
            client = await self.connect(submission(_sys_ClientJobMonitor="true"))
            client.transport.loseConnection()
        while len(jobs := await self.engine.recent_jobs()) < 10:
            await self.turn()
        for job in jobs:
            await self.ended(job)
        await self.until(lambda: not self.frontend.factory._open)
        self.assertEqual(self.feed._jobs, {})

    async def test_a_client_that_does_not_close_is_closed(self) -> None:
        client = await self.connect(packet("GetBuildString"))
        # A client of its own that ignores our end: it hears it, and keeps its side open.
        client.transport.pauseProducing()
        await self.until(lambda: not self.frontend.factory._open)
        client.transport.resumeProducing()
        await self.until(lambda: client.closed.called)
        self.assertIsInstance(client.reason.value, ConnectionDone)


class StalledTests(FrontEndCase):
    frontend_options = {"stalled": 60}

    async def test_a_monitor_that_is_never_read_is_closed_and_its_job_goes_on(self) -> None:
        self.backend.work = talk_for_long
        client = await self.connect(submission(_sys_ClientJobMonitor="true"))
        await self.until(lambda: client.received)
        client.transport.pauseProducing()
        (job,) = await self.engine.recent_jobs()
        self.assertEqual((await self.ended(job)).outcome, Outcome.COMPLETED)
        await self.until(lambda: self.frontend.factory.stalled._ends)
        self.clock.advance(59)
        self.assertEqual(len(self.frontend.factory._open), 1)
        self.clock.advance(1.1)
        await self.until(lambda: not self.frontend.factory._open)
        client.transport.resumeProducing()
        await self.until(lambda: client.closed.called)


class LimitTests(FrontEndCase):
    frontend_options = {"connections": 3}

    async def test_one_connection_too_many(self) -> None:
        held = [await self.connect() for _ in range(3)]
        await self.until(lambda: len(self.frontend.factory._open) == 3)
        await self.assert_refused(packet("GetBuildString"), 5120)
        held[0].transport.loseConnection()
        await self.until(lambda: len(self.frontend.factory._open) == 2)
        self.assertTrue((await self.talk(packet("GetBuildString"))).startswith(b"R0000000: "))


class OptionTests(FrontEndCase):
    def test_options(self) -> None:
        self.assertEqual(read_table(PageflexOptions, {"timeout": 5}, "frontends.pageflex").timeout, 5)
        for table in ({"timeouts": 5}, {"timeout": 0}, {"timeout": "x"}, {"restart_from": "127.0.0.1"}, {"depth": 1.5}):
            with self.assertRaises(ConfigurationError):
                read_table(PageflexOptions, table, "frontends.pageflex")
