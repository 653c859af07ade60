"""The job store on SQLite: life cycle, order, groups, and that what it acknowledged is there after a reopening."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import Mock, patch

import sqlalchemy as sa
from twisted.internet import reactor
from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from pfserver.errors import LeaseLost, NoSuchJob, StoreUnavailable, WrongState
from pfserver.model import LIFE_CYCLE, Artifact, Job, JobRequest, Outcome, Progress, State
from pfserver.store import changes, leasing, queries
from pfserver.store.database import Database
from pfserver.store.factories import Factories
from pfserver.store.handouts import Handouts
from pfserver.store.jobs import JobStore

NODE = "node-a"


def request(**changes: Any) -> JobRequest:
    return JobRequest(**{"project": "p.pf", "job": "Job 1", "backend": "merge", **changes})


class StoreCase(TestCase):
    """A store in a fresh folder."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.clock = Clock()
        self.clock.advance(1000)
        self.open()
        self.addCleanup(lambda: self.database.close())

    def open(self) -> None:
        self.database = Database(f"sqlite:///{self.path}", reactor)
        self.database.open()
        self.store = JobStore(self.database, self.clock)

    def reopen(self) -> None:
        self.database.close()
        self.open()

    async def add(self, *requests: JobRequest) -> list[Job]:
        return list(await self.store.add(requests or [request()]))

    async def claim(self, limit: int = 10, queue: str = "default") -> list[Job]:
        return list(await self.store.claim(queue, ["merge"], limit, node=NODE))


class AddTests(StoreCase):
    async def test_added_jobs_are_there_after_reopening(self) -> None:
        asked = request(
            variables={"a": "ä"},
            document_variables={"b": "\u2028"},
            priority=3,
            account="me",
            group="g",
            output_folder="/out",
        )
        [job] = await self.add(asked)
        self.reopen()
        found = await self.store.get(job.id)
        self.assertEqual(found, job)
        self.assertEqual(found.request, asked)
        self.assertEqual(found.created_at, 1000)

    async def test_ids_ascend_and_are_not_used_again(self) -> None:
        first, second = await self.add(request(), request())
        self.assertEqual(second.id, first.id + 1)
        await self.store.cancel(second.id, lambda job: ())
        await self.store.delete([second.id])
        self.reopen()
        [third] = await self.add()
        self.assertEqual(third.id, second.id + 1)

    async def test_no_such_job(self) -> None:
        with self.assertRaises(NoSuchJob):
            await self.store.get(99)
        with self.assertRaises(NoSuchJob):
            await self.store.append(99, messages=[(1, "x")])

    async def test_many_at_once_share_commits(self) -> None:
        sizes: list[int] = []
        begun, go_on = threading.Event(), threading.Event()
        commit = self.database._commit

        def held(group: Sequence[Any]) -> Any:
            sizes.append(len(group))
            begun.set()
            go_on.wait()
            return commit(group)

        self.patch(self.database, "_commit", held)
        first = self.store.add([request()])
        begun.wait()
        # While that is on its way to the disk.
        others = [self.store.add([request()]) for _ in range(299)]
        go_on.set()
        jobs = [job for added in [await one for one in (first, *others)] for job in added]
        self.assertEqual([job.id for job in jobs], list(range(1, 301)))
        self.assertEqual(sizes, [1, 299])


class ClaimTests(StoreCase):
    async def test_priority_then_age(self) -> None:
        a, b, c = await self.add(request(), request(priority=5), request())
        self.assertEqual([job.id for job in await self.claim(2)], [b.id, a.id])
        self.assertEqual([job.id for job in await self.claim(2)], [c.id])
        self.assertEqual(await self.claim(), [])

    async def test_a_claim_counts_an_attempt_and_adds_messages(self) -> None:
        await self.add()
        self.clock.advance(1)
        [job] = await self.store.claim("default", ["merge"], 1, node=NODE, messages=[(100, "Machine name: m")])
        self.assertEqual((job.state, job.node, job.attempts, job.started_at), (State.RUNNING, NODE, 1, 1001))
        self.assertEqual(await self.store.get(job.id), job)
        [message] = await self.store.messages(job.id, after=0, limit=10)
        self.assertEqual(
            (message.sequence, message.number, message.text, message.time), (1, 100, "Machine name: m", 1001)
        )

    async def test_what_has_another_home_is_left_to_it(self) -> None:
        homes = ["node-b", "", NODE, "node-b"]
        theirs, anybodys, ours, last = await self.add(*(request(home=home) for home in homes))
        self.assertEqual([job.id for job in await self.claim()], [anybodys.id, ours.id])
        self.assertEqual(await self.claim(), [])
        self.reopen()
        found = await self.store.claim("default", ["merge"], 10, node="node-b")
        self.assertEqual([(job.id, job.request.home) for job in found], [(theirs.id, "node-b"), (last.id, "node-b")])

    async def test_only_its_queue_and_backends(self) -> None:
        await self.add(request(queue="other"), request(backend="office"))
        self.assertEqual(await self.claim(), [])
        self.assertEqual(await self.store.waiting(), 2)
        self.assertEqual(await self.store.waiting("other"), 1)


