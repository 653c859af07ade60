"""Documents that are sent slowly, or not to their end."""

from __future__ import annotations

import socket
from base64 import b64decode
from http.client import HTTPException

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from pfserver.frontends.http import api, deliveries
from pfserver.frontends.http.exchange import FileSource
from pfserver.frontends.http.site import Channel
from pfserver.model import Job, State, job_id_of
from tests.frontends.http.channels import POLL, ChannelCase, Transport
from tests.frontends.http.support import HttpCase

REQUEST = b"POST /xmlrpc HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(POLL), POLL)

#: Seconds for which a slow peer takes nothing; less than what the server allows.
PAUSE = 60.0


class DeliveryCase(ChannelCase):
    """A job with a large document, and factories that poll."""

    async def setUp(self) -> None:
        await super().setUp()
        await self.add_factory()
        (self.projects / "large.txt").write_bytes(b"text\n" * 400_000)
        (name,) = await self.submit(filename="large.txt")
        self.job_id = job_id_of(name)

    async def job(self) -> Job:
        return await self.engine.job(self.job_id)

    async def begin(self) -> tuple[Transport, Channel]:
        """Poll; gives a connection on which the document has begun to come, and no more is taken for now."""
        transport, channel = self.connect()
        transport.appetite = 100_000
        channel.dataReceived(REQUEST)
        await self.taken(transport, transport.appetite)
        return transport, channel

    async def taken(self, transport: Transport, size: int) -> int:
        while len(transport.value()) <= size:
            await deferLater(reactor, 0.001)  # type: ignore[arg-type]
        return len(transport.value())

    async def becomes(self, state: State) -> Job:
        while (job := await self.job()).state is not state:
            await deferLater(reactor, 0.001)  # type: ignore[arg-type]
        return job

    async def polled(self) -> bool:
        """Poll and read a bit; whether there was a job. Then the connection breaks."""
        transport, channel = self.connect()
        transport.appetite = 10_000
        channel.dataReceived(REQUEST)
        got = len(await self.received(transport)) > 10_000
        self.disconnect(channel)
        return got


class SlowTests(DeliveryCase):
    """A slow line."""

    def ended(self, transport: Transport) -> bool:
        return transport.value().rstrip().endswith(b"</methodResponse>")

    async def lease_left(self, seconds: float) -> None:
        """Wait until the lock is good for so long from now; it must not have run out."""
        while True:
            job = await self.job()
            self.assertEqual(job.state, State.LEASED)
            assert job.lease_until is not None
            if job.lease_until >= self.clock.seconds() + seconds:
                return
            await deferLater(reactor, 0.001)  # type: ignore[arg-type]

    async def test_the_lock_counts_from_the_end(self) -> None:
        transport, channel = await self.begin()
        began = self.clock.seconds()
        size = len(transport.value())
        while not self.ended(transport):
            self.clock.advance(PAUSE)
            self.assertFalse(transport.aborted)
            channel.resumeProducing()
            while len(transport.value()) <= size and not self.ended(transport):
                await deferLater(reactor, 0.001)  # type: ignore[arg-type]
            size = len(transport.value())
            await self.lease_left(300 - 2 * PAUSE)
        self.assertGreater(self.clock.seconds() - began, 600)
        await self.lease_left(300)
        job = await self.job()
        self.assertEqual((job.state, job.attempts), (State.LEASED, 1))

    async def test_others_are_served_meanwhile(self) -> None:
        await self.begin()
        await self.submit()
        self.assertEqual((await self.call("jobs.poll", "My factory"))["filename"], "letter.odt")

    async def test_not_for_ever(self) -> None:
        self.patch(deliveries, "LONGEST", 250.0)
        transport, channel = await self.begin()
        end = self.clock.seconds() + 250 + 300
        size = len(transport.value())
        while (await self.job()).state is State.LEASED:
            self.assertLessEqual(self.clock.seconds(), end)
            self.clock.advance(PAUSE / 2)
            channel.resumeProducing()
            if self.clock.seconds() < end - 300:
                size = await self.taken(transport, size)
            await deferLater(reactor, 0.02)  # type: ignore[arg-type]
        self.assertEqual((await self.job()).state, State.QUEUED)


