"""Followers are cursors: late, slow and many of them get all messages in order, and nothing is kept for them."""

from __future__ import annotations

from twisted.internet.defer import Deferred, gatherResults

from pfserver.engine.feed import TAIL, Feed
from pfserver.errors import NoSuchJob
from pfserver.interfaces import IReporter
from pfserver.model import Message, Outcome
from tests.engine.support import EngineCase, read_all


def texts(messages: list[Message]) -> list[tuple[int, int, str]]:
    return [(message.sequence, message.number, message.text) for message in messages]


class FollowTests(EngineCase):
    async def test_early_late_and_partial_followers_hear_the_same(self) -> None:
        gate: Deferred[None] = Deferred()

        async def work(reporter: IReporter) -> Outcome:
            for n in range(3 * TAIL):
                reporter.message(114, f"note {n}")
            await reporter.flush()
            await gate
            return Outcome.COMPLETED

        self.backend.work = work
        job = await self.submit()
        early = Deferred.fromCoroutine(read_all(await self.engine.follow(job.id)))
        slow = await self.engine.follow(job.id)
        await self.until(lambda: self.backend.began)
        middle = Deferred.fromCoroutine(read_all(await self.engine.follow(job.id, after=TAIL)))
        gate.callback(None)
        await self.ended(job)
        everything = await early
        self.assertEqual([m.sequence for m in everything], list(range(1, 3 * TAIL + 5)))
        self.assertEqual(everything[-1].text, f"Transaction {job.transaction_id} ended")
        self.assertEqual(texts(await middle), texts(everything[TAIL:]))
        self.assertEqual(texts(await read_all(slow)), texts(everything))
        self.assertEqual(texts(await read_all(await self.engine.follow(job.id))), texts(everything))
        self.assertEqual(self.feed._jobs, {})

    async def test_a_stopped_follower_ends_and_is_forgotten(self) -> None:
        gate: Deferred[Outcome] = Deferred()
        self.backend.work = lambda reporter: gate
        job = await self.submit()
        await self.until(lambda: self.backend.began)
        follower = await self.engine.follow(job.id, after=1)
        pending = Deferred.fromCoroutine(follower.next())
        self.assertNoResult(pending)
        follower.stop()
        follower.stop()
        self.assertEqual(list(self.successResultOf(pending)), [])
        self.assertEqual(self.feed._jobs, {})
        gate.callback(Outcome.COMPLETED)
        await self.ended(job)

    async def test_no_such_job(self) -> None:
        with self.assertRaises(NoSuchJob):
            await self.engine.follow(77)
        self.assertEqual(self.feed._jobs, {})

    async def test_many_followers_of_a_waiting_job(self) -> None:
        gates = [Deferred() for _ in range(3)]
        self.backend.work = lambda reporter: gates[reporter.job.id - 1]
        for _ in range(2):
            await self.submit()
        job = await self.submit()
        followers = [await self.engine.follow(job.id) for _ in range(50)]
        reading = gatherResults([Deferred.fromCoroutine(read_all(follower)) for follower in followers])
        for gate in gates:
            gate.callback(Outcome.COMPLETED)
        await self.ended(job)
        for messages in await reading:
            self.assertEqual([m.number for m in messages], [100, 101, 20, 1])


class SharedStoreTests(EngineCase):
    """Other servers write to the store, too: it is looked into now and then."""

    async def test_a_job_that_was_removed_keeps_nobody_waiting(self) -> None:
        gate: Deferred[None] = Deferred()

        async def work(reporter: IReporter) -> Outcome:
            await gate
            return Outcome.COMPLETED

        self.backend.work = work
        gone, stays = [await self.submit() for _ in range(2)]
        await self.until(lambda: len(self.backend.began) == 2)
        # As the feed of another server that follows both.
        feed = Feed(self.store, self.clock, poll=1.0)
        self.addCleanup(feed.stop)
        first, second = [await feed.follow(job.id, after=1) for job in (gone, stays)]
        reading = [Deferred.fromCoroutine(follower.next()) for follower in (first, second)]
        gate.callback(None)
        for job in (gone, stays):
            await self.ended(job)
        await self.store.delete([gone.id])
        await self.until(lambda: all(one.called for one in reading))
        self.assertEqual(list(await reading[0]), [])
        self.assertEqual([m.number for m in await reading[1]], [101, 20, 1])
