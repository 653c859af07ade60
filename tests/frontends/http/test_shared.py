"""Servers that share their jobs."""

from __future__ import annotations

import xmlrpc.client
from typing import Any

from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from pfserver.frontends.http import HttpFrontEndPlugin
from pfserver.model import State, job_id_of
from pfserver.store.database import Database
from tests.frontends.http.support import HttpCase, Services, encoded


class SharedTests(HttpCase):
    """Two servers that share the jobs, and each has its own state folder."""

    shared = True

    async def setUp(self) -> None:
        self.patch(Database, "is_private", False)
        await super().setUp()

    async def listen(self) -> Any:
        """The second one listens, too."""
        state = self.root / "second"
        self.second = self.build_engine("node-2", state)
        await self.second.start()
        services = Services(
            engine=self.second,
            reactor=reactor,
            clock=self.clock,
            state=state,
            store=self.database,
            factories=self.factories,
            projects_root=self.projects,
            locks=self.locks,
        )
        self.other = HttpFrontEndPlugin().build(services, {})
        self.other.startService()
        self.other_port = reactor.listenTCP(0, self.other.factory, interface="127.0.0.1")  # type: ignore[attr-defined]
        return await super().listen()

    async def close(self) -> None:
        await self.other_port.stopListening()
        self.other.stopService()
        await self.stop(self.second)
        await super().close()

    async def poll_other(self) -> Any:
        def work() -> Any:
            address = f"http://127.0.0.1:{self.other_port.getHost().port}/xmlrpc"
            with xmlrpc.client.ServerProxy(address) as proxy:
                return proxy.jobs.poll("another")

        return await deferToThread(work)

    async def test_an_upload_is_left_to_the_server_that_has_it(self) -> None:
        await self.add_factory()
        await self.add_factory("another")
        (name,) = await self.submit(document=encoded((self.projects / "letter.odt").read_bytes()))
        for _ in range(2):
            self.assertEqual(await self.poll_other(), {})
        job = await self.engine.job(job_id_of(name))
        self.assertEqual((job.state, job.attempts), (State.QUEUED, 0))
        self.assertEqual((await self.call("jobs.poll", "My factory"))["filename"], "letter.odt")
        # What lies below the projects folder anybody has.
        await self.submit()
        self.assertEqual((await self.poll_other())["filename"], "letter.odt")
