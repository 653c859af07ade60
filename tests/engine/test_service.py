"""What happens to jobs: from submit to outcome, cancel, faults of backends."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

from twisted.internet.defer import CancelledError, Deferred

from pfserver.engine.run import RETRY_FIRST
from pfserver.errors import (
    BadVariable,
    JobFailed,
    NoSuchJob,
    NoSuchQueue,
    NotSupported,
    OutputUnavailable,
    OutsideRoot,
    StoreUnavailable,
    WorkerLost,
)
from pfserver.interfaces import IReporter
from pfserver.model import Artifact, Job, JobRequest, Outcome, Progress, State
from pfserver.numbers import Number
from tests.engine.support import EngineCase


class SubmitTests(EngineCase):
    async def test_the_backend_completes_the_request_and_the_job_ends(self) -> None:
        async def work(reporter: IReporter) -> Outcome:
            (reporter.folder / "001.pdf").write_bytes(b"%PDF")
            reporter.artifact(Artifact(name="001.pdf", media_type="application/pdf", size=4, pages=3))
            reporter.progress(Progress(documents=2, pages=3, total=2))
            return Outcome.COMPLETED

        self.backend.work = work
        job = await self.submit()
        self.assertEqual((job.state, job.request.backend), (State.QUEUED, "scripted"))
        self.assertEqual(job.request.variables["checked"], "yes")
        done = await self.ended(job)
        self.assertEqual((done.outcome, done.documents, done.pages, done.attempts), (Outcome.COMPLETED, 2, 3, 1))
        self.assertEqual(
            await self.told(job),
            [
                (100, "Machine name: press-1"),
                (101, "Job Status = SUCCESS"),
                (20, "Job completed successfully. 2 documents and 3 pages produced."),
                (1, "Transaction T0000001 ended"),
            ],
        )
        self.assertEqual([artifact.name for artifact in await self.engine.artifacts(job.id)], ["001.pdf"])
        self.assertEqual((self.engine.output_folder(done) / "001.pdf").read_bytes(), b"%PDF")

    async def test_what_is_refused_is_not_stored(self) -> None:
        for request, error in (
            (JobRequest(project="unknown"), NotSupported),
            (JobRequest(project="scripted.x", job="bad"), BadVariable),
            (JobRequest(project="scripted.x", queue="nope"), NoSuchQueue),
            (JobRequest(project="scripted.x", output_folder="/etc"), OutsideRoot),
            (JobRequest(project="scripted.x", output_folder="../.."), OutsideRoot),
        ):
            with self.assertRaises(error):
                await self.engine.submit_group([JobRequest(project="scripted.good"), request])
        self.assertEqual(await self.engine.recent_jobs(), [])

    async def test_notes_are_the_first_messages(self) -> None:
        request = JobRequest(project="scripted.x")
        job = await self.engine.submit(request, notes=[(117, "_sys_Nothing is unknown")])
        await self.ended(job)
        self.assertEqual([number for number, _ in await self.told(job)], [117, 100, 101, 20, 1])

    async def test_the_submitters_folder(self) -> None:
        async def work(reporter: IReporter) -> Outcome:
            (reporter.folder / "a").touch()
            return Outcome.COMPLETED

        self.backend.work = work
        job = await self.ended(await self.submit(output_folder="spring\\cards"))
        self.assertTrue((self.root / "output/spring/cards" / job.transaction_id / "a").exists())

    async def test_looking_around(self) -> None:
        first, second = await self.engine.submit_group([JobRequest(project="scripted.x")] * 2)
        self.assertEqual([job.id for job in await self.engine.recent_jobs()], [second.id, first.id])
        self.assertEqual([job.id for job in await self.engine.jobs(after=first.id)], [second.id])
        self.assertEqual(await self.engine.next_job_id(first.id), second.id)
        self.assertEqual(await self.engine.next_job_id(first.id, reverse=True), None)
        with self.assertRaises(NoSuchJob):
            await self.engine.messages(99)
        with self.assertRaises(NoSuchJob):
            await self.engine.artifacts(99)
        with self.assertRaises(NoSuchQueue):
            await self.engine.queue_length("nope")
        self.assertEqual(self.engine.queue_names(), ("default", "night"))


class QueueTests(EngineCase):
    async def test_each_queue_has_its_own_slots_and_order(self) -> None:
        gates: dict[int, Deferred[Outcome]] = {}

        async def work(reporter: IReporter) -> Outcome:
            gates[reporter.job.id] = Deferred()
            return await gates[reporter.job.id]

        self.backend.work = work
        low = [await self.submit() for _ in range(3)]
        await self.until(lambda: len(gates) == 2)
        urgent = await self.submit(priority=9)
        night = [await self.submit(queue="night") for _ in range(2)]
        await self.until(lambda: len(gates) == 3)
        self.assertEqual(set(gates), {low[0].id, low[1].id, night[0].id})
        self.assertEqual(await self.engine.queue_length("default"), 2)
        self.assertEqual(await self.engine.queue_length(), 3)
        gates[low[0].id].callback(Outcome.COMPLETED)
        await self.until(lambda: urgent.id in gates)
        self.assertNotIn(low[2].id, gates)
        for job in (low[1], urgent, night[0]):
            gates[job.id].callback(Outcome.COMPLETED)
        await self.until(lambda: low[2].id in gates and night[1].id in gates)
        for job in (low[2], night[1]):
            gates[job.id].callback(Outcome.COMPLETED)
            await self.ended(job)

    async def test_a_job_that_is_produced_leaves_its_slot_while_its_outcome_is_stored(self) -> None:
        """Two slots: the outcomes of two jobs wait for the disk, two more are at work, and no fifth is taken."""
        begun: list[int] = []
        stored: list[Deferred[None]] = []
        finish = self.store.finish

        async def work(reporter: IReporter) -> Outcome:
            begun.append(reporter.job.id)
            return Outcome.COMPLETED

        async def slow_finish(*args: Any, **how: Any) -> Job:
            stored.append(Deferred())
            await stored[-1]
            return await finish(*args, **how)

        self.backend.work = work
        self.patch(self.store, "finish", slow_finish)
        jobs = [await self.submit() for _ in range(7)]
        await self.until(lambda: len(stored) == 4)
        for _ in range(20):
            await self.turn()
            await self.engine.queue_length()
        self.assertEqual(begun, [job.id for job in jobs[:4]])
        self.assertEqual(await self.engine.queue_length(), 3)
        stored[0].callback(None)
        await self.until(lambda: len(stored) == 5)
        self.assertEqual(begun[4:], [jobs[4].id])
        for waiting in stored[1:]:
            waiting.callback(None)
        self.patch(self.store, "finish", finish)
        await self.until(lambda: len(stored) == 7 or len(begun) == 7)
        for waiting in stored[5:]:
            waiting.callback(None)
        for job in jobs:
            await self.ended(job)


class CancelTests(EngineCase):
    async def test_a_queued_job_is_cancelled_whole(self) -> None:
        gates: list[Deferred[Outcome]] = [Deferred(), Deferred()]
        self.backend.work = lambda reporter: gates[reporter.job.id - 1]
        running = [await self.submit() for _ in range(2)]
        waiting = await self.submit()
        job = await self.engine.cancel(waiting.id)
        self.assertEqual((job.state, job.outcome), (State.DONE, Outcome.CANCELLED))
        self.assertEqual(
            await self.told(waiting),
            [
                (101, "Job Status = CANCELLED"),
                (23, "Cancelled by user. 0 documents and 0 pages produced."),
                (1, f"Transaction {waiting.transaction_id} ended"),
            ],
        )
        for gate, job in zip(gates, running, strict=True):
            gate.callback(Outcome.COMPLETED)
            await self.ended(job)
        self.assertNotIn(waiting.id, self.backend.began)

    async def test_a_running_job_finishes_its_document_and_keeps_what_it_has(self) -> None:
        async def work(reporter: IReporter) -> Outcome:
            (reporter.folder / "001.pdf").write_bytes(b"1")
            reporter.progress(Progress(documents=1, pages=1, total=9))
            await reporter.when_cancelled()
            self.assertTrue(reporter.cancelled)
            return Outcome.CANCELLED

        self.backend.work = work
        job = await self.submit()
        await self.until(lambda: self.backend.began)
        self.assertEqual((await self.engine.cancel(job.id)).state, State.CANCELLING)
        self.assertEqual((await self.engine.cancel(job.id)).id, job.id)
        done = await self.ended(job)
        self.assertEqual((done.outcome, done.documents), (Outcome.CANCELLED, 1))
        self.assertTrue((self.engine.output_folder(done) / "001.pdf").exists())
        self.assertEqual([number for number, _ in await self.told(job)], [100, 115, 101, 23, 1])
        self.assertEqual((await self.engine.cancel(job.id)).outcome, Outcome.CANCELLED)


class FaultTests(EngineCase):
    async def test_a_failed_job_says_why_and_leaves_nothing(self) -> None:
        async def work(reporter: IReporter) -> Outcome:
            (reporter.folder / "half.pdf").touch()
            raise JobFailed(Number.TEMPLATE_BROKEN, "letter.typ, line 3: expected expression")

        self.backend.work = work
        job = await self.ended(await self.submit())
        self.assertEqual(job.outcome, Outcome.FAILED)
        self.assertIn((5011, "letter.typ, line 3: expected expression"), await self.told(job))
        self.assertEqual(list((self.root / "output").iterdir()), [])

    async def test_a_broken_backend_ends_its_job_only(self) -> None:
        async def work(reporter: IReporter) -> Outcome:
            raise ZeroDivisionError("secret detail")

        self.backend.work = work
        job = await self.ended(await self.submit())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(job.outcome, Outcome.FAILED)
        self.assertNotIn("secret", str(await self.told(job)))

        async def cancelled_by_mistake(reporter: IReporter) -> Outcome:
            raise CancelledError

        self.backend.work = cancelled_by_mistake
        self.assertEqual((await self.ended(await self.submit())).outcome, Outcome.FAILED)
        self.flushLoggedErrors(CancelledError)

    async def test_messages_that_no_database_takes(self) -> None:
        async def work(reporter: IReporter) -> Outcome:
            reporter.message(5000, "half a pair \ud800, a zero byte \0\nand a line")
            return Outcome.PARTIAL

        self.backend.work = work
        job = await self.ended(await self.submit())
        self.assertEqual(job.outcome, Outcome.PARTIAL)
        self.assertIn((5000, "half a pair ?, a zero byte \nand a line"), await self.told(job))

    async def test_what_nobody_foresaw_ends_the_job(self) -> None:
        async def work(reporter: IReporter) -> Outcome:
            (reporter.folder / "001.pdf").touch()
            return Outcome.COMPLETED

        self.backend.work = work
        with patch.object(self.outputs, "publish", side_effect=ZeroDivisionError):
            job = await self.ended(await self.submit())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(job.outcome, Outcome.FAILED)
        self.assertEqual(list((self.root / "output").iterdir()), [])
        self.assertEqual([number for number, _ in await self.told(job)], [100, 5016, 101, 22, 1])

    async def test_a_lost_worker_is_tried_again_until_the_attempts_are_spent(self) -> None:
        async def work(reporter: IReporter) -> Outcome:
            reporter.progress(Progress(documents=reporter.job.attempts))
            await reporter.flush()
            raise WorkerLost("the worker process died")

        self.backend.work = work
        job = await self.ended(await self.submit(max_attempts=2))
        self.assertEqual((job.outcome, job.attempts), (Outcome.FAILED, 2))
        self.assertEqual(self.backend.began, [job.id, job.id])
        told = await self.told(job)
        self.assertIn((116, "Back in the queue: the worker process died"), told)
        self.assertIn((5015, "Given up after 2 attempts: the worker process died"), told)

    async def test_a_full_disk_delays_the_job_and_loses_nothing(self) -> None:
        tries = []

        async def work(reporter: IReporter) -> Outcome:
            (reporter.folder / f"{len(tries)}.pdf").touch()
            tries.append(self.clock.seconds())
            reporter.progress(Progress(documents=7))
            if len(tries) < 3:
                raise OutputUnavailable("the output could not be written: No space left on device")
            return Outcome.COMPLETED

        self.backend.work = work
        job = await self.ended(await self.submit())
        self.assertEqual((job.outcome, job.attempts, job.documents), (Outcome.COMPLETED, 1, 7))
        self.assertGreaterEqual(tries[1] - tries[0], 5)
        self.assertGreaterEqual(tries[2] - tries[1], 10)
        names = [path.name for path in self.engine.output_folder(job).iterdir()]
        self.assertEqual(names, ["2.pdf"])
        broken = [text for number, text in await self.told(job) if number == Number.OUTPUT_BROKEN]
        self.assertEqual(len(broken), 2)

    async def test_a_job_that_waits_for_room_can_be_cancelled(self) -> None:
        async def work(reporter: IReporter) -> Outcome:
            reporter.artifact(Artifact(name="1.pdf", media_type="application/pdf", size=1, pages=1, sha256=""))
            reporter.progress(Progress(documents=7))
            await reporter.flush()
            raise OutputUnavailable("the output could not be written: No space left on device")

        self.backend.work = work
        job = await self.submit()
        runs = self.engine._dispatchers["default"].runs
        await self.until(lambda: job.id in runs and runs[job.id]._waiting is not None, moving=False)
        await self.engine.cancel(job.id)
        await self.until(lambda: job.id not in runs, moving=False)
        ended = await self.store.get(job.id)
        self.assertEqual((ended.outcome, ended.documents), (Outcome.CANCELLED, 0))
        self.assertEqual(await self.engine.artifacts(job.id), [])

    async def test_a_job_is_given_back_when_the_store_takes_it_again(self) -> None:
        async def work(reporter: IReporter) -> Outcome:
            if len(self.backend.began) == 1:
                raise WorkerLost("the worker died")
            return Outcome.COMPLETED

        self.backend.work = work
        refused = StoreUnavailable("nothing could be stored: database or disk is full")
        with patch.object(self.store, "requeue", side_effect=refused) as requeue:
            job = await self.submit()
            await self.until(lambda: requeue.call_count > 2)
        self.assertEqual((await self.ended(job)).outcome, Outcome.COMPLETED)

    async def test_a_backend_waits_while_its_reports_cannot_be_stored(self) -> None:
        async def work(reporter: IReporter) -> Outcome:
            reporter.message(114, "told once")
            refused = StoreUnavailable("nothing could be stored: database or disk is full")
            with patch.object(self.store, "append", side_effect=refused):
                flush = Deferred.fromCoroutine(reporter.flush())
                self.clock.advance(RETRY_FIRST)
                self.assertNoResult(flush)
            self.clock.advance(RETRY_FIRST)
            await flush
            return Outcome.COMPLETED

        self.backend.work = work
        job = await self.ended(await self.submit())
        self.assertEqual(job.outcome, Outcome.COMPLETED)
        self.assertEqual((await self.told(job)).count((114, "told once")), 1)
