"""Servers that share their jobs."""

from __future__ import annotations

import xmlrpc.client
from typing import Any

from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from pfserver.frontends.http import HttpFrontEndPlugin
from pfserver.model import State, job_id_of
from pfserver.remote import Worker
from tests.frontends.http.support import HttpCase, Services, encoded


class SharedTests(HttpCase):
    """Two servers that share the jobs, and each has its own state folder."""

    home = "node-1"

    async def listen(self) -> Any:
        """The second one listens, too."""
        self.second = self.root / "second"
        services = Services(
            engine=self.engine,
            reactor=reactor,
            clock=self.clock,
            state=self.second,
            store=self.database,
            factories=self.factories,
            projects_root=self.projects,
            locks=self.locks,
            home="node-2",
        )
        self.other = HttpFrontEndPlugin().build(services, {})
        self.other.startService()
        self.other_port = reactor.listenTCP(0, self.other.factory, interface="127.0.0.1")  # type: ignore[attr-defined]
        return await super().listen()

    async def close(self) -> None:
        await self.other_port.stopListening()
        self.other.stopService()
        await super().close()

    async def poll_other(self) -> Any:
        def work() -> Any:
            address = f"http://127.0.0.1:{self.other_port.getHost().port}/xmlrpc"
            with xmlrpc.client.ServerProxy(address) as proxy:
                return proxy.jobs.poll("another")

        return await deferToThread(work)

    async def test_an_upload_is_left_to_the_server_that_has_it(self) -> None:
        await self.add_factory()
        # The engine is one here: it remembers what it has shown to factories with the same workers.
        await self.add_factory("another", workers=(Worker(application="LibreOffice Writer"),))
        (name,) = await self.submit(document=encoded((self.projects / "letter.odt").read_bytes()))
        for _ in range(2):
            self.assertEqual(await self.poll_other(), {})
        job = await self.engine.job(job_id_of(name))
        self.assertEqual((job.state, job.attempts), (State.QUEUED, 0))
        self.assertEqual((await self.call("jobs.poll", "My factory"))["filename"], "letter.odt")
        # What lies below the projects folder anybody has.
        await self.submit()
        self.assertEqual((await self.poll_other())["filename"], "letter.odt")
