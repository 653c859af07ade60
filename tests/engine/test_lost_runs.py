"""Runs whose job others have taken for abandoned, since this server stood still; it may have got the job again."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater

from pfserver.engine.nodes import BEATS
from pfserver.engine.service import EngineOptions
from pfserver.errors import JobFailed, WrongState
from pfserver.interfaces import IReporter
from pfserver.model import Artifact, Job, JobRequest, Outcome, State
from pfserver.numbers import Number
from tests.engine.support import EngineCase, read_all

OTHER = "press-2/0123"
SILENCE = 60.0


def pdf(name: str) -> Artifact:
    return Artifact(name=name, media_type="application/pdf", size=9, pages=1)


class LostRunTests(EngineCase):
    options = EngineOptions(host="press-1", queues={"default": 2}, node_timeout=SILENCE)

    def setUp(self) -> None:
        self.produced: Deferred[None] = Deferred()
        self.cleaned: Deferred[None] = Deferred()
        self.at_work: list[int] = []
        super().setUp()
        self.backend.work = self.produce

    async def produce(self, reporter: IReporter) -> Outcome:
        """The first run waits, and once it is cancelled cleans up as long as the test wants; others end soon."""
        attempt = reporter.job.attempts
        self.reporter = reporter
        self.at_work.append(attempt)
        try:
            (reporter.folder / "1.pdf").write_text(f"attempt {attempt}")
            reporter.artifact(pdf(f"{attempt}.pdf"))
            if self.produced.called:
                await deferLater(reactor, 0.05)
            else:
                await reporter.flush()
                try:
                    await self.produced
                except CancelledError:
                    reporter.message(1, "late")
                    reporter.artifact(pdf("late.pdf"))
                    await self.cleaned
                    raise
            return Outcome.CANCELLED if reporter.cancelled else Outcome.COMPLETED
        finally:
            self.at_work.remove(attempt)

    async def begun(self) -> Job:
        job = await self.submit()
        await self.until(lambda: self.at_work, moving=False)
        return job

    async def begun_twice(self) -> Job:
        """A job that its first run has lost, and that this server has claimed again."""
        job = await self.begun()
        await self.store.requeue(job.id, node="node-1")
        self.engine._wake("default")
        while (await self.engine.job(job.id)).attempts < 2:
            await self.turn()
        return job

    async def look(self) -> None:
        """Let the server look at its own jobs once."""
        before = self.engine._nodes._timer
        self.clock.advance(SILENCE / BEATS)
        await self.until(lambda: self.engine._nodes._timer is not before, moving=False)

    async def test_it_ends_and_then_the_job_begins_again(self) -> None:
        job = await self.begun_twice()
        for _ in range(20):
            await self.turn()
        self.assertEqual(self.at_work, [1])
        self.cleaned.callback(None)
        job = await self.ended(job)
        self.assertEqual((job.outcome, job.attempts, self.backend.began), (Outcome.COMPLETED, 2, [job.id] * 2))
        self.assertEqual([artifact.name for artifact in await self.engine.artifacts(job.id)], ["2.pdf"])
        self.assertEqual((self.outputs.folder(job) / "1.pdf").read_text(), "attempt 2")
        self.assertNotIn((1, "late"), await self.told(job))
        await self.until(lambda: not self.engine._notice(job))

    async def test_a_cancel_meanwhile_is_heard_without_a_report(self) -> None:
        async def silent(reporter: IReporter) -> Outcome:
            return Outcome.CANCELLED if reporter.cancelled else Outcome.COMPLETED

        job = await self.begun_twice()
        self.backend.work = silent
        before = await self.store.get(job.id)
        follower = await self.engine.follow(job.id)
        await self.engine.cancel(job.id)
        # Who has looked a moment ago knows less.
        self.engine._notice(before)
        self.cleaned.callback(None)
        self.assertEqual((await self.ended(job)).outcome, Outcome.CANCELLED)
        told = [(message.sequence, message.number) for message in await read_all(follower)]
        kept = [(message.sequence, message.number) for message in await self.engine.messages(job.id)]
        self.assertEqual(told, kept)

    async def test_one_that_hangs_when_it_is_stopped_holds_up_nobody(self) -> None:
        await self.begun()
        restarting = Deferred.fromCoroutine(self.engine.restart())
        await self.until(lambda: self.produced.called)
        stopping = Deferred.fromCoroutine(self.engine.stop())
        await self.until(lambda: stopping.called)
        self.assertTrue(self.cleaned.called)
        await restarting

    async def test_a_stop_meanwhile_lets_it_clean_up(self) -> None:
        job = await self.begun_twice()
        stopping = Deferred.fromCoroutine(self.engine.stop())
        self.clock.advance(self.options.shutdown_grace)
        for _ in range(20):
            await self.turn()
        self.assertEqual((self.cleaned.called, stopping.called), (False, False))
        self.cleaned.callback(None)
        await self.until(lambda: stopping.called)
        job = await self.store.get(job.id)
        self.assertEqual((job.state, job.attempts, self.at_work), (State.QUEUED, 1, []))

    async def test_its_slot_is_kept(self) -> None:
        job = await self.begun_twice()
        others = [await self.submit() for _ in range(3)]
        most = 0

        async def watched(reporter: IReporter) -> Outcome:
            nonlocal most
            working = Deferred.fromCoroutine(self.produce(reporter))
            most = max(most, len(self.at_work))
            return await working

        async def slowly(*arguments: Any, **options: Any) -> Job:
            await deferLater(reactor, 0.05)
            return await finish(*arguments, **options)

        finish = self.store.finish
        self.backend.work = watched
        self.patch(self.store, "finish", slowly)
        self.cleaned.callback(None)
        for one in (job, *others):
            self.assertEqual((await self.ended(one)).outcome, Outcome.COMPLETED)
        self.assertEqual(most, 2)

    async def test_a_claim_that_the_server_never_heard_of(self) -> None:
        job = await self.begun()
        await self.store.requeue(job.id, node="node-1")
        await self.store.claim("default", ["scripted"], 1, node="node-1")
        await self.look()
        self.cleaned.callback(None)
        await self.until(lambda: not self.at_work, moving=False)
        for _ in range(2):
            await self.look()
        job = await self.ended(job)
        self.assertEqual((job.outcome, job.attempts), (Outcome.COMPLETED, 2))

    async def test_a_cancel_through_another_server_is_heard_without_a_report(self) -> None:
        job = await self.begun()
        await self.store.cancel(job.id, lambda job: ())
        await self.look()
        self.produced.callback(None)
        self.assertEqual((await self.ended(job)).outcome, Outcome.CANCELLED)

    async def test_it_is_stopped_when_a_report_is_refused(self) -> None:
        job = await self.begun()
        await self.store.requeue(job.id, node="node-1")
        await self.store.claim("default", ["scripted"], 1, node=OTHER)
        self.reporter.message(1, "late")
        await self.until(lambda: self.produced.called)
        self.cleaned.callback(None)
        await self.until(lambda: not self.at_work)
        self.assertEqual(self.backend.began, [job.id])
        self.assertNotIn((1, "late"), await self.told(job))
        await self.store.finish(job.id, Outcome.COMPLETED, node=OTHER)

    async def test_nothing_is_left_of_it(self) -> None:
        for is_deleted in (False, True):
            self.produced = Deferred()
            job = await self.begun()
            with patch.object(self.engine._dispatchers["default"], "wake"):
                await self.store.requeue(job.id, node="node-1")
                if is_deleted:
                    await self.engine.cancel(job.id)
                    await self.store.delete([job.id])
                self.produced.callback(None)
                await self.until(lambda: not self.engine._dispatchers["default"].runs)
            self.assertEqual(list((self.root / "output").iterdir()), [])
            if not is_deleted:
                await self.engine.cancel(job.id)

    async def test_the_output_of_those_who_have_done_it_stays(self) -> None:
        for failure in (None, JobFailed(Number.DOCUMENT_BROKEN, "broken")):
            self.produced = Deferred()
            [job] = await self.store.add([JobRequest(project="scripted.x", job="Job 1", backend="scripted")])
            await self.store.claim("default", ["scripted"], 1, node=OTHER)
            await self.store.requeue(job.id, node=OTHER)
            self.engine._wake("default")
            await self.until(lambda: self.at_work, moving=False)
            # The folder for the output is one that both servers see.
            await self.store.requeue(job.id, node="node-1")
            [theirs] = await self.store.claim("default", ["scripted"], 1, node=OTHER)
            (self.outputs.begin(theirs) / "1.pdf").write_text("theirs")
            self.outputs.publish(theirs)
            await self.store.finish(job.id, Outcome.COMPLETED, node=OTHER)
            if failure is None:
                self.produced.callback(None)
            else:
                self.produced.errback(failure)
            await self.until(lambda: not self.engine._notice(job))  # noqa: B023
            self.assertEqual((self.outputs.folder(job) / "1.pdf").read_text(), "theirs")
            self.assertEqual((await self.engine.job(job.id)).outcome, Outcome.COMPLETED)

    async def test_its_reports_are_refused(self) -> None:
        """Also while nobody else has taken the job."""
        with patch.object(self.engine._dispatchers["default"], "wake"):
            [job] = await self.store.add([JobRequest(project="scripted.x", job="Job 1", backend="scripted")])
            for attempt in (1, 2):
                [job] = await self.store.claim("default", ["scripted"], 1, node=OTHER)
                self.assertEqual(job.attempts, attempt)
                await self.store.requeue(job.id, node=OTHER, attempt=attempt)
                for refused in (
                    self.store.append(job.id, messages=[(1, "late")], node=OTHER, attempt=attempt),
                    self.store.finish(job.id, Outcome.COMPLETED, node=OTHER, attempt=attempt),
                    self.store.requeue(job.id, node=OTHER),
                ):
                    with self.assertRaises(WrongState):
                        await refused
            [again] = await self.store.claim("default", ["scripted"], 1, node=OTHER)
            # Nor does a third server, which has not seen that, take it away.
            document = self.outputs.begin(again) / "1.pdf"
            document.touch()
            await self.engine._nodes._take_up_one(job, "silent", refund=False)
            self.assertTrue(document.exists())
            self.assertEqual(await self.store.get(job.id), again)
            await self.store.finish(job.id, Outcome.COMPLETED, node=OTHER, attempt=3)
