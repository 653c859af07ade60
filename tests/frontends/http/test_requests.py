"""Requests as they come: vectors, odd ones, and peers that are slow, wrong or hostile."""

from __future__ import annotations

import base64

from twisted.internet import reactor
from twisted.internet.task import deferLater

from pfserver.model import State, job_id_of
from pfserver.wire.xmlrpc import Fault, Response, encode_call
from tests.frontends.http.channels import POLL, VECTORS, ChannelCase, answer
from tests.frontends.http.support import encoded


class RequestTests(ChannelCase):
    """Requests as they come."""

    async def setUp(self) -> None:
        await super().setUp()
        await self.add_factory()

    async def code(self, body: bytes, **headers: str) -> int:
        status, _, data = await self.post(body, headers)
        self.assertEqual(status, 200)
        fault = answer(b"HTTP/1.1 200 OK\r\n\r\n" + data)
        assert isinstance(fault, Fault), fault
        self.assertNotIn(str(self.root), fault.text)
        return fault.code

    async def test_vectors(self) -> None:
        for name in ("poll-request.xml", "untyped-values-request.xml"):
            _, _, data = await self.post((VECTORS / name).read_bytes())
            self.assertIn(b"<struct></struct>", data)
        self.assertEqual(await self.code((VECTORS / "bad-doctype.xml").read_bytes()), -32700)
        self.assertEqual(await self.code((VECTORS / "bad-unknown-method.xml").read_bytes()), -32601)
        self.assertEqual(await self.code((VECTORS / "finish-request.xml").read_bytes()), 3)

    async def test_http_1_0_and_odd_headers(self) -> None:
        head = b"POST /xmlrpc HTTP/1.0\r\nHost: localhost\r\nContent-Type: text/xml\r\nContent-Length: %d\r\n\r\n"
        data = await self.raw(head % len(POLL) + POLL)
        result = answer(data)
        self.assertEqual(result, Response({}))
        self.assertIn(b"\r\nContent-Type: text/xml\r\n", data)
        self.assertNotIn(b"Twisted", data)
        for content_type in ("application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "nonsense"):
            status, _, data = await self.post(POLL, {"Content-Type": content_type})
            self.assertEqual((status, b"<struct></struct>" in data), (200, True))

    async def test_chunked_and_slash(self) -> None:
        half = len(POLL) // 2
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (POLL[:half], POLL[half:], b""))
        head = b"POST /xmlrpc/?x=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        self.assertEqual(answer(await self.raw(head + chunks)), Response({}))

    async def test_the_absolute_form(self) -> None:
        head = b"POST %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
        for target in (b"http://x/xmlrpc", b"HTTPS://x:8010/xmlrpc?y=1"):
            self.assertEqual(answer(await self.raw(head % (target, len(POLL)) + POLL)), Response({}))

    async def test_pipelined(self) -> None:
        request = b"POST /xmlrpc HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(POLL), POLL)
        last = request.replace(b"Host: x", b"Host: x\r\nConnection: close")
        data = await self.raw(request + request + last)
        self.assertEqual(data.count(b"<struct></struct>"), 3)

    async def test_malformed(self) -> None:
        self.assertEqual(await self.code(b"hello"), -32700)
        self.assertEqual(await self.code(POLL[:-20]), -32700)
        self.assertEqual(await self.code(b"<html/>"), -32600)
        self.assertEqual(await self.code(b"<methodResponse/>"), -32600)
        self.assertEqual(await self.code(b"<methodCall><methodName>a</methodName>" + b" " * 70_000), 7)
        status, _, data = await self.post(b" ")
        self.assertEqual((status, b"-32700" in data), (200, True))

    async def test_expect_continue(self) -> None:
        head = b"POST /xmlrpc HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: 100-continue\r\n"
        head += b"Content-Length: %d\r\n\r\n"
        data = await self.raw(head % len(POLL) + POLL)
        self.assertTrue(data.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK"))

    async def test_too_large_is_refused_before_it_is_sent(self) -> None:
        head = b"POST /xmlrpc HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n"

        def refused(data: bytes) -> None:
            fault = answer(data)
            assert isinstance(fault, Fault)
            self.assertEqual(fault.code, 7)

        transport, channel = self.connect()
        channel.dataReceived(head % (200 * 1024 * 1024))
        refused(transport.value())
        # What else comes is thrown away, and after a while nobody listens.
        channel.dataReceived(b"x" * 100_000)
        self.clock.advance(11)
        self.assertTrue(transport.aborted)
        self.disconnect(channel)

    async def test_chunked_too_large(self) -> None:
        transport, channel = self.connect()
        channel.dataReceived(b"POST /xmlrpc HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        start = b"<methodCall><methodName>jobs.finish</methodName><params>"
        start += b"<param><value>x</value></param>" * 3 + b"<param><value>"
        channel.dataReceived(b"%x\r\n%s\r\n" % (len(start), start))
        text = b"QUJD" * (1024 * 1024)
        chunk = b"%x\r\n%s\r\n" % (len(text), text)
        for _ in range(60):
            channel.dataReceived(chunk)
            if transport.value():
                break
        fault = answer(transport.value())
        assert isinstance(fault, Fault)
        self.assertEqual(fault.code, 7)
        self.assertEqual(self.uploads(), [])
        self.disconnect(channel)

    async def test_too_much_for_what_is_no_call(self) -> None:
        """A body that nobody reads and that comes without a length: it must not fill the disk."""
        for path in (b"/healthz", b"/metrics", b"/nothing", b"/xmlrpc/pfserver.status"):
            transport, channel = self.connect("192.0.2.7")
            channel.dataReceived(b"POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" % path)
            for _ in range(4):
                self.assertEqual(transport.value(), b"")
                channel.dataReceived(b"4000\r\n%s\r\n" % bytes(0x4000))
            channel.dataReceived(b"1\r\nx\r\n")
            self.assertTrue(transport.value().startswith(b"HTTP/1.1 413 "), path)
            channel.dataReceived(b"4000\r\n%s\r\n" % bytes(0x4000))
            self.clock.advance(11)
            self.assertTrue(transport.aborted)
            self.disconnect(channel)

    async def test_slow_headers(self) -> None:
        transport, channel = self.connect()
        for _ in range(25):
            channel.dataReceived(b"P")
            self.clock.advance(1)
        self.assertTrue(transport.aborted)
        self.disconnect(channel)

    async def test_slow_body(self) -> None:
        transport, channel = self.connect()
        channel.dataReceived(b"POST /xmlrpc HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n<methodCall>")
        for _ in range(40):
            channel.dataReceived(b" ")
            self.clock.advance(1)
        self.assertTrue(transport.aborted)
        self.assertEqual(transport.value(), b"")
        self.disconnect(channel)

    async def test_silent_peer(self) -> None:
        transport, channel = self.connect()
        self.clock.advance(80)
        self.assertTrue(transport.disconnecting)
        self.disconnect(channel)

    async def test_headers_without_end(self) -> None:
        # A line that does not end is not answered.
        for junk, said in ((b"X: " + b"y" * 100_000, b""), (b"A: b\r\n" * 2000, b"HTTP/1.1 400 Bad Request\r\n\r\n")):
            transport, channel = self.connect()
            channel.dataReceived(b"POST /xmlrpc HTTP/1.1\r\n" + junk)
            self.assertEqual(transport.value(), said)
            self.assertTrue(transport.disconnecting or transport.aborted)
            self.disconnect(channel)

    async def test_gone_in_the_middle_of_a_document(self) -> None:
        transport, channel = self.connect()
        body = b"<methodCall><methodName>jobs.finish</methodName><params>"
        body += b"<param><value>x</value></param>" * 3 + b"<param><value>" + b"QUJD" * 50_000
        channel.dataReceived(b"POST /xmlrpc HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n" + body)
        self.assertEqual(len(self.uploads()), 1)
        self.disconnect(channel)
        self.assertEqual(self.uploads(), [])
        self.assertEqual(transport.value(), b"")

    async def test_gone_while_a_document_is_sent(self) -> None:
        (self.projects / "large.txt").write_bytes(b"text\n" * 400_000)
        (name,) = await self.submit(filename="large.txt")
        transport, channel = self.connect()
        transport.appetite = 100_000
        channel.dataReceived(b"POST /xmlrpc HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(POLL), POLL))
        while len(transport.value()) <= transport.appetite:
            await deferLater(reactor, 0.001)
        # It reads no more: neither do we read on.
        await deferLater(reactor, 0.01)
        self.assertLess(len(transport.value()), 300_000)
        self.disconnect(channel)
        # Nobody has the document: the job is not locked for five minutes.
        while (await self.engine.job(job_id_of(name))).state is not State.QUEUED:
            await deferLater(reactor, 0.001)

    async def test_an_answer_that_nobody_reads(self) -> None:
        (self.projects / "large.txt").write_bytes(b"text\n" * 400_000)
        (name,) = await self.submit(filename="large.txt")
        transport, channel = self.connect()
        transport.appetite = 100_000
        channel.dataReceived(b"POST /xmlrpc HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(POLL), POLL))

        async def more(size: int) -> int:
            while len(transport.value()) <= size:
                await deferLater(reactor, 0.001)
            return len(transport.value())

        size = await more(transport.appetite)
        for _ in range(2):
            # It takes some, late but not too late.
            self.clock.advance(100)
            self.assertFalse(transport.aborted)
            channel.resumeProducing()
            size = await more(size)
        self.clock.advance(121)
        self.assertTrue(transport.aborted)
        self.disconnect(channel)
        while (await self.engine.job(job_id_of(name))).state is not State.QUEUED:
            await deferLater(reactor, 0.001)

    async def test_gone_before_the_answer(self) -> None:
        (name,) = await self.submit()
        _, channel = self.connect()
        channel.dataReceived(b"POST /xmlrpc HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(POLL), POLL))
        self.disconnect(channel)
        while not any("was lost before" in one.text for one in await self.engine.messages(job_id_of(name))):
            await deferLater(reactor, 0.001)
        job = await self.engine.job(job_id_of(name))
        self.assertEqual((job.state, job.attempts), (State.QUEUED, 0))
        self.assertEqual((await self.call("jobs.poll", "My factory"))["filename"], "letter.odt")

    async def test_gone_while_a_submission_is_stored(self) -> None:
        document = (self.projects / "letter.odt").read_bytes()
        request = {"filename": "mine.odt", "document": encoded(document), "remote": True}
        call = bytes(encode_call("pfserver.submit", request))
        _, channel = self.connect()
        channel.dataReceived(b"POST /xmlrpc HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(call), call))
        self.disconnect(channel)
        while not await self.engine.jobs():
            await deferLater(reactor, 0.001)
        # What is stored can be done, though nobody was told that it is.
        job = await self.call("jobs.poll", "My factory")
        self.assertEqual(base64.b64decode(job["document"]), document)


class ManyTests(ChannelCase):
    """Too many connections."""

    options = {"connections": 2}

    async def test_too_many(self) -> None:
        transports = [self.connect()[0] for _ in range(3)]
        self.assertEqual([one.aborted for one in transports], [False, False, True])
