"""What is left of conversions is removed from time to time, and nothing that is still needed."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

from twisted.internet import reactor as any_reactor
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase

from pfserver.documents.request import SECRET, UPLOAD
from pfserver.documents.sweeper import SWEEP_AGE, SWEEP_INTERVAL, Sweeper
from pfserver.documents.uploads import Uploads
from pfserver.model import JobRequest
from tests.frontends.http.support import HttpCase
from tests.support.process import PATIENCE, PLUGINS, ROOT, ServerProcess

reactor: Any = any_reactor


class ClockWithThreads(Clock):
    """Time is the test's, threads are real."""

    def getThreadPool(self) -> Any:
        return reactor.getThreadPool()

    def callFromThread(self, function: Any, *arguments: Any) -> None:
        reactor.callFromThread(function, *arguments)


class SweeperTests(HttpCase):
    async def setUp(self) -> None:
        await super().setUp()
        self.kept = Uploads(self.state)
        self.timer = ClockWithThreads()
        self.sweeper = Sweeper(self.engine, self.factories, self.kept, self.timer)
        self.sweeper.startService()
        self.addCleanup(self.sweeper.stopService)

    async def sweep(self) -> None:
        """Let it be time, and wait until all is done: then the next one is planned."""
        self.timer.advance(SWEEP_INTERVAL)
        while not self.timer.getDelayedCalls():
            await deferLater(reactor, 0.001)

    async def age(self) -> None:
        """Let all that lies there become old."""
        for _ in range(round(SWEEP_AGE / SWEEP_INTERVAL)):
            await self.sweep()

    async def test_when_it_is_time(self) -> None:
        self.kept.keep("old")
        await self.age()
        self.timer.advance(SWEEP_INTERVAL - 1)
        # It is not even being looked for.
        self.assertTrue(self.timer.getDelayedCalls())
        self.assertEqual(len(self.uploads()), 1)
        self.timer.advance(1)
        while not self.timer.getDelayedCalls():
            await deferLater(reactor, 0.001)
        self.assertEqual(self.uploads(), [])
        self.kept.keep("another")
        await self.age()
        await self.sweep()
        self.assertEqual(self.uploads(), [])

    async def test_what_jobs_need_is_kept(self) -> None:
        document, password, nobodys = (self.kept.keep("old") for _ in range(3))
        variables = {UPLOAD: document, SECRET: password, "_sys_Application": "LibreOffice Writer"}
        # As a job that was accepted before.
        (job,) = await self.engine._store.add([JobRequest(project="a.odt", backend="factory", variables=variables)])
        await self.age()
        young = self.kept.keep("young")
        await self.sweep()
        self.assertEqual(sorted(self.uploads()), sorted([document, password, young]), nobodys)
        await self.engine.cancel(job.id)
        await self.sweep()
        self.assertEqual(self.uploads(), [young])

    async def test_what_an_earlier_life_has_not_received(self) -> None:
        self.sweeper.stopService()
        _, path = self.kept.create()
        path.write_bytes(b"half of")
        kept = self.kept.keep("all")
        self.sweeper.startService()
        self.assertEqual(self.uploads(), [kept])

    async def test_what_arrives_is_nothing_left(self) -> None:
        name, path = self.kept.create()
        path.write_bytes(b"half of")
        await self.age()
        await self.sweep()
        # Only now it is seen; its job may not be stored yet.
        self.kept.settle(name)
        await self.sweep()
        self.assertEqual(self.uploads(), [name])

    async def test_a_bad_moment_is_not_the_last(self) -> None:
        self.kept.keep("old")
        await self.age()
        with patch.object(Uploads, "names", side_effect=OSError("the disk is away")):
            await self.sweep()
        self.assertEqual(len(self.uploads()), 1)
        await self.sweep()
        self.assertEqual(self.uploads(), [])

    def test_stopped_it_leaves_no_timer(self) -> None:
        self.sweeper.stopService()
        self.assertEqual(self.timer.getDelayedCalls(), [])


class WithoutHttpTests(SynchronousTestCase):
    """A server that does not speak HTTP sweeps, too: packets name passwords, and it may have spoken HTTP before."""

    def test_it_sweeps(self) -> None:
        folder = Path(self.mktemp()).absolute()
        kept = Uploads(folder / "state")
        kept.keep("open sesame")
        # A module that the server loads where it looks for plugins: nobody wants to wait for minutes.
        hasty = folder / "hasty" / "twisted" / "plugins"
        hasty.mkdir(parents=True)
        (hasty / "hasty.py").write_text(
            "from pfserver.documents import sweeper\nsweeper.SWEEP_INTERVAL = sweeper.SWEEP_AGE = 0.1\n"
        )
        path = os.pathsep.join(map(str, (ROOT, PLUGINS, folder / "hasty")))
        with ServerProcess(folder, frontends=("pageflex",), environment={"PYTHONPATH": path}) as server:
            self.assertEqual(list(server.addresses), ["pageflex"])
            deadline = time.monotonic() + PATIENCE
            while list((server.state / "uploads").iterdir()):
                self.assertLess(time.monotonic(), deadline, "".join(server.log))
                time.sleep(0.01)
