"""Stop, restart and start: jobs at work go back or are taken up again, and nothing of them is left over."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs

from pfserver.engine.service import Engine
from pfserver.errors import ServerStopping, StoreUnavailable, WorkerLost, WrongState
from pfserver.interfaces import IReporter
from pfserver.model import Artifact, Job, JobRequest, Outcome, Progress, State
from tests.engine.support import EngineCase


class StopTests(EngineCase):
    async def test_running_jobs_get_the_grace_time_then_go_back(self) -> None:
        gates: list[Deferred[Outcome]] = []

        def work(reporter: IReporter) -> Deferred[Outcome]:
            gates.append(Deferred())
            return gates[-1]

        self.backend.work = work
        quick, slow, waiting = [await self.submit() for _ in range(3)]
        await self.until(lambda: len(gates) == 2)
        began = self.clock.seconds()
        stop = Deferred.fromCoroutine(self.engine.stop())
        with self.assertRaises(ServerStopping):
            await self.submit()
        gates[0].callback(Outcome.COMPLETED)
        await self.until(lambda: stop.called)
        await stop
        self.assertGreaterEqual(self.clock.seconds() - began, 20)
        self.assertEqual((await self.store.get(quick.id)).outcome, Outcome.COMPLETED)
        back = await self.store.get(slow.id)
        self.assertEqual((back.state, back.attempts), (State.QUEUED, 0))
        self.assertEqual((await self.store.get(waiting.id)).state, State.QUEUED)
        self.assertTrue(self.backend.stopped)

    async def stopped_while_its_outcome_waits(self, *, cancel: bool, refused: int) -> Job:
        """Stop the engine while the store refuses an outcome, so many times; gives the job, whose output is out."""
        finish, asked = self.store.finish, []

        async def refuse(*args: Any, **how: Any) -> Job:
            asked.append(args)
            if len(asked) > refused:
                return await finish(*args, **how)
            raise StoreUnavailable("nothing could be stored: database or disk is full")

        async def work(reporter: IReporter) -> Outcome:
            (reporter.folder / "1.pdf").touch()
            reporter.progress(Progress(documents=1, pages=1, total=1))
            return Outcome.COMPLETED

        self.backend.work = work
        self.patch(self.store, "finish", refuse)
        job = await self.submit()
        await self.until(lambda: asked)
        self.assertTrue((self.outputs.folder(job) / "1.pdf").exists())
        if cancel:
            await self.engine.cancel(job.id)
            await self.until(lambda: len(asked) >= 2)
        self.patch(self.engine, "_options", evolve(self.options, shutdown_grace=0))
        stop = Deferred.fromCoroutine(self.engine.stop())
        await self.until(lambda: stop.called, moving=False)
        await stop
        self.assertFalse(self.outputs.folder(job).exists())
        return await self.store.get(job.id)

    async def test_stopped_while_an_outcome_waits_for_the_disk(self) -> None:
        job = await self.stopped_while_its_outcome_waits(cancel=False, refused=1)
        self.assertEqual((job.state, job.attempts, job.documents), (State.QUEUED, 0, 0))

    async def test_cancelled_and_stopped_while_an_outcome_waits_for_the_disk(self) -> None:
        job = await self.stopped_while_its_outcome_waits(cancel=True, refused=2)
        self.assertEqual((job.outcome, job.documents), (Outcome.CANCELLED, 0))

    async def test_a_cancelled_job_whose_end_is_never_taken_is_for_the_next_start(self) -> None:
        job = await self.stopped_while_its_outcome_waits(cancel=True, refused=3)
        self.assertEqual((job.state, job.outcome), (State.CANCELLING, None))
        self.engine = self.build()
        await self.engine.start()
        self.assertEqual((await self.ended(job)).outcome, Outcome.CANCELLED)

    async def test_restart_runs_the_jobs_again(self) -> None:
        gates: list[Deferred[Outcome]] = []

        def work(reporter: IReporter) -> Deferred[Outcome]:
            gates.append(Deferred())
            return gates[-1]

        self.backend.work = work
        job = await self.submit()
        await self.until(lambda: len(gates) == 1)
        restart = Deferred.fromCoroutine(self.engine.restart())
        await self.until(lambda: restart.called)
        await restart
        await self.until(lambda: len(gates) == 2)
        gates[1].callback(Outcome.COMPLETED)
        self.assertEqual((await self.ended(job)).attempts, 1)
        self.assertEqual(self.backend.restarts, 1)

    async def test_restart_while_the_store_refuses_leaves_no_job_behind(self) -> None:
        begun: list[int] = []

        async def work(reporter: IReporter) -> Outcome:
            begun.append(reporter.job.id)
            if len(begun) == 1:
                await Deferred()
            return Outcome.COMPLETED

        self.backend.work = work
        job = await self.submit(max_attempts=1)
        await self.until(lambda: begun)
        full = patch.object(self.store, "requeue", side_effect=StoreUnavailable("the disk is full"))
        with full as requeue:
            restart = Deferred.fromCoroutine(self.engine.restart())
            await self.until(lambda: requeue.call_count >= 3)
            self.assertFalse(restart.called)
        await self.until(lambda: restart.called)
        await restart
        done = await self.ended(job)
        self.assertEqual((begun, done.outcome), ([job.id, job.id], Outcome.COMPLETED))

    async def test_a_run_that_lost_its_job_to_another_server_leaves_what_that_has_made(self) -> None:
        async def work(reporter: IReporter) -> Outcome:
            await Deferred()
            return Outcome.COMPLETED

        for lose in ("stop", "worker"):
            gate: Deferred[None] = Deferred()

            async def lose_worker(reporter: IReporter, gate: Deferred[None] = gate) -> Outcome:
                await gate
                raise WorkerLost("a worker died")

            self.backend.work = work if lose == "stop" else lose_worker
            job = await self.submit()
            await self.until(lambda: self.engine._dispatchers["default"].runs)
            run = self.engine._dispatchers["default"].runs[job.id]
            with self.assertRaises(WrongState):
                await self.store.append(job.id, messages=[(1, "late")], node="node-2")
            # What another server does that takes this one for dead.
            await self.store.requeue(job.id, node="node-1")
            [taken] = await self.store.claim("default", ["scripted"], 1, node="node-2")
            with self.assertRaises(WrongState):
                await self.store.append(job.id, messages=[(1, "late")], node="node-1")
            (self.outputs.begin(taken) / "001.pdf").write_bytes(b"%PDF")
            self.outputs.publish(taken)
            await self.store.finish(job.id, Outcome.COMPLETED, node="node-2")
            if lose == "stop":
                run.stop()
            else:
                gate.callback(None)
            await self.until(lambda: not self.engine._dispatchers["default"].runs)
            self.assertEqual((await self.engine.job(job.id)).outcome, Outcome.COMPLETED)
            self.assertTrue((self.outputs.folder(taken) / "001.pdf").exists(), lose)

    async def test_a_job_that_cannot_be_taken_up_stops_no_other(self) -> None:
        with patch.object(self.store, "abandoned", side_effect=ZeroDivisionError):
            restart = Deferred.fromCoroutine(self.engine.restart())
            await self.until(lambda: restart.called)
        self.failureResultOf(restart, ZeroDivisionError)
        job = await self.ended(await self.submit())
        self.assertEqual(job.outcome, Outcome.COMPLETED)

    async def test_a_backend_that_cannot_be_restarted_stops_no_job(self) -> None:
        with patch.object(self.backend, "restart", side_effect=ZeroDivisionError):
            restarts = [Deferred.fromCoroutine(self.engine.restart()) for _ in range(2)]
            await self.until(lambda: all(one.called for one in restarts))
        for restart in restarts:
            self.failureResultOf(restart, ZeroDivisionError)
        job = await self.ended(await self.submit())
        self.assertEqual(job.outcome, Outcome.COMPLETED)


class StartTests(EngineCase):
    async def restarted(self) -> Engine:
        """A second engine, as if the first had been killed."""
        self.engine = self.build()
        await self.engine.start()
        return self.engine

    async def test_jobs_of_an_earlier_life_are_taken_up(self) -> None:
        again, cancelling, spent = await self.store.add(
            [JobRequest(project="scripted.x", backend="scripted", queue="night", max_attempts=n) for n in (2, 2, 1)]
        )
        await self.store.claim("night", ["scripted"], 3, node="node-1")
        one = Artifact(name="1.pdf", media_type="application/pdf", size=1, pages=1, sha256="")
        await self.store.append(cancelling.id, progress=Progress(documents=1, pages=1), artifacts=[one])
        await self.store.cancel(cancelling.id, lambda job: ())
        # Killed between the publication of the output and its record.
        for job in (again, spent):
            (self.outputs.begin(job) / "1.pdf").touch()
            self.outputs.publish(job)
        await self.restarted()
        self.assertEqual((await self.ended(again)).outcome, Outcome.COMPLETED)
        cancelled = await self.ended(cancelling)
        self.assertEqual((cancelled.outcome, cancelled.documents), (Outcome.CANCELLED, 0))
        self.assertEqual(await self.engine.artifacts(cancelling.id), [])
        self.assertEqual((await self.ended(spent)).outcome, Outcome.FAILED)
        self.assertEqual([number for number, _ in await self.told(again)], [116, 100, 101, 20, 1])
        self.assertEqual([number for number, _ in await self.told(spent)], [5015, 101, 22, 1])
        for job in (again, spent):
            self.assertFalse(self.outputs.folder(job).exists())

    async def test_waiting_jobs_that_this_configuration_does_not_run_are_told(self) -> None:
        await self.store.add([JobRequest(project="a.x", backend="scripted", queue="gone")] * 2)
        await self.store.add([JobRequest(project="a.x", backend="gone"), JobRequest(project="a.x", backend="remote")])
        await self.store.add([JobRequest(project="a.x", backend="scripted", home="press-2/0123")])
        with capturedLogs() as events:
            await self.restarted()
        [waiting] = [(e["home"], e["count"]) for e in events if e["log_format"] == "jobs.wait-for-home"]
        self.assertEqual(waiting, ("press-2/0123", 1))
        told = [(e["queue"], e["backend"], e["count"]) for e in events if e["log_format"] == "jobs.stranded"]
        self.assertEqual(told, [("default", "gone", 1), ("gone", "scripted", 2)])
        self.assertEqual(await self.engine.queue_length(), 5)