class StepTests(StoreCase):
    async def running(self) -> Job:
        await self.add()
        return (await self.claim(1))[0]

    async def test_the_way_to_completion(self) -> None:
        job = await self.running()
        artifact = Artifact(name="001.pdf", media_type="application/pdf", size=5, pages=2)
        job = await self.store.append(
            job.id, messages=[(114, "one"), (114, "two")], progress=Progress(documents=1, total=2), artifacts=[artifact]
        )
        self.assertEqual((job.documents, job.total, job.messages), (1, 2, 2))
        self.clock.advance(5)
        job = await self.store.finish(
            job.id,
            Outcome.COMPLETED,
            node=NODE,
            messages=[(20, "done")],
            progress=Progress(documents=2, pages=4, total=2),
        )
        self.reopen()
        self.assertEqual(await self.store.get(job.id), job)
        self.assertEqual((job.state, job.outcome, job.finished_at, job.pages), (State.DONE, Outcome.COMPLETED, 1005, 4))
        told = await self.store.messages(job.id, after=1, limit=10)
        self.assertEqual([(m.sequence, m.text) for m in told], [(2, "two"), (3, "done")])
        self.assertEqual(await self.store.artifacts(job.id), [artifact])

    async def test_an_artifact_of_the_same_name_is_replaced(self) -> None:
        job = await self.running()
        for size in (1, 2):
            await self.store.append(job.id, artifacts=[Artifact(name="a", media_type="t/t", size=size)])
        self.assertEqual([a.size for a in await self.store.artifacts(job.id)], [2])
        await self.store.finish(job.id, Outcome.COMPLETED, node=NODE, artifacts=[])
        self.assertEqual(await self.store.artifacts(job.id), [])

    async def test_every_step_that_the_life_cycle_forbids_is_refused(self) -> None:
        job = await self.running()
        with self.assertRaises(WrongState):
            await self.store.finish(job.id, Outcome.COMPLETED, node="somebody else")
        await self.store.finish(job.id, Outcome.COMPLETED, node=NODE)
        for step in (
            lambda: self.store.finish(job.id, Outcome.FAILED, node=NODE),
            lambda: self.store.requeue(job.id, node=NODE),
            lambda: self.store.append(job.id, messages=[(1, "late")]),
        ):
            with self.assertRaises(WrongState):
                await step()
        self.assertEqual((await self.store.cancel(job.id, lambda job: [(1, "x")])).outcome, Outcome.COMPLETED)
        self.assertEqual(LIFE_CYCLE[State.DONE], frozenset())

    async def test_cancel_of_a_queued_job_ends_it_with_its_closing_messages(self) -> None:
        [job] = await self.add()
        job = await self.store.cancel(job.id, lambda done: [(23, f"{done.documents} documents")])
        self.assertEqual((job.state, job.outcome, job.messages), (State.DONE, Outcome.CANCELLED, 1))

    async def test_cancel_of_a_running_job_asks_it_to_stop(self) -> None:
        job = await self.running()
        job = await self.store.cancel(job.id, lambda job: [(115, "cancelling")])
        again = await self.store.cancel(job.id, lambda job: [(115, "cancelling")])
        self.assertEqual((job.state, job.messages, again), (State.CANCELLING, 1, job))
        with self.assertRaises(WrongState):
            await self.store.requeue(job.id, node=NODE)
        job = await self.store.finish(job.id, Outcome.CANCELLED, node=NODE)
        self.assertEqual(job.outcome, Outcome.CANCELLED)

    async def test_cancel_unless_begun_leaves_what_has_been_tried(self) -> None:
        running = await self.running()
        self.assertEqual(await self.store.cancel(running.id, lambda job: [(1, "x")], unless_begun=True), running)
        waiting = await self.store.requeue(running.id, node=NODE)
        self.assertEqual(await self.store.cancel(running.id, lambda job: [(1, "x")], unless_begun=True), waiting)
        [fresh] = await self.add()
        fresh = await self.store.cancel(fresh.id, lambda job: [(1, "x")], unless_begun=True)
        self.assertEqual((fresh.outcome, fresh.messages), (Outcome.CANCELLED, 1))

    async def test_requeue_starts_from_nothing_and_a_refund_keeps_the_attempt(self) -> None:
        job = await self.running()
        artifact = Artifact(name="a", media_type="t/t", size=1)
        await self.store.append(job.id, progress=Progress(documents=4), artifacts=[artifact])
        job = await self.store.requeue(job.id, node=NODE, messages=[(116, "again")])
        self.assertEqual((job.state, job.documents, job.attempts, job.messages), (State.QUEUED, 0, 1, 1))
        self.assertEqual(await self.store.artifacts(job.id), [])
        [job] = await self.claim(1)
        self.assertEqual(job.attempts, 2)
        job = await self.store.requeue(job.id, node=NODE, refund=True)
        self.assertEqual(job.attempts, 1)

    async def test_jobs_of_a_dead_server(self) -> None:
        job = await self.running()
        self.reopen()
        self.assertEqual(await self.store.abandoned(NODE), [job])
        self.assertEqual(await self.store.abandoned("another"), [])

    async def test_one_bad_write_does_not_spoil_its_group(self) -> None:
        job = await self.running()
        good = self.store.append(job.id, messages=[(1, "good")])
        unnamed = Artifact(name=None, media_type="", size=0)  # type: ignore[arg-type]
        bad = self.store.append(job.id, messages=[(1, "bad")], artifacts=[unnamed])
        also_good = self.store.append(job.id, messages=[(1, "also good")])
        await good
        with self.assertRaises(StoreUnavailable):
            await bad
        self.flushLoggedErrors()
        self.assertEqual((await also_good).messages, 2)


