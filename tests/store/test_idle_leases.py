"""Leases where nothing waits are answered from memory, and never for longer than nothing waits."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Event
from typing import Any

import sqlalchemy as sa
from twisted.internet.defer import CancelledError, Deferred, gatherResults

from pfserver.model import Job, Outcome
from pfserver.store import leasing
from pfserver.store.database import Database
from tests.store.test_jobs import NODE, StoreCase, request


def first(jobs: Sequence[Job]) -> Job | None:
    return jobs[0]


class IdleLeaseTests(StoreCase):
    def lease(self, *backends: str, choose: Any = first, kind: Any = None) -> Any:
        return self.store.lease("factory", choose, backends=backends or ("factory",), expires_at=2000.0, kind=kind)

    def hold(self) -> tuple[Event, Deferred[None]]:
        """Keep the writer busy until the event is set: what is asked for meanwhile shares the next commit."""
        busy = Event()

        def wait(connection: sa.Connection, payloads: Sequence[None]) -> list[None]:
            busy.wait(10)
            return [None] * len(payloads)

        return busy, self.database.write(wait, None)

    async def idle(self) -> None:
        """Nothing waits, and the store knows it."""
        self.assertIsNone(await self.lease())
        self.assertIsNone(self.successResultOf(self.lease()))

    async def test_a_new_job_is_seen(self) -> None:
        await self.idle()
        (job,) = await self.store.add([request(backend="factory")])
        self.assertEqual((await self.lease()).id, job.id)
        await self.idle()

    async def test_who_gets_the_only_job_need_not_look_again(self) -> None:
        await self.store.add([request(backend="factory"), request(backend="office")])
        await self.lease()
        self.assertIsNone(self.successResultOf(self.lease()))
        self.assertTrue(self.store.idle(["factory"], None))
        self.assertFalse(self.store.idle(["factory", "office"], None))

    async def test_a_job_that_comes_while_the_only_one_is_handed_out(self) -> None:
        """The lease looks before it in the same commit: there was only one."""
        (one,) = await self.store.add([request(backend="factory")])
        busy, writing = self.hold()
        asked = self.lease()
        adding = self.store.add([request(backend="factory")])
        busy.set()
        await writing
        self.assertEqual((await asked).id, one.id)
        (two,) = await adding
        self.assertEqual((await self.lease()).id, two.id)

    async def test_where_others_add_jobs_one_always_looks(self) -> None:
        self.patch(Database, "is_private", False)
        await self.store.add([request(backend="factory")])
        await self.lease()
        self.assertFalse(self.store.idle(["factory"], None))
        self.assertIsNone(await self.lease())
        self.assertFalse(self.store.idle(["factory"], None))

    async def test_a_page_that_is_full_may_not_be_the_last(self) -> None:
        self.patch(leasing, "LEASE_PAGE", 1)
        jobs = await self.store.add([request(backend="factory") for _ in range(3)])
        self.assertEqual([(await self.lease()).id for _ in jobs], [job.id for job in jobs])

    async def test_who_gets_one_of_several_looks_again(self) -> None:
        jobs = await self.store.add([request(backend="factory") for _ in range(2)])
        await self.store.add([request(backend="factory", account="ann@example.org")])
        found = [await self.lease() for _ in range(3)]
        self.assertEqual({job.id for job in found}, {jobs[0].id, jobs[1].id, jobs[1].id + 1})
        self.assertIsNone(self.successResultOf(self.lease()))

    async def test_what_one_kind_has_refused_is_there_for_others(self) -> None:
        def second(jobs: Sequence[Job]) -> Job | None:
            return next((job for job in jobs if job.id == wanted.id), None)

        (refused,) = await self.store.add([request(backend="factory")])
        await self.lease(choose=lambda jobs: None, kind="picky")
        (wanted,) = await self.store.add([request(backend="factory")])
        self.assertEqual((await self.lease(choose=second, kind="picky")).id, wanted.id)
        self.assertEqual((await self.lease()).id, refused.id)

    async def test_a_job_that_comes_back_is_seen(self) -> None:
        (job,) = await self.store.add([request(backend="factory")])
        await self.lease()
        await self.idle()
        await self.store.requeue(job.id, node="factory")
        self.assertEqual((await self.lease()).id, job.id)

    async def test_a_job_whose_submitter_has_gone_is_seen(self) -> None:
        """The lease is asked for after the submission, looks before it in the same commit, and finds nothing."""
        await self.idle()
        busy, writing = self.hold()
        other = self.lease("other")
        adding = self.store.add([request(backend="factory")])
        adding.addErrback(lambda failure: failure.trap(CancelledError))
        adding.cancel()
        asked = self.lease()
        busy.set()
        await writing
        self.assertIsNone(await other)
        self.assertIsNone(await asked)
        self.assertIsNotNone(await self.lease())

    async def test_jobs_that_nobody_wants_are_shown_again(self) -> None:
        await self.store.add([request(backend="factory")])
        self.assertIsNone(await self.lease(choose=lambda jobs: None))
        self.assertIsNotNone(await self.lease())

    async def test_other_backends_are_another_question(self) -> None:
        await self.idle()
        (job,) = await self.store.add([request(backend="office")])
        self.assertIsNone(await self.lease())
        self.assertEqual((await self.lease("factory", "office")).id, job.id)

    async def test_a_lease_that_runs_while_a_job_comes(self) -> None:
        for _ in range(50):
            adding = self.store.add([request(backend="factory")])
            asked = [self.lease() for _ in range(3)]
            await adding
            found = [job for job in await gatherResults(asked) if job is not None]
            if not found:
                found = [await self.lease()]
            self.assertEqual(len(found), 1)
            await self.store.finish(found[0].id, Outcome.COMPLETED, node="factory")

    async def test_running_jobs_that_go_back_are_seen(self) -> None:
        (job,) = await self.store.add([request(backend="factory")])
        await self.store.claim("default", ["factory"], 1, node=NODE)
        await self.idle()
        await self.store.requeue(job.id, node=NODE)
        self.assertEqual((await self.lease()).id, job.id)
