"""The API around its methods: vectors, documentation, identity, and peers that are slow, wrong or hostile."""

from __future__ import annotations

import base64
import os
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.task import deferLater
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from pfserver.errors import ConfigurationError
from pfserver.frontends.http import HttpFrontEndPlugin
from pfserver.frontends.http.site import Channel
from pfserver.model import State, job_id_of
from pfserver.remote import Account
from pfserver.wire.xmlrpc import Fault, Reader, Response, encode_call
from tests.backends.office import samples
from tests.frontends.http.support import PDF, HttpCase, encoded

VECTORS = Path(__file__).parent.parent.parent / "vectors" / "officeshots"
POLL = (VECTORS / "poll-request.xml").read_bytes()


def answer(data: bytes) -> Response | Fault:
    """The answer in a whole HTTP response."""
    head, _, body = data.partition(b"\r\n\r\n")
    assert head.startswith((b"HTTP/1.1 200 OK", b"HTTP/1.0 200 OK")), head
    reader = Reader()
    reader.feed(body)
    result = reader.close()
    assert not hasattr(result, "method")
    return result  # type: ignore[return-value]


class Transport(StringTransport):
    """Notices an abort; takes so many bytes and then no more for now."""

    aborted = False
    appetite = 1_000_000_000

    def write(self, data: bytes) -> None:
        super().write(data)
        if len(self.value()) > self.appetite and self.producer is not None:
            self.producer.pauseProducing()

    def abortConnection(self) -> None:
        self.aborted = True
        super().abortConnection()


class ChannelCase(HttpCase):
    """Connections without a socket: what they are sent and when is exact."""

    def connect(self, host: str = "127.0.0.1") -> tuple[Transport, Channel]:
        address = IPv4Address("TCP", host, 1234)
        channel = self.frontend.factory.buildProtocol(address)
        transport = Transport(hostAddress=address, peerAddress=address)
        channel.makeConnection(transport)
        self.addCleanup(self.disconnect, channel)
        return transport, channel

    def disconnect(self, channel: Channel) -> None:
        if channel in self.frontend.factory._open:
            channel.connectionLost(Failure(ConnectionDone()))

    async def received(self, transport: Transport) -> bytes:
        """Wait until something was sent."""
        while not transport.value():
            await deferLater(reactor, 0.001)
        return transport.value()


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
        head = b"POST /xmlrpc HTTP/1.0\r\nHost: example.org\r\nContent-Type: text/xml\r\nContent-Length: %d\r\n\r\n"
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
        for junk in (b"X: " + b"y" * 100_000, b"A: b\r\n" * 2000):
            transport, channel = self.connect()
            channel.dataReceived(b"POST /xmlrpc HTTP/1.1\r\n" + junk)
            self.assertIn(b"400", transport.value()[:20] or b"400")
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
        job_id = job_id_of(name)
        while not ((job := await self.engine.job(job_id)).attempts and job.state is State.QUEUED):
            await deferLater(reactor, 0.001)
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


class PeopleTests(HttpCase):
    """Documentation, health, metrics."""

    async def test_documentation(self) -> None:
        status, headers, body = await self.post(b"")
        self.assertEqual((status, headers["Content-Type"]), (200, "text/html; charset=utf-8"))
        self.assertIn(b'<a href="/xmlrpc/jobs.poll">', body)
        status, _, body = await self.post(b"", path="/xmlrpc/jobs.poll")
        self.assertEqual((status, b"Find a job that matches" in body), (200, True))
        self.assertEqual((await self.post(b"", path="/xmlrpc/jobs.nope"))[0], 404)
        self.assertEqual((await self.post(POLL, path="/xmlrpc/jobs.poll"))[0], 405)
        self.assertEqual((await self.post(b"", path="/nothing"))[0], 404)

    async def test_introspection(self) -> None:
        methods = await self.call("system.listMethods")
        self.assertIn("jobs.finish", methods)
        for method in methods:
            self.assertTrue(await self.call("system.methodHelp", method))
            self.assertTrue(all(await self.call("system.methodSignature", method)))
        signature = [["string", "string", "string", "string", "string"]]
        self.assertEqual(await self.call("system.methodSignature", "jobs.finish"), signature)
        await self.fault(-32601, "system.methodHelp", "jobs.nope")

    async def test_health_and_metrics(self) -> None:
        self.assertEqual((await self.post(b"", path="/healthz"))[2], b"ok\n")
        await self.add_factory('a "b"')
        await self.call("jobs.poll", 'a "b"')
        body = (await self.post(b"", path="/metrics"))[2].decode()
        self.assertIn('pfserver_xmlrpc_calls_total{method="jobs.poll"} 1\n', body)
        self.assertIn('pfserver_factory_polls_total{factory="a \\"b\\""} 1\n', body)
        self.assertIn('pfserver_jobs_waiting{queue="default"} 0\n', body)