class LeaseTests(StoreCase):
    async def test_the_chooser_sees_pages_in_order_and_its_choice_is_leased(self) -> None:
        await self.add(*[request(priority=n % 3) for n in range(450)])
        seen: list[int] = []

        def last_of_all(jobs: list[Job]) -> Job | None:
            seen.extend(job.id for job in jobs)
            return jobs[-1] if len(seen) == 450 else None

        job = await self.store.lease("f/1", last_of_all, backends=["merge"], expires_at=1300, messages=[(118, "taken")])
        self.assertEqual(len(set(seen)), 450)
        self.assertEqual((job.state, job.node, job.attempts, job.lease_until), (State.LEASED, "f/1", 1, 1300))
        self.assertEqual(await self.store.get(job.id), job)
        self.assertEqual(await self.store.lease("f/1", lambda jobs: None, backends=["merge"], expires_at=1), None)

    async def test_what_has_another_home_is_left_to_it(self) -> None:
        homes = ["node-b", "", NODE]
        theirs, anybodys, ours = await self.add(*(request(home=home) for home in homes))

        async def leased(home: str) -> int | None:
            # Another server has a store of its own.
            store = JobStore(self.database, self.clock)
            job = await store.lease("f", lambda jobs: jobs[0], backends=["merge"], expires_at=1300, home=home)
            return None if job is None else job.id

        found = [await leased(home) for home in (NODE, NODE, NODE, "node-b")]
        self.assertEqual(found, [anybodys.id, ours.id, None, theirs.id])

    async def test_every_page_has_the_next_jobs_of_every_account(self) -> None:
        await self.add(*[request(account="busy", priority=n % 2) for n in range(400)])
        await self.add(request(account="small"), request(account="urgent", priority=5), request(account=""))
        pages: list[list[Job]] = []

        def look(jobs: list[Job]) -> Job | None:
            pages.append(list(jobs))
            return None

        self.assertIsNone(await self.store.lease("f", look, backends=["merge", "other"], expires_at=1300))
        self.assertEqual({job.request.account for job in pages[0]}, {"busy", "small", "urgent", ""})
        self.assertEqual(pages[0][0].request.account, "urgent")
        for page in pages:
            self.assertEqual(page, sorted(page, key=lambda job: (-job.request.priority, job.id)))
        shown = [job.id for page in pages for job in page]
        self.assertEqual(sorted(shown), list(range(1, 404)))
        busy = [job for page in pages for job in page if job.request.account == "busy"]
        self.assertEqual(busy, sorted(busy, key=lambda job: (-job.request.priority, job.id)))

    async def test_what_was_refused_is_not_shown_again(self) -> None:
        # In pieces, so that others may write in between.
        self.patch(leasing, "SHOWN_AT_ONCE", 250)
        await self.add(*[request(account=f"a{n % 3}", priority=n % 2) for n in range(900)])
        shown: list[int] = []

        def refuse(jobs: list[Job]) -> Job | None:
            shown.extend(job.id for job in jobs)
            return None

        async def lease(choose: Any, kind: str | None, holder: str = "f") -> Job | None:
            shown.clear()
            return await self.store.lease(holder, choose, backends=["merge"], expires_at=1300, kind=kind)

        self.assertIsNone(await lease(refuse, "Word"))
        self.assertEqual(sorted(shown), list(range(1, 901)))
        self.assertIsNone(await lease(refuse, "Word"))
        self.assertEqual(shown, [])
        await self.add(request(account="a1"))
        self.assertIsNone(await lease(refuse, "Word"))
        self.assertEqual(shown, [901])
        # Others are no worse off for it.
        self.assertIsNone(await lease(refuse, "Writer"))
        self.assertEqual(len(shown), 901)
        taken = await lease(lambda jobs: jobs[0], None)
        assert taken is not None
        await self.store.requeue(taken.id, node="f")
        await self.add(request(account="a2"))
        wanted = await lease(lambda jobs: next((job for job in jobs if job.id == 902), None), "Word")
        assert wanted is not None
        self.assertEqual(wanted.id, 902)
        # A choice among the last, behind many that nobody wants.
        last = await lease(lambda jobs: next((job for job in jobs if job.id == 900), None), "Impress")
        assert last is not None
        self.assertEqual(last.id, 900)

    async def test_renewal_expiry_and_a_late_finish(self) -> None:
        await self.add()
        job = await self.store.lease("f/1", lambda jobs: jobs[0], backends=["merge"], expires_at=1300)
        job = await self.store.renew(job.id, "f/1", expires_at=1400)
        self.assertEqual(await self.store.expired_leases(1399), [])
        self.assertEqual(await self.store.expired_leases(1400), [job])
        with self.assertRaises(LeaseLost):
            await self.store.renew(job.id, "f/2", expires_at=1500)
        await self.store.requeue(job.id, node="f/1")
        with self.assertRaises(LeaseLost):
            await self.store.renew(job.id, "f/1", expires_at=1500)
        with self.assertRaises(WrongState):
            await self.store.finish(job.id, Outcome.COMPLETED, node="f/2")
        done = await self.store.finish(job.id, Outcome.COMPLETED, node="f/1")
        self.assertEqual((done.outcome, done.lease_until), (Outcome.COMPLETED, None))


