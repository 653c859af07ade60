"""Servers that share a store: what becomes of the jobs of one that is silent."""

from __future__ import annotations

from unittest.mock import patch

from twisted.internet.defer import Deferred, succeed

from pfserver.engine.nodes import BEATS
from pfserver.engine.service import EngineOptions
from pfserver.errors import StoreUnavailable
from pfserver.interfaces import IReporter
from pfserver.model import Job, JobRequest, Outcome, State
from tests.engine.support import EngineCase

OTHER = "press-2/0123"
SILENCE = 60.0


class NodesTests(EngineCase):
    options = EngineOptions(host="press-1", queues={"default": 2, "night": 1}, node_timeout=SILENCE)

    async def taken_by_other(self, attempts: int = 3) -> Job:
        """A job that another server has got, and works on."""
        await self.store.beat(OTHER)
        request = JobRequest(project="scripted.x", job="Job 1", backend="scripted", max_attempts=attempts)
        [added] = await self.store.add([request])
        [job] = await self.store.claim("default", ["scripted"], 1, node=OTHER)
        self.assertEqual(job.id, added.id)
        return job

    async def pass_time(self, seconds: float, *, beating: bool = False) -> None:
        """Let time pass in steps, so that nobody seems to have stood still; a look's queries take real time."""
        for _ in range(round(seconds / SILENCE * BEATS)):
            if beating:
                await self.store.beat(OTHER)
            await self.look(SILENCE / BEATS)

    async def look(self, seconds: float) -> None:
        """Let so much time pass, and wait until the server has looked at the others."""
        before = self.engine._nodes._timer
        self.clock.advance(seconds)
        await self.until(lambda: self.engine._nodes._timer is not before, moving=False)

    async def test_a_silent_node(self) -> None:
        job = await self.taken_by_other()
        await self.pass_time(SILENCE, beating=True)
        await self.pass_time(SILENCE / 2)
        self.assertEqual((await self.engine.job(job.id)).state, State.RUNNING)
        await self.pass_time(SILENCE)
        job = await self.ended(job)
        self.assertEqual((job.outcome, job.attempts, job.node), (Outcome.COMPLETED, 2, "node-1"))
        texts = [message.text for message in await self.engine.messages(job.id)]
        self.assertIn("Back in the queue: the server press-2, which worked on the job, is silent", texts)

    async def test_what_a_silent_node_has_published_is_not_touched(self) -> None:
        """It may end the job in this very moment."""
        job = await self.taken_by_other()
        self.outputs.begin(job)
        self.outputs.publish(job)
        with patch.object(self.outputs, "remove") as remove:
            await self.pass_time(2 * SILENCE)
            self.assertEqual((await self.ended(job)).outcome, Outcome.COMPLETED)
        self.assertEqual(remove.call_count, 0)

    async def test_one_that_counts_keeps_its_jobs(self) -> None:
        job = await self.taken_by_other()
        await self.pass_time(3 * SILENCE, beating=True)
        self.assertEqual((await self.engine.job(job.id)).state, State.RUNNING)
        await self.store.finish(job.id, Outcome.COMPLETED, node=OTHER)

    async def test_who_stood_still_itself_knows_nothing_of_others(self) -> None:
        job = await self.taken_by_other()
        await self.pass_time(SILENCE / 2)
        await self.look(10 * SILENCE)
        await self.pass_time(SILENCE / 2)
        self.assertEqual((await self.engine.job(job.id)).state, State.RUNNING)
        await self.store.finish(job.id, Outcome.COMPLETED, node=OTHER)

    async def test_a_cancelled_job_ends_and_one_without_attempts_left_fails(self) -> None:
        job = await self.taken_by_other()
        await self.engine.cancel(job.id)
        last = await self.taken_by_other(attempts=1)
        await self.pass_time(2 * SILENCE)
        self.assertEqual((await self.ended(job)).outcome, Outcome.CANCELLED)
        self.assertEqual((await self.ended(last)).outcome, Outcome.FAILED)

    async def test_a_job_that_this_server_never_heard_of_is_taken_up(self) -> None:
        """The connection was lost while it claimed."""
        gate: Deferred[Outcome] = Deferred()
        self.backend.work = lambda reporter: gate if reporter.job.id == known.id else succeed(Outcome.COMPLETED)
        known = await self.submit()
        await self.until(lambda: self.backend.began)
        request = JobRequest(project="scripted.x", job="Job 1", backend="scripted", max_attempts=1)
        [lost] = await self.store.add([request])
        await self.store.claim("default", ["scripted"], 1, node="node-1")
        await self.look(SILENCE / BEATS)
        self.assertEqual((await self.engine.job(lost.id)).state, State.RUNNING)
        await self.look(SILENCE / BEATS)
        job = await self.ended(lost)
        self.assertEqual((job.outcome, job.attempts), (Outcome.COMPLETED, 1))
        self.assertEqual((await self.engine.job(known.id)).attempts, 1)
        gate.callback(Outcome.COMPLETED)
        await self.ended(known)

    async def test_while_it_stops_it_counts_on_and_takes_up_nothing(self) -> None:
        job = await self.taken_by_other()
        held: Deferred[Outcome] = Deferred()

        async def work(reporter: IReporter) -> Outcome:
            return await held

        self.backend.work = work
        own = await self.submit()
        await self.until(lambda: self.backend.began, moving=False)
        self.engine._options = EngineOptions(host="press-1", shutdown_grace=1000)
        stopping = Deferred.fromCoroutine(self.engine.stop())
        before = (await self.store.beats())["node-1"]
        await self.pass_time(2 * SILENCE)
        self.assertGreater((await self.store.beats())["node-1"], before)
        self.assertEqual((await self.engine.job(job.id)).state, State.RUNNING)
        held.callback(Outcome.COMPLETED)
        await self.until(lambda: stopping.called)
        self.assertEqual((await self.store.get(own.id)).outcome, Outcome.COMPLETED)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    async def test_a_store_that_refuses_for_a_while(self) -> None:
        job = await self.taken_by_other()
        self.store.beats = self.refuse  # type: ignore[method-assign]
        await self.look(SILENCE / BEATS)
        self.assertNotIn("beats", vars(self.store))
        await self.pass_time(2 * SILENCE)
        self.assertEqual((await self.ended(job)).outcome, Outcome.COMPLETED)

    async def refuse(self) -> None:
        del self.store.beats
        raise StoreUnavailable("away")
