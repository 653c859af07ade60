"""What is left of conversions is removed from time to time, and nothing that is still needed."""

from __future__ import annotations

import os
from typing import Any
from unittest.mock import patch

from twisted.internet import reactor as any_reactor
from twisted.internet.task import Clock, deferLater

from pfserver.documents.request import SECRET, UPLOAD
from pfserver.documents.sweeper import SWEEP_INTERVAL, Sweeper
from pfserver.documents.uploads import Uploads
from pfserver.model import JobRequest
from tests.frontends.http.support import HttpCase

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

    def old(self) -> str:
        """A file that nobody has touched for long."""
        name = self.kept.keep("old")
        os.utime(self.kept.path(name), (1, 1))
        return name

    async def sweep(self) -> None:
        """Let it be time, and wait until all is done."""
        with patch.object(self.factories, "forget_handouts", wraps=self.factories.forget_handouts) as last:
            self.timer.advance(SWEEP_INTERVAL)
            while not last.called:
                await deferLater(reactor, 0.001)
            await self.factories.forget_handouts()

    async def test_when_it_is_time(self) -> None:
        name = self.old()
        self.timer.advance(SWEEP_INTERVAL - 1)
        await deferLater(reactor, 0.01)
        self.assertEqual(self.uploads(), [name])
        self.timer.advance(1)
        while self.uploads():
            await deferLater(reactor, 0.001)
        # And again.
        self.old()
        await self.sweep()
        self.assertEqual(self.uploads(), [])

    async def test_what_jobs_need_is_kept(self) -> None:
        document, password, nobodys = self.old(), self.old(), self.old()
        young = self.kept.keep("young")
        variables = {UPLOAD: document, SECRET: password, "_sys_Application": "LibreOffice Writer"}
        # As a job that was accepted before.
        (job,) = await self.engine._store.add([JobRequest(project="a.odt", backend="factory", variables=variables)])
        await self.sweep()
        self.assertEqual(sorted(self.uploads()), sorted([document, password, young]), nobodys)
        await self.engine.cancel(job.id)
        await self.sweep()
        self.assertEqual(self.uploads(), [young])

    async def test_a_bad_moment_is_not_the_last(self) -> None:
        self.old()
        with patch.object(Uploads, "older_than", side_effect=OSError("the disk is away")) as asked:
            self.timer.advance(SWEEP_INTERVAL)
            while not asked.called:
                await deferLater(reactor, 0.001)
            await deferLater(reactor, 0.01)
        await self.sweep()
        self.assertEqual(self.uploads(), [])

    def test_stopped_it_leaves_no_timer(self) -> None:
        self.sweeper.stopService()
        self.assertEqual(self.timer.getDelayedCalls(), [])