class FindTests(StoreCase):
    async def test_walking_both_ways(self) -> None:
        jobs = await self.add(*[request() for _ in range(5)])
        await self.store.cancel(jobs[1].id, lambda job: ())

        async def ids(**how: Any) -> list[int]:
            return [job.id for job in await self.store.find(**how)]

        self.assertEqual(await ids(after=2, limit=2), [3, 4])
        self.assertEqual(await ids(after=4, limit=2, reverse=True), [3, 2])
        self.assertEqual(await ids(after=0, limit=10, unfinished=True), [1, 3, 4, 5])

    async def test_prunable_by_age_and_by_number(self) -> None:
        jobs = await self.add(*[request() for _ in range(5)])
        for job in jobs[:4]:
            self.clock.advance(10)
            await self.store.cancel(job.id, lambda job: [(1, "x")] * 3)

        async def ids(**how: Any) -> list[int]:
            return [job.id for job in await self.store.prunable(**{"finished_before": None, "keep": None, **how})]

        self.assertEqual(await ids(finished_before=1025, limit=10), [1, 2])
        self.assertEqual(await ids(keep=1, limit=10), [1, 2, 3])
        self.assertEqual(await ids(keep=1, finished_before=1015, limit=2), [1, 2])
        self.assertEqual(await ids(limit=10), [])
        await self.store.delete([1, 2, 5])
        self.assertEqual([job.id for job in await self.store.find(after=0, limit=9)], [3, 4, 5])
        self.assertEqual(await self.store.messages(1, after=0, limit=9), [])


