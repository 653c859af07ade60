"""How often the progress of a job is told."""

from __future__ import annotations

from itertools import pairwise

from twisted.internet.task import deferLater

from pfserver.interfaces import IReporter
from pfserver.model import Outcome, Progress
from pfserver.numbers import Number
from tests.engine.support import EngineCase


class ProgressTests(EngineCase):
    async def test_it_is_told_at_most_twice_a_second(self) -> None:
        times = []

        async def work(reporter: IReporter) -> Outcome:
            for number in range(1, 101):
                reporter.progress(Progress(documents=number, pages=number, total=100))
                await reporter.flush()
                await deferLater(self.clock, 0.05)
            return Outcome.COMPLETED

        self.backend.work = work
        job = await self.ended(await self.submit())
        for message in await self.engine.messages(job.id):
            if message.number == Number.PROGRESS:
                times.append(message.time)
        # Everything changes up to twenty times a second, and all of it is stored.
        self.assertGreater(len(times), 5)
        gaps = [later - earlier for earlier, later in pairwise(times)]
        self.assertGreaterEqual(min(gaps), 0.5 - 1e-6)
        self.assertEqual((await self.engine.job(job.id)).documents, 100)
