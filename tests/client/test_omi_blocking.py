"""The blocking OMI client against a real server."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from pfserver.client.errors import NoServer, ServerRefused
from pfserver.client.omi_blocking import BlockingOMIClient
from pfserver.wire.omi import Get, GetReply, Reference, Set, Status
from tests.frontends.omi.support import OMICase


class BlockingClientTests(OMICase):
    frontend_options: Any = {"routines": {"SAMPLE": {"project": "scripted.pf", "variables": ["Name"]}}}

    async def in_thread(self, work: Any) -> Any:
        def call() -> Any:
            with BlockingOMIClient("127.0.0.1", self.port.getHost().port) as client:
                return work(client)

        return await deferToThread(call)

    async def test_all_calls(self) -> None:
        def work(client: BlockingOMIClient) -> list[Any]:
            client.set("v", "X", 1)
            found: list[Any] = [client.version, client.get("X", 1), client.get("X", 2), client.define("X")]
            found += [client.increment(2, "X", "i"), client.order("X", ""), client.reverse_order("X", "")]
            found += [client.query("X"), client.reverse_query("X", ""), client.lock("X"), len(self.locks.held())]
            client.unlock("X")
            client.unlock_client()
            client.kill("X")
            started = client.start_job("SAMPLE", ["Zoe"])
            client.cancel_job(started.number)
            return [*found, client.define("X"), started.number, len(self.locks.held())]

        first, last = Reference(b"", b"X", (b"1",)), Reference(b"", b"X", (b"i",))
        expected = [2, b"v", None, 10, b"2", b"1", b"i", first, last, True, 1, 0, 1, 0]
        self.assertEqual(await self.in_thread(work), expected)

    async def test_many_at_once(self) -> None:
        def work(client: BlockingOMIClient) -> list[Any]:
            nodes = [Reference(b"", b"X", (b"%d" % n,)) for n in range(2_000)]
            client.ask_all([Set(node, b"v" * 100) for node in nodes])
            return client.ask_all([Get(node) for node in nodes])

        answers = await self.in_thread(work)
        self.assertEqual([answer.reply for answer in answers], [GetReply(1, b"v" * 100)] * 2_000)

    async def test_errors(self) -> None:
        def work(client: BlockingOMIClient) -> int:
            with self.assertRaises(ServerRefused) as caught:
                client.get("X", "")
            client.ask(Status())
            return caught.exception.number

        self.assertEqual(await self.in_thread(work), 3)

    async def test_an_answer_that_comes_too_late_is_nobodys(self) -> None:
        held: Deferred[None] = Deferred()
        write = self.globals.write

        async def late(function: Any) -> Any:
            await held
            return await write(function)

        self.patch(self.globals, "write", lambda function: Deferred.fromCoroutine(late(function)))

        def work(client: BlockingOMIClient) -> None:
            client._socket.settimeout(0.05)
            with self.assertRaisesRegex(NoServer, "in time"):
                client.increment(7, "X")
            reactor.callFromThread(held.callback, None)
            with self.assertRaisesRegex(NoServer, "lost"):
                client.increment(1, "X")

        await self.in_thread(work)

    def test_nobody_there(self) -> None:
        with self.assertRaises(NoServer):
            BlockingOMIClient("127.0.0.1", 1)
