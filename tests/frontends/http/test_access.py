"""Who may do what, from where, and with which token."""

from __future__ import annotations

import base64
import socket

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from pfserver.errors import ConfigurationError
from pfserver.frontends.http import HttpFrontEndPlugin
from pfserver.remote import Account
from pfserver.wire.xmlrpc import Fault, Response
from tests.frontends.http.channels import POLL, ChannelCase, answer
from tests.frontends.http.support import HttpCase


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

    async def test_a_foreign_name_that_was_made_to_mean_this_machine(self) -> None:
        """A page that reads sends no Origin."""
        await self.add_factory()
        own = socket.gethostname()
        self.patch(socket, "getfqdn", lambda: "Press-7.Example.ORG")
        self.frontend.startService()
        while "press-7.example.org" not in self.frontend._hosts:
            await deferLater(reactor, 0.001)
        for host, status in (
            ("evil.example:8010", 403),
            ("127.0.0.1.evil.example", 403),
            ("[", 403),
            ("localhost:8010", 200),
            ("127.0.0.1", 200),
            ("[::1]:8010", 200),
            ("press", 200),
            (own.upper(), 200),
            ("press-7.example.org:8010", 200),
            ("localhost.localdomain", 200),
            ("localhost.", 200),
        ):
            self.assertEqual((await self.post(b"", {"Host": host}, "/metrics"))[0], status, host)
        _, _, data = await self.post(POLL, {"Host": "evil.example"})
        fault = answer(b"HTTP/1.1 200 OK\r\n\r\n" + data)
        assert isinstance(fault, Fault)
        self.assertEqual(fault.code, 2)
        # With a token it is nobody's page.
        await self.factories.put_account(Account(name="a@example.org"))
        token = await self.factories.make_token("a@example.org", "test")
        headers = {"Host": "press.example.org", "Authorization": f"Bearer {token}"}
        self.assertEqual((await self.post(b"", headers, "/metrics"))[0], 200)


class Elsewhere(ChannelCase):
    """Calls over plain HTTP, some from other machines."""

    async def ask(self, host: str, *headers: bytes) -> Response | Fault:
        transport, channel = self.connect(host)
        head = b"\r\n".join((b"POST /xmlrpc HTTP/1.1", b"Host: x", b"Content-Length: %d" % len(POLL), *headers))
        channel.dataReceived(head + b"\r\n\r\n" + POLL)
        return answer(await self.received(transport))

    async def token(self) -> bytes:
        """A header that shows who calls."""
        await self.add_factory(account="a@example.org")
        await self.factories.put_account(Account(name="a@example.org"))
        return b"Authorization: Bearer " + (await self.factories.make_token("a@example.org", "test")).encode()

    async def refused(self, words: str, host: str, *headers: bytes) -> None:
        """A call that must be refused, whoever sends it."""
        fault = await self.ask(host, *headers)
        assert isinstance(fault, Fault), fault
        self.assertEqual(fault.code, 2)
        self.assertIn(words, fault.text)
        self.assertNotIn("a@example.org", fault.text)


class ElsewhereTests(Elsewhere):
    """Calls from other machines need TLS: a token would go over the net in the open."""

    async def test_token(self) -> None:
        token = await self.token()
        self.assertEqual(await self.ask("127.0.0.1"), Response({}))
        self.assertEqual(await self.ask("127.8.9.1"), Response({}))
        self.assertEqual(await self.ask("127.0.0.1", token), Response({}))
        self.assertEqual(await self.ask("127.0.0.1", token, b"Origin: http://x"), Response({}))
        for headers in ((), (token,), (b"Authorization: Bearer wrong",), (b"Origin: http://x",)):
            await self.refused("use https", "192.0.2.7", *headers)
        await self.refused("use https", "127.0.0.1", token, b"X-Forwarded-For: 192.0.2.7")

    async def test_both_families(self) -> None:
        await self.add_factory()
        self.assertEqual(await self.ask("::ffff:127.0.0.1"), Response({}))
        self.assertEqual(await self.ask("::1"), Response({}))
        await self.refused("use https", "::ffff:192.0.2.7")

    async def test_headers_that_nobody_can_read(self) -> None:
        await self.add_factory()
        for header in (
            b"Authorization: Bearer \xff",
            b"Authorization: Basic \xc3\xa9",
            b"Authorization: Basic %%%",
            b"Authorization: Basic /w==",
        ):
            await self.refused("can be read", "127.0.0.1", header)
        await self.refused("cannot be read", "127.0.0.1", b"Origin: http://[")
        await self.refused("a page", "127.0.0.1", b"Origin: http://x:y")
        await self.refused("cannot be read", "127.0.0.1", b"Origin: \xff")

    async def test_nothing_of_the_body_is_read(self) -> None:
        token = await self.token()
        transport, channel = self.connect("192.0.2.7")
        channel.dataReceived(b"POST /xmlrpc HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n%s\r\n\r\n" % token)
        self.assertIsInstance(answer(await self.received(transport)), Fault)

    async def test_strangers_see_health_and_documentation_only(self) -> None:
        await self.add_factory("Ann's secret machine")
        for path, status in ((b"/healthz", b"200"), (b"/xmlrpc", b"200"), (b"/metrics", b"403")):
            transport, channel = self.connect("192.0.2.7")
            channel.dataReceived(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path)
            data = await self.received(transport)
            self.assertEqual(data.split()[1], status, path)
            self.assertNotIn(b"Ann", data)


class PlainTokensTests(Elsewhere):
    """A server behind a proxy that ends TLS, or in a private network."""

    options = {"plain_tokens": True}

    async def test_token(self) -> None:
        token = await self.token()
        self.assertEqual(await self.ask("192.0.2.7", token), Response({}))
        self.assertEqual(await self.ask("127.0.0.1", token, b"X-Forwarded-For: 192.0.2.7"), Response({}))
        for headers in ((), (b"Authorization: Basic %%%",), (b"Origin: http://x",)):
            await self.refused("is needed", "192.0.2.7", *headers)
        await self.refused("not known", "192.0.2.7", b"Authorization: Bearer wrong")


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
        for options in (
            {"port": 1},
            {"connections": 0},
            {"loopback_rights": ["root"]},
            {"lease_seconds": "x"},
            {"plain_tokens": 1},
        ):
            error = self.assertRaises(ConfigurationError, HttpFrontEndPlugin().build, None, options)
            self.assertIn(next(iter(options)), str(error))
