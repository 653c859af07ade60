"""The seven commands over a real socket: every packet seen in the field, and the reply that each gets."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from pfserver.errors import StoreUnavailable
from pfserver.interfaces import IReporter
from pfserver.model import Outcome, Progress, State
from tests.frontends.pageflex.support import VECTORS, FrontEndCase, packet, submission, vector


class SubmitTests(FrontEndCase):
    async def test_every_packet_of_the_field_is_taken(self) -> None:
        paths = sorted([*VECTORS.glob("0*"), *VECTORS.glob("1*")])
        self.assertEqual(len(paths), 11)
        for number, path in enumerate(paths, 1):
            received = await self.talk(path.read_bytes())
            self.assertTrue(received.startswith(b"R0000000: T%07d\r\n" % number), path.name)
            request = (await self.engine.job(number)).request
            self.assertEqual((request.project, request.job), ("Sample Project.pf", "Job 1"), path.name)

    async def test_the_variables_arrive(self) -> None:
        await self.talk(vector("10"))
        self.assertEqual(dict((await self.engine.job(1)).request.document_variables), {"City": "Zürich"})
        data = submission(_sys_Priority="7", _sys_QueueName="night", _sys_FinalOutputDir="spring", Colour="blue")
        self.assertEqual(await self.talk(data), b"R0000000: T0000002\r\n")
        request = (await self.engine.job(2)).request
        self.assertEqual((request.priority, request.queue, request.variables["Colour"]), (7, "night", "blue"))
        self.assertEqual(request.output_folder, str((self.root / "output/spring").resolve()))

    async def test_the_reply_comes_after_the_commit(self) -> None:
        asked, allowed = threading.Event(), threading.Event()
        self.addCleanup(allowed.set)
        commit = self.database._commit

        def held(group: Any) -> Any:
            asked.set()
            allowed.wait()
            return commit(group)

        self.patch(self.database, "_commit", held)
        client = await self.connect(submission())
        await self.until(asked.is_set)
        for _ in range(20):
            await self.turn()
            await deferLater(reactor, 0.001)
        self.assertEqual(client.received, b"")
        allowed.set()
        await self.until(lambda: client.received)
        # As anybody sees it who opens the file.
        with closing(sqlite3.connect(self.root / "jobs.sqlite")) as connection:
            self.assertEqual(connection.execute("SELECT id FROM jobs").fetchall(), [(1,)])

    async def test_nothing_stored_nothing_acknowledged(self) -> None:
        def full(*arguments: object, **keywords: object) -> Deferred[None]:
            failed: Deferred[None] = Deferred()
            failed.errback(StoreUnavailable("nothing could be stored: database or disk is full"))
            return failed

        self.patch(self.store, "add", full)
        text = await self.assert_refused(submission(), 5121)
        self.assertIn("disk is full", text)

    async def test_an_unknown_sys_variable_is_noted_in_the_log(self) -> None:
        received = await self.talk(submission(_sys_Nonsense="1", _sys_ClientJobMonitor="TRUE"))
        self.assertIn(b"J0000117: _sys_Nonsense is not known", received)


class OtherCommandTests(FrontEndCase):
    async def running(self) -> Deferred[Outcome]:
        gate: Deferred[Outcome] = Deferred()

        async def work(reporter: IReporter) -> Outcome:
            reporter.message(5000, "Evaluation failed for variable: V\nScript result was null, line 48, column 4")
            reporter.progress(Progress(documents=120, pages=240, total=500))
            await reporter.flush()
            cancelled = reporter.when_cancelled()
            cancelled.addCallback(lambda _: gate.callback(Outcome.CANCELLED))
            return await gate

        self.backend.work = work
        self.assertEqual(await self.talk(submission()), b"R0000000: T0000001\r\n")
        while (await self.engine.job(1)).documents == 0:
            await self.turn()
        return gate

    async def test_status_through_a_life(self) -> None:
        gate = await self.running()
        self.assertEqual(await self.talk(vector("21")), b"R0000000: Job Status = RUNNING, 120 of 500 documents\r\n")
        gate.callback(Outcome.PARTIAL)
        await self.ended(await self.engine.job(1))
        self.assertEqual(await self.talk(vector("21")), b"R0000000: Job Status = PARTIAL\r\n")

    async def test_status_of_a_queued_job(self) -> None:
        self.engine._dispatchers["night"].pause()
        await self.talk(submission(_sys_QueueName="night"))
        self.assertEqual(await self.talk(vector("21")), b"R0000000: Job Status = QUEUED\r\n")
        self.assertEqual(
            await self.talk(packet("GetJobQueueLen", _sys_QueueName="night")),
            b"R0000000: 1 jobs waiting in queue night, last transaction T0000001\r\n",
        )
        self.assertEqual(
            await self.talk(packet("GetJobQueueLen")), b"R0000000: 1 jobs waiting, last transaction T0000001\r\n"
        )
        self.assertEqual((await self.talk(vector("23"))).split(b" ")[1], b"0")
        self.assertEqual(await self.talk(vector("20")), b"R0000000: T0000001\r\n")
        self.assertEqual(await self.talk(vector("21")), b"R0000000: Job Status = CANCELLED\r\n")

    async def test_cancel_of_a_running_job(self) -> None:
        await self.running()
        self.assertEqual(await self.talk(vector("20")), b"R0000000: T0000001\r\n")
        job = await self.ended(await self.engine.job(1))
        self.assertEqual((job.state, job.outcome), (State.DONE, Outcome.CANCELLED))

    async def test_the_task_log_is_what_the_monitor_told(self) -> None:
        gate = await self.running()
        so_far = await self.talk(vector("22"))
        self.assertTrue(so_far.startswith(b"R0000000: T0000001\r\nJ0000100: Machine name: press-1\r\n"), so_far)
        self.assertTrue(so_far.endswith(b"\r\nJ0005000: Script result was null, line 48, column 4\r\n"), so_far)
        gate.callback(Outcome.COMPLETED)
        await self.ended(await self.engine.job(1))
        log = await self.talk(vector("22"))
        self.assertTrue(log.startswith(so_far))
        self.assertTrue(log.endswith(b"\r\nJ0000001: Transaction T0000001 ended\r\n"))

    async def test_what_the_server_is(self) -> None:
        self.assertEqual(await self.talk(vector("24")), b"R0000000: pfserver 1 (Python 3, Twisted 26)\r\n")

    async def test_restart(self) -> None:
        self.assertEqual(await self.talk(vector("25")), b"R0000000: Server restarted\r\n")
        self.assertEqual(self.backend.restarts, 1)

    async def test_an_unknown_transaction(self) -> None:
        for command in ("CancelJob", "GetJobStatus", "GetTaskLog"):
            await self.assert_refused(packet(command, _sys_TransactionID="T0000009"), 5113)
            await self.assert_refused(packet(command, _sys_TransactionID="9"), 5112)
            await self.assert_refused(packet(command), 5111)
        await self.assert_refused(packet("GetJobQueueLen", _sys_QueueName="nope"), 5124)


class RestartRightTests(FrontEndCase):
    frontend_options = {"restart_from": ["192.0.2.7"]}

    async def test_only_those_who_may(self) -> None:
        await self.assert_refused(vector("25"), 5119)
        self.assertEqual(self.backend.restarts, 0)