class OwnMethodTests(HttpCase):
    """``pfserver.*``."""

    async def test_upload(self) -> None:
        await self.add_factory()
        document = (self.projects / "letter.odt").read_bytes()
        (self.projects / "letter.odt").unlink()
        (name,) = await self.submit(filename="C:\\x\\mine.odt", document=encoded(document))
        job = await self.call("jobs.poll", "My factory")
        self.assertEqual((job["filename"], base64.b64decode(job["document"])), ("mine.odt", document))
        self.assertEqual(len(self.uploads()), 1)
        await self.call("jobs.finish", "My factory", job["job"], "pdf", encoded(PDF))
        self.assertEqual((await self.engine.artifacts(job_id_of(name)))[0].name, "mine.pdf")

    async def test_uploads_are_swept(self) -> None:
        document = encoded((self.projects / "letter.odt").read_bytes())
        (name,) = await self.submit(document=document)
        (upload,) = self.uploads()
        os.utime(self.state / "uploads" / upload, (1, 1))
        await self.frontend.sweep()
        self.assertEqual(self.uploads(), [upload])
        await self.call("pfserver.cancel", name)
        await self.frontend.sweep()
        self.assertEqual(self.uploads(), [])

    async def test_refused_documents_are_removed(self) -> None:
        await self.fault(6, "pfserver.submit", self.request(document=encoded(b"nonsense")))
        samples.ods(self.projects / "sheet.ods")
        await self.fault(
            6, "pfserver.submit", self.request(document=encoded((self.projects / "sheet.ods").read_bytes()))
        )
        self.assertEqual(self.uploads(), [])

    def request(self, **changes: object) -> dict[str, object]:
        return {"filename": "letter.odt", "applications": [{"application": "Writer"}], **changes}

    async def test_refused(self) -> None:
        for changes in (
            {"filename": "a.exe"},
            {"filename": 7},
            {"pages": "x"},
            {"format": "exe"},
            {"colour": "blue"},
            {"applications": "Writer"},
            {"applications": ["Writer"]},
            {"applications": [{"application": "x"}] * 51},
            {"password": "secret"},
            {"queue": "nowhere"},
            {"priority": True},
            {"filename": "../letter.odt"},
            {"filename": "missing.odt"},
            {"document": 7},
        ):
            text = await self.fault(-32602, "pfserver.submit", self.request(**changes))
            self.assertNotIn("secret", text)
        self.assertEqual(await self.engine.jobs(), [])

    async def test_one_job_for_each_application(self) -> None:
        names = await self.submit(applications=[{"application": "Writer"}, {"application": "Word", "version": "2003"}])
        statuses = [await self.call("pfserver.status", name, 0) for name in names]
        self.assertEqual([one["application"] for one in statuses], ["Writer", "Word"])
        self.assertEqual(len({one["group"] for one in statuses}), 1)
        self.assertTrue(statuses[0]["group"])

    async def test_remote(self) -> None:
        await self.add_factory()
        await self.submit(applications=[], remote=True)
        self.assertEqual((await self.call("jobs.poll", "My factory"))["application"], "LibreOffice Writer")

    async def test_unknown_jobs(self) -> None:
        await self.fault(-32602, "pfserver.status", "7", 0)
        await self.fault(3, "pfserver.status", "T0000007", 0)
        (name,) = await self.submit()
        await self.fault(3, "pfserver.fetch", name, "../../jobs.sqlite")


class ManageTests(HttpCase):
    """Factories and accounts over XML-RPC."""

    async def test_factories(self) -> None:
        worker = {"application": "Writer", "version": "7.4", "doctypes": ["odt"], "formats": ["pdf"]}
        put = {"name": "f", "account": "a@example.org", "workers": [worker]}
        self.assertIs(await self.call("pfserver.factories.put", put), True)
        (shown,) = await self.call("pfserver.factories.list")
        self.assertEqual((shown["name"], shown["workers"], shown["active"]), ("f", [worker], False))
        self.assertIs(await self.call("pfserver.factories.drop", "f"), True)
        self.assertEqual(await self.call("pfserver.factories.list"), [])
        await self.fault(1, "pfserver.factories.drop", "f")
        for bad in ({}, {"name": "f", "workers": [7]}, {"name": "f", "x": 1}):
            await self.fault(-32602, "pfserver.factories.put", bad)
        bad_worker = {**worker, "doctypes": ["exe"]}
        await self.fault(-32602, "pfserver.factories.put", {**put, "workers": [bad_worker]})

    async def test_accounts(self) -> None:
        await self.call("pfserver.accounts.put", "A@Example.org", ["work"])
        self.assertEqual(await self.call("pfserver.accounts.list"), [{"name": "a@example.org", "rights": ["work"]}])
        await self.fault(-32602, "pfserver.accounts.put", "a@example.org", ["root"])
        await self.fault(-32602, "pfserver.accounts.make_token", "nobody", "x")


