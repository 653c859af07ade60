"""Done jobs go when their time has come, outputs first."""

from __future__ import annotations

import threading
from typing import Any
from unittest.mock import patch

from attrs import evolve
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from pfserver.engine import retention
from pfserver.engine.retention import INTERVAL, RetentionRule
from pfserver.errors import NoSuchJob, OutputUnavailable
from pfserver.interfaces import IReporter
from pfserver.model import Job, Outcome
from tests.engine.support import EngineCase


class RetentionTests(EngineCase):
    options = evolve(EngineCase.options, retention=RetentionRule(age=3600, count=2))

    def setUp(self) -> Any:
        # The timer's first look would come while a slow machine still makes the jobs.
        self.patch(retention, "FIRST", INTERVAL)
        return super().setUp()

    async def done(self, number: int) -> list[int]:
        async def work(reporter: IReporter) -> Outcome:
            (reporter.folder / "a").touch()
            return Outcome.COMPLETED

        self.backend.work = work
        return [(await self.ended(await self.submit())).id for _ in range(number)]

    async def kept(self) -> list[int]:
        folders = sorted(path.name for path in (self.root / "output").iterdir())
        jobs = await self.engine.jobs()
        self.assertEqual(folders, [job.transaction_id for job in jobs])
        return [job.id for job in jobs]

    async def test_the_oldest_beyond_the_count_go(self) -> None:
        ids = await self.done(4)
        self.assertEqual(await self.engine._retention.sweep(), 2)
        self.assertEqual(await self.kept(), ids[2:])
        with self.assertRaises(NoSuchJob):
            await self.engine.messages(ids[0])

    async def test_the_timer_removes_what_is_too_old(self) -> None:
        ids = await self.done(2)
        self.clock.advance(3600 + INTERVAL)
        while await self.engine.jobs():
            await deferLater(reactor, 0.001)
        self.assertEqual(await self.kept(), [])
        self.assertEqual(len(ids), 2)

    async def test_others_go_on_while_much_is_removed(self) -> None:
        ids = await self.done(3)
        remove, begun, go_on = self.outputs.remove, threading.Event(), threading.Event()

        def slowly(job: Job) -> None:
            begun.set()
            go_on.wait(60)
            remove(job)

        with patch.object(self.outputs, "remove", side_effect=slowly):
            sweep = Deferred.fromCoroutine(self.engine._retention.sweep())
            await self.until(begun.is_set)
            others = await self.done(3)
            self.assertFalse(sweep.called)
            go_on.set()
            self.assertEqual(await sweep, 1)
        self.assertEqual(await self.kept(), [*ids[1:], *others])

    async def test_a_job_whose_output_cannot_be_removed_stays(self) -> None:
        ids = await self.done(4)
        remove = self.outputs.remove

        def refuse_the_first(job: Job) -> None:
            if job.id == ids[0]:
                raise OutputUnavailable("busy")
            remove(job)

        with patch.object(self.outputs, "remove", side_effect=refuse_the_first):
            self.assertEqual(await self.engine._retention.sweep(), 1)
        self.assertEqual(await self.kept(), [ids[0], *ids[2:]])
        self.assertEqual(await self.engine._retention.sweep(), 1)
        self.assertEqual(await self.kept(), ids[2:])

    async def test_a_batch_whose_output_stays_does_not_keep_the_others(self) -> None:
        self.patch(retention, "BATCH", 2)
        ids = await self.done(6)
        remove = self.outputs.remove

        def refuse_some(job: Job) -> None:
            if job.id in ids[:2]:
                raise OutputUnavailable("not mounted")
            remove(job)

        with patch.object(self.outputs, "remove", side_effect=refuse_some):
            self.assertEqual(await self.engine._retention.sweep(), 2)
        self.assertEqual(await self.kept(), [*ids[:2], *ids[4:]])
