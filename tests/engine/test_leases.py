"""Jobs that a remote factory works on."""

from __future__ import annotations

from pathlib import Path

from twisted.internet.defer import Deferred

from pfserver.engine.leases import SWEEP_INTERVAL
from pfserver.errors import LeaseLost, WrongState
from pfserver.model import Artifact, Job, Outcome, Progress, State
from tests.engine.support import EngineCase, read_all


def publish(folder: Path) -> list[Artifact]:
    (folder / "001.pdf").write_bytes(b"%PDF")
    return [Artifact(name="001.pdf", media_type="application/pdf", size=4, pages=1)]


class LeaseTests(EngineCase):
    async def leased(self, holder: str = "ada/office") -> Job:
        job = await self.engine.lease(holder, lambda jobs: jobs[0], backends=["remote"], seconds=300)
        assert job is not None
        return job

    async def test_lease_and_finish(self) -> None:
        await self.submit(project="remote.odt")
        job = await self.leased()
        self.assertEqual((job.state, job.node), (State.LEASED, "ada/office"))
        following = Deferred.fromCoroutine(read_all(await self.engine.follow(job.id)))
        self.assertIsNone(await self.engine.lease("x", lambda jobs: jobs[0], backends=["remote"], seconds=1))
        # What is published is the progress.
        done = await self.engine.finish_lease(job.id, "ada/office", Outcome.COMPLETED, publish=publish)
        self.assertEqual((done.outcome, done.documents, done.pages), (Outcome.COMPLETED, 1, 1))
        self.assertEqual((self.engine.output_folder(done) / "001.pdf").read_bytes(), b"%PDF")
        self.assertEqual([m.number for m in await following], [100, 118, 101, 20, 1])
        with self.assertRaises(LeaseLost):
            await self.engine.finish_lease(job.id, "ada/office", Outcome.COMPLETED, progress=Progress())

    async def test_a_lease_that_ran_out_goes_back_and_a_late_finish_still_counts(self) -> None:
        await self.submit(project="remote.odt")
        job = await self.leased()
        await self.engine.renew(job.id, "ada/office", seconds=600)
        self.clock.advance(301)
        self.assertEqual((await self.engine.job(job.id)).state, State.LEASED)
        self.clock.advance(300)
        await self.engine._leases.sweep()
        self.assertEqual((await self.engine.job(job.id)).state, State.QUEUED)
        with self.assertRaises(LeaseLost):
            await self.engine.renew(job.id, "ada/office", seconds=600)
        done = await self.engine.finish_lease(job.id, "ada/office", Outcome.COMPLETED, progress=Progress())
        self.assertEqual(done.outcome, Outcome.COMPLETED)

    async def test_after_a_new_lease_the_first_holder_is_too_late(self) -> None:
        await self.submit(project="remote.odt")
        job = await self.leased()
        await self.engine.release(job.id, "ada/office", "the office crashed")
        await self.leased("bob/office")
        for step in (
            self.engine.finish_lease(job.id, "ada/office", Outcome.COMPLETED, progress=Progress(), publish=publish),
            self.engine.release(job.id, "ada/office", "again"),
        ):
            with self.assertRaises(LeaseLost):
                await step
        self.assertFalse(self.engine.output_folder(job).exists())

    async def test_what_was_never_tried_does_not_count(self) -> None:
        await self.submit(project="remote.odt", max_attempts=1)
        for _ in range(3):
            job = await self.leased()
            job = await self.engine.release(job.id, "ada/office", "it is gone", attempt=job.attempts, refund=True)
            self.assertEqual((job.state, job.attempts), (State.QUEUED, 0))
        self.assertIn((116, "Back in the queue: it is gone"), await self.told(job))

    async def test_the_same_holder_again_has_another_lease(self) -> None:
        await self.submit(project="remote.odt")
        old = await self.leased()
        await self.engine.release(old.id, "ada/office", "it crashed")
        new = await self.leased()
        with self.assertRaises(LeaseLost):
            await self.engine.release(old.id, "ada/office", "the connection was lost", attempt=old.attempts)
        with self.assertRaises(LeaseLost):
            await self.engine.renew(old.id, "ada/office", seconds=1, attempt=old.attempts)
        self.assertEqual((await self.engine.job(new.id)).lease_until, new.lease_until)
        await self.engine.renew(new.id, "ada/office", seconds=600, attempt=new.attempts)
        # What was read before the job was leased again changes nothing either.
        with self.assertRaises(WrongState):
            await self.engine._leases._give_back(old, "the lease ran out")
        self.assertEqual((await self.engine.job(new.id)).state, State.LEASED)

    async def test_one_that_is_renewed_while_it_runs_out_is_kept(self) -> None:
        await self.submit(project="remote.odt")
        job = await self.leased()
        # Its own time to look would come meanwhile.
        self.engine._leases.stop()
        self.clock.advance(301)
        expired = self.store.expired_leases

        async def renewed_meanwhile(now: float) -> list[Job]:
            found = await expired(now)
            await self.engine.renew(job.id, "ada/office", seconds=300)
            return found

        self.store.expired_leases = renewed_meanwhile
        await self.engine._leases.sweep()
        self.assertEqual((await self.engine.job(job.id)).state, State.LEASED)

    async def test_attempts_are_counted_and_end(self) -> None:
        await self.submit(project="remote.odt", max_attempts=2)
        for _ in range(2):
            job = await self.leased()
            job = await self.engine.release(job.id, "ada/office", "it crashed")
        self.assertEqual((job.outcome, job.attempts), (Outcome.FAILED, 2))
        self.assertIn((5015, "Given up after 2 attempts: it crashed"), await self.told(job))

    async def test_a_cancelled_lease_ends_when_it_runs_out(self) -> None:
        await self.submit(project="remote.odt")
        job = await self.leased()
        self.assertEqual((await self.engine.cancel(job.id)).state, State.CANCELLING)
        self.clock.advance(301 - SWEEP_INTERVAL)
        self.clock.advance(SWEEP_INTERVAL)
        self.assertEqual((await self.ended(job)).outcome, Outcome.CANCELLED)