class BrokenTests(DeliveryCase):
    """Connections that are lost."""

    async def test_it_is_no_attempt(self) -> None:
        for _ in range(deliveries.FREE_OF_A_FACTORY):
            _, channel = await self.begin()
            self.assertEqual((await self.job()).attempts, 1)
            self.disconnect(channel)
            self.assertEqual((await self.becomes(State.QUEUED)).attempts, 0)

    async def test_a_factory_that_always_breaks_off_leaves_the_job_to_others(self) -> None:
        for _ in range(deliveries.FREE_OF_A_FACTORY + 1):
            self.assertTrue(await self.polled())
            await self.becomes(State.QUEUED)
        self.assertFalse(await self.polled())
        await self.add_factory("other")
        self.assertEqual((await self.call("jobs.poll", "other"))["filename"], "large.txt")
        # Later it is given another chance, and one delivery to the end makes up for all.
        await self.submit()
        self.clock.advance(2)
        self.assertEqual((await self.call("jobs.poll", "My factory"))["filename"], "letter.odt")
        self.assertEqual(self.frontend.jobs._deliveries._of_factories, {})

    async def test_a_job_that_nobody_takes_to_its_end_has_one(self) -> None:
        count = 0
        while (await self.job()).state is not State.DONE:
            self.clock.advance(deliveries.LONGEST_PAUSE)
            count += await self.polled()
            while (await self.job()).state is State.LEASED:
                await deferLater(reactor, 0.001)  # type: ignore[arg-type]
        self.assertEqual(count, deliveries.FREE_OF_A_JOB + 3)

    async def test_an_old_delivery_does_not_end_a_new_lease(self) -> None:
        _, old = await self.begin()
        self.clock.advance(110)
        await self.engine.release(self.job_id, "My factory", "restarted")
        _, new = await self.begin()
        leased = await self.job()
        self.disconnect(old)
        # Whatever the old one has to say is said before this.
        await self.call("pfserver.status", leased.transaction_id, 0)
        await deferLater(reactor, 0.05)  # type: ignore[arg-type]
        self.assertEqual((await self.job()).state, State.LEASED)
        self.disconnect(new)
        self.assertEqual((await self.becomes(State.QUEUED)).attempts, 1)


class UnreadableTests(HttpCase):
    async def test_a_document_that_becomes_shorter(self) -> None:
        """Whether it goes out in one piece or in several: the job waits for the next who asks."""
        await self.add_factory()
        for small in (api.SMALL, 0):
            self.patch(api, "SMALL", small)
            (name,) = await self.submit()
            reading = self.patch(FileSource, "read", lambda source, size: b"")
            with self.assertRaises((HTTPException, OSError)):
                await self.call("jobs.poll", "My factory")
            reading.restore()
            self.assertTrue(self.flushLoggedErrors(EOFError))
            while (job := await self.engine.job(job_id_of(name))).state is not State.QUEUED:
                await deferLater(reactor, 0.001)  # type: ignore[arg-type]
            self.assertEqual(job.attempts, 0)
            self.assertEqual((await self.call("jobs.poll", "My factory"))["filename"], "letter.odt")


class SlowLineTests(HttpCase):
    """A real socket that is read slowly, for much longer than any time-out of a connection."""

    async def test_it_is_not_cut_and_others_are_served(self) -> None:
        document = b"text\n" * 1_600_000
        for name in ("My factory", "other"):
            await self.add_factory(name)
        (self.projects / "large.txt").write_bytes(document)
        (job,) = await self.submit(filename="large.txt")
        slow = socket.socket()
        self.addCleanup(slow.close)
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        await deferToThread(slow.connect, ("127.0.0.1", self.number))
        await deferToThread(slow.sendall, REQUEST)
        received = bytearray(await deferToThread(slow.recv, 1))
        (channel,) = self.frontend.factory._open
        began, pauses = self.clock.seconds(), 0
        waits = channel._read_timer
        while not received.endswith(b"</methodResponse>"):
            more = await deferToThread(slow.recv, 65536)
            self.assertTrue(more, "it was cut")
            received += more
            # It counts anew whenever the server could send something; every tenth time that takes a minute and a half.
            if channel._read_timer not in (None, waits):
                waits, pauses = channel._read_timer, pauses + 1
                if pauses % 10 == 0:
                    self.clock.advance(90)
                    self.assertEqual(await self.call("jobs.poll", "other"), {})
        self.assertGreater(self.clock.seconds() - began, 300)
        self.assertEqual((await self.engine.job(job_id_of(job))).state, State.LEASED)
        text = bytes(received).partition(b"<name>document</name>")[2]
        self.assertTrue(b64decode(text.partition(b"<string>")[2].partition(b"</string>")[0]) == document)