class IdentityTests(HttpCase):
    """Who may do what, without TLS."""

    async def as_token(self, token: str, body: bytes = POLL, scheme: str = "Bearer") -> Response | Fault:
        value = token if scheme == "Bearer" else base64.b64encode(b"x:" + token.encode()).decode()
        _, _, data = await self.post(body, {"Authorization": f"{scheme} {value}"})
        return answer(b"HTTP/1.1 200 OK\r\n\r\n" + data)

    async def test_tokens(self) -> None:
        await self.add_factory(account="a@example.org")
        for account in ("a@example.org", "b@example.org"):
            await self.factories.put_account(Account(name=account))
        await self.factories.put_account(Account(name="c@example.org", rights={"submit"}))
        tokens = {}
        for account in ("a", "b", "c"):
            tokens[account] = await self.factories.make_token(f"{account}@example.org", "test")
        self.assertEqual(await self.as_token(tokens["a"]), Response({}))
        self.assertEqual(await self.as_token(tokens["a"], scheme="Basic"), Response({}))
        for token in (tokens["b"], tokens["c"], "wrong"):
            fault = await self.as_token(token)
            assert isinstance(fault, Fault), fault
            self.assertEqual(fault.code, 2)
        listing = b"<methodCall><methodName>pfserver.accounts.list</methodName></methodCall>"
        fault = await self.as_token(tokens["a"], listing)
        assert isinstance(fault, Fault)
        self.assertEqual(fault.code, 2)

    async def test_others_jobs_are_hidden(self) -> None:
        await self.factories.put_account(Account(name="a@example.org"))
        token = await self.factories.make_token("a@example.org", "test")
        await self.submit()
        status = (
            b"<methodCall><methodName>pfserver.status</methodName><params><param><value>T0000001</value></param>"
            b"<param><value><int>0</int></value></param></params></methodCall>"
        )
        fault = await self.as_token(token, status)
        assert isinstance(fault, Fault)
        self.assertEqual(fault.code, 3)

    async def test_pages_in_browsers_and_proxies_are_not_local(self) -> None:
        await self.add_factory()
        for headers in (
            {"Origin": "http://evil.example"},
            {"Origin": "http://evil.example", "Host": "evil.example"},
            {"X-Forwarded-For": "192.0.2.7"},
            {"Forwarded": "for=192.0.2.7"},
        ):
            _, _, data = await self.post(POLL, headers)
            fault = answer(b"HTTP/1.1 200 OK\r\n\r\n" + data)
            assert isinstance(fault, Fault), (headers, fault)
            self.assertEqual(fault.code, 2)
        _, _, data = await self.post(POLL, {"Origin": f"http://127.0.0.1:{self.number}"})
        self.assertIn(b"<struct></struct>", data)


class ElsewhereTests(ChannelCase):
    """Calls from other machines over plain HTTP need a token."""

    async def ask(self, host: str, *headers: bytes) -> Response | Fault:
        transport, channel = self.connect(host)
        head = b"\r\n".join((b"POST /xmlrpc HTTP/1.1", b"Host: x", b"Content-Length: %d" % len(POLL), *headers))
        channel.dataReceived(head + b"\r\n\r\n" + POLL)
        return answer(await self.received(transport))

    async def test_token(self) -> None:
        await self.add_factory(account="a@example.org")
        await self.factories.put_account(Account(name="a@example.org"))
        token = await self.factories.make_token("a@example.org", "test")
        self.assertEqual(await self.ask("127.0.0.1"), Response({}))
        self.assertEqual(await self.ask("127.8.9.1"), Response({}))
        self.assertEqual(await self.ask("192.0.2.7", b"Authorization: Bearer " + token.encode()), Response({}))
        for headers in ((), (b"Authorization: Bearer wrong",), (b"Authorization: Basic %%%",), (b"Origin: http://x",)):
            fault = await self.ask("192.0.2.7", *headers)
            assert isinstance(fault, Fault), fault
            self.assertEqual(fault.code, 2)
            self.assertNotIn("a@example.org", fault.text)

    async def test_strangers_see_health_and_documentation_only(self) -> None:
        await self.add_factory("Ann's secret machine")
        for path, status in ((b"/healthz", b"200"), (b"/xmlrpc", b"200"), (b"/metrics", b"403")):
            transport, channel = self.connect("192.0.2.7")
            channel.dataReceived(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path)
            data = await self.received(transport)
            self.assertEqual(data.split()[1], status, path)
            self.assertNotIn(b"Ann", data)


class ClosedTests(ChannelCase):
    """A server that trusts nobody without a token."""

    options = {"loopback_rights": []}

    async def test_refused_before_the_body(self) -> None:
        transport, channel = self.connect()
        channel.dataReceived(b"POST /xmlrpc HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n")
        fault = answer(await self.received(transport))
        assert isinstance(fault, Fault)
        self.assertEqual(fault.code, 2)
        # Nothing of what comes is kept, and nobody listens for long.
        channel.dataReceived(POLL[:-100] + b"x" * 1_000_000)
        self.assertEqual(self.uploads(), [])
        self.clock.advance(11)
        self.assertTrue(transport.aborted)


class ConfigurationTests(TestCase):
    """``[frontends.http]``."""

    def test_bad_options(self) -> None:
        for options in ({"port": 1}, {"connections": 0}, {"loopback_rights": ["root"]}, {"lease_seconds": "x"}):
            error = self.assertRaises(ConfigurationError, HttpFrontEndPlugin().build, None, options)
            self.assertIn(next(iter(options)), str(error))
