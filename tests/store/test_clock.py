"""The time of day was set between two lives of a server: what is stored keeps its distance from now."""

from __future__ import annotations

import sqlalchemy as sa
from attrs import evolve

from pfserver.store.clock import ServerClock, begin_clock
from pfserver.store.tables import COUNTERS
from tests.store.test_jobs import StoreCase

CLOCK = ServerClock("a", 500.0)


class ServerClockTests(StoreCase):
    async def begin(self, clock: ServerClock) -> float:
        return await self.database.write(begin_clock, clock)

    async def times(self, job_id: int) -> tuple[float | None, ...]:
        job = await self.store.get(job_id)
        return job.created_at, job.started_at, job.finished_at, job.lease_until

    async def test_times_are_moved_once(self) -> None:
        await self.begin(CLOCK)
        (job,) = await self.add()
        await self.store.lease("f", lambda jobs: jobs[0], backends=["merge"], expires_at=1300, messages=[], kind="k")
        self.assertEqual(await self.begin(evolve(CLOCK, boot_time=500.5)), 0)
        self.assertEqual(await self.times(job.id), (1000, 1000, None, 1300))
        later = evolve(CLOCK, boot_time=86_900.0)
        self.assertEqual([await self.begin(later), await self.begin(later)], [86_400, 0])
        self.reopen()
        self.assertEqual(await self.times(job.id), (87_400, 87_400, None, 87_700))
        self.assertEqual(await self.begin(CLOCK), -86_400)
        self.assertEqual(await self.times(job.id), (1000, 1000, None, 1300))

    async def test_small_differences_do_not_add_up_unseen(self) -> None:
        (job,) = await self.add()
        for number in range(4):
            await self.begin(evolve(CLOCK, boot_time=500 + 0.5 * number))
        created, *_ = await self.times(job.id)
        self.assertEqual(created, 1001)

    async def test_another_start_of_the_machine_says_nothing(self) -> None:
        (job,) = await self.add()
        for clock in (CLOCK, ServerClock("b", 9000), ServerClock("a", 700)):
            self.assertEqual(await self.begin(clock), 0)
        self.assertEqual((await self.times(job.id))[0], 1000)
        names = await self.database.read(lambda connection: connection.scalars(sa.select(COUNTERS.c.name)).all())
        self.assertEqual(sorted(names), ["clock:a", "job"])