class AtWorkTests(StoreCase):
    async def test_what_is_known_of_a_job_at_work_is_what_is_on_disk(self) -> None:
        """At each step; the store answers from memory between the claim and the end."""

        async def same() -> bool:
            """Whether it was answered from memory."""
            known = self.store.get(job.id)
            is_known = bool(known.called)
            self.assertEqual(await known, await self.database.read(queries.job, job.id))
            return is_known

        [job] = await self.add()
        self.assertFalse(await same())
        await self.store.claim("default", ["merge"], 1, node=NODE, messages=[(1, "a")])
        self.assertTrue(await same())
        await self.store.append(job.id, messages=[(2, "b")], progress=Progress(documents=1))
        self.assertTrue(await same())
        with self.assertRaises(WrongState):
            await self.store.finish(job.id, Outcome.COMPLETED, node="somebody else")
        self.assertTrue(await same())
        await self.store.requeue(job.id, node=NODE)
        self.assertFalse(await same())
        await self.store.lease("f", lambda jobs: jobs[0], backends=["merge"], expires_at=1300)
        self.assertTrue(await same())
        await self.store.cancel(job.id, lambda job: [])
        self.assertTrue(await same())
        await self.store.finish(job.id, Outcome.CANCELLED, node="f")
        self.assertFalse(await same())

    async def test_what_could_not_be_committed_is_not_known(self) -> None:
        [job] = await self.add()
        [claimed] = await self.store.claim("default", ["merge"], 1, node=NODE)
        broken = patch.object(changes, "INSERT_MESSAGES", Mock(execute=Mock(side_effect=OSError("no room"))))
        with broken, self.assertRaises(OSError):
            await self.store.append(job.id, messages=[(2, "b")], progress=Progress(documents=7))
        self.flushLoggedErrors()
        self.assertEqual(await self.store.get(job.id), claimed)
        self.assertEqual(await self.database.read(queries.job, job.id), claimed)
        done = await self.store.finish(job.id, Outcome.COMPLETED, node=NODE)
        self.assertEqual(done.documents, 0)

    async def test_what_was_written_is_known_though_nobody_waits_for_it_any_more(self) -> None:
        """Whoever asked has gone, and has the Deferred cancelled."""
        [job] = await self.add()
        [job] = await self.store.claim("default", ["merge"], 1, node=NODE)
        finishing = self.store.finish(job.id, Outcome.COMPLETED, node=NODE)
        finishing.cancel()
        with self.assertRaises(CancelledError):
            await finishing
        await self.add()
        self.assertEqual((await self.store.get(job.id)).state, State.DONE)

    async def test_a_lease_gives_the_job_its_name(self) -> None:
        handouts = Handouts()
        store = JobStore(self.database, self.clock, handouts)
        [job] = await self.add()
        await store.lease("f", lambda jobs: jobs[0], backends=["merge"], expires_at=1300)
        name = handouts.name_of(job.id)
        again = Factories(self.database, self.clock)
        self.assertEqual(await again.job_of(str(name)), job.id)
        self.assertEqual(await again.hand_out(job.id), name)


class FullDiskTests(StoreCase):
    async def test_a_full_disk_is_said_and_gone_when_there_is_room(self) -> None:
        def limit(connection: sa.Connection, counts: Sequence[int]) -> list[None]:
            # Of this connection only: the writer's.
            connection.exec_driver_sql(f"PRAGMA max_page_count = {counts[-1]}")
            return [None] * len(counts)

        await self.add()
        await self.database.write(limit, 1)
        with self.assertRaises(StoreUnavailable) as caught:
            for _ in range(100):
                await self.add(request(variables={"big": "x" * 20_000}))
        self.assertIn("full", str(caught.exception))
        self.flushLoggedErrors()
        before = len(await self.store.find(after=0, limit=1000))
        await self.database.write(limit, 1_000_000)
        [job] = await self.add()
        self.assertEqual(len(await self.store.find(after=0, limit=1000)), before + 1)
        self.assertEqual((await self.store.get(job.id)).id, job.id)
