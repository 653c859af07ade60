"""Polls that come again byte by byte: answered without being read, and only as long as nothing has changed."""

from __future__ import annotations

import re
import socket

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from pfserver.remote import Account, Worker
from tests.frontends.http.support import HttpCase

PARAMS = b"<params><param><value>My factory</value></param></params>"
CALL = b"<methodCall><methodName>jobs.poll</methodName>%s</methodCall>" % PARAMS
POLL = b"POST /xmlrpc HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(CALL), CALL)


class IdleTests(HttpCase):
    async def setUp(self) -> None:
        await super().setUp()
        await self.add_factory()
        self.connection = await deferToThread(socket.create_connection, ("127.0.0.1", self.number), 30)
        self.addCleanup(self.connection.close)

    async def ask(self, *pieces: bytes, answers: int = 1) -> bytes:
        """Send bytes, read so many answers; gives the last one."""

        def work() -> bytes:
            for piece in pieces:
                self.connection.sendall(piece)
            received = b""
            while received.count(b"</methodResponse>") < answers:
                data = self.connection.recv(65536)
                if not data:
                    break
                received += data
            return received.split(b"</methodResponse>")[answers - 1]

        return await deferToThread(work)

    async def polls(self) -> int:
        return (await self.factories.factory("My factory")).polls

    async def idle(self) -> bytes:
        """Two polls that find nothing; gives the second answer, which is a repeated one."""
        first, second = await self.ask(POLL), await self.ask(POLL)
        self.assertIn(b"<struct></struct>", second)
        date = re.compile(rb"Date: [^\r]*\r\n")
        self.assertEqual(sorted(date.sub(b"", first).split(b"\r\n")), sorted(date.sub(b"", second).split(b"\r\n")))
        return second

    async def test_each_is_counted(self) -> None:
        for _ in range(3):
            await self.idle()
        self.assertEqual(await self.polls(), 6)
        status, _, body = await self.post(b"", path="/metrics")
        self.assertEqual(status, 200)
        self.assertRegex(body.decode(), r'(?m)jobs\.poll"\} 6(\.0)?$')

    async def test_a_new_job_is_handed_out(self) -> None:
        await self.idle()
        await self.submit()
        self.assertIn(b"letter.odt", await self.ask(POLL))
        await self.idle()

    async def test_a_factory_that_is_removed(self) -> None:
        await self.idle()
        await self.factories.drop_factory("My factory")
        self.assertIn(b"there is no factory", await self.ask(POLL))

    async def test_a_factory_that_can_do_more_now(self) -> None:
        await self.submit(applications=[{"application": "Calligra"}])
        await self.idle()
        await self.add_factory(workers=(Worker(application="Calligra"),))
        self.assertIn(b"letter.odt", await self.ask(POLL))

    async def test_rights_that_are_taken_away(self) -> None:
        await self.factories.put_account(Account(name="ann@example.org"))
        await self.add_factory(account="ann@example.org")
        token = (await self.factories.make_token("ann@example.org", "x")).encode()
        poll = POLL.replace(b"Host: x", b"Host: x\r\nAuthorization: Bearer " + token)
        for _ in range(2):
            self.assertIn(b"<struct></struct>", await self.ask(poll))
        await self.factories.put_account(Account(name="ann@example.org", rights=frozenset()))
        self.assertIn(b"no right to work", await self.ask(poll))

    async def test_in_pieces(self) -> None:
        await self.idle()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.assertIn(b"<struct></struct>", await self.ask(*(POLL[n : n + 1] for n in range(len(POLL)))))
        self.assertIn(b"<struct></struct>", await self.ask(POLL[:50], POLL[50:]))
        self.assertEqual(await self.polls(), 4)

    async def test_a_request_that_begins_like_it(self) -> None:
        await self.idle()
        other = POLL.replace(b"My factory", b"No factory")
        self.assertIn(b"there is no factory", await self.ask(other[:-90], other[-90:]))
        self.assertIn(b"<struct></struct>", await self.ask(POLL))

    async def test_several_at_once(self) -> None:
        await self.idle()
        self.assertIn(b"<struct></struct>", await self.ask(POLL * 3, answers=3))
        self.assertIn(b"<struct></struct>", await self.ask(POLL + POLL[:10], POLL[10:], answers=2))
        self.assertEqual(await self.polls(), 7)

    async def test_who_waits_to_be_told_to_go_on(self) -> None:
        head, body = POLL.replace(b"Host: x", b"Host: x\r\nExpect: 100-continue").split(b"\r\n\r\n")

        def told() -> bytes:
            self.connection.sendall(head + b"\r\n\r\n")
            return self.connection.recv(100)

        for _ in range(3):
            self.assertEqual(await deferToThread(told), b"HTTP/1.1 100 Continue\r\n\r\n")
            self.assertIn(b"<struct></struct>", await self.ask(body))

    async def test_a_beginning_without_an_end(self) -> None:
        await self.idle()

        def rest() -> bytes:
            self.connection.sendall(POLL[:30])
            return self.connection.recv(100)

        waiting = deferToThread(rest)
        (channel,) = self.frontend.factory._open
        while not channel._held:
            await self.pause()
        self.clock.advance(21)
        try:
            self.assertEqual(await waiting, b"")
        except ConnectionResetError:
            return

    async def test_a_body_that_is_late_is_no_late_header(self) -> None:
        await self.idle()
        (channel,) = self.frontend.factory._open
        head, body = POLL[: -len(CALL)], CALL
        await deferToThread(self.connection.sendall, head + body[:10])
        while not channel._held:
            await self.pause()
        self.clock.advance(21)
        self.assertIn(b"<struct></struct>", await self.ask(body[10:]))
        # It may be said again as before.
        self.assertIn(b"<struct></struct>", await self.ask(POLL))
        # But it has to come: at so many bytes a second, and not for ever.
        await deferToThread(self.connection.sendall, head + body[:10])
        while not channel._held:
            await self.pause()
        self.clock.advance(21)
        await self.pause()
        self.clock.advance(76)
        try:
            self.assertEqual(await deferToThread(self.connection.recv, 100), b"")
        except ConnectionResetError:
            return

    async def pause(self) -> None:
        await deferLater(reactor, 0.001)  # type: ignore[arg-type]

    async def test_a_server_that_stops(self) -> None:
        await self.idle()
        await self.engine.stop()
        self.assertIn(b"<struct></struct>", await self.ask(POLL))
