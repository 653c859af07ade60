"""Job requests over real sockets, before a real engine: 61, 62 and 63 with all their rules."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from pfserver.errors import ConfigurationError
from pfserver.frontends.omi import jobs
from pfserver.frontends.omi.jobs import JobRequests, read_timeout
from pfserver.frontends.omi.routines import RoutineTable, read_routines
from pfserver.interfaces import IReporter
from pfserver.model import Outcome, State
from pfserver.wire.omi import (
    CancelJob,
    CancelReply,
    JobReply,
    JobStatus,
    OMIError,
    Request,
    RoutineReference,
    Set,
    StartJob,
)
from tests.frontends.omi.support import Circuit, OMICase, ref

TABLE = {
    "SAMPLE": {"project": "scripted.pf", "job": "Job 1", "variables": ["Name"]},
    "NIGHT": {"project": "scripted.pf", "queue": "night", "priority": 7},
    "BAD": {"project": "scripted.pf", "job": "bad"},
}


def start(routine: bytes = b"SAMPLE", *arguments: bytes, client: bytes = b"4711", **more: Any) -> StartJob:
    return StartJob(client=client, routine=RoutineReference(b"", routine, arguments), **more)


class JobTests(OMICase):
    frontend_options = {"routines": TABLE}

    async def setUp(self) -> None:
        await super().setUp()
        self.running: list[Deferred[None]] = []
        self.is_open = False
        self.backend.work = self.work
        self.addCleanup(self.open_gate)

    async def work(self, reporter: IReporter) -> Outcome:
        """Runs until the gate is open or the job is cancelled."""
        if not self.is_open:
            ended: Deferred[None] = Deferred()
            self.running.append(ended)
            Deferred.fromCoroutine(_wait(reporter)).addCallback(lambda _: ended.called or ended.callback(None))
            await ended
        return Outcome.CANCELLED if reporter.cancelled else Outcome.COMPLETED

    def open_gate(self) -> None:
        """Let all running jobs end, and all that follow."""
        self.is_open = True
        for ended in self.running:
            if not ended.called:
                ended.callback(None)

    async def fill(self) -> None:
        """Both slots of the default queue are taken, so that the next job stays pending."""
        for n in (1, 2):
            await self.submit()
            await self.until(lambda n=n: len(self.backend.began) == n)

    async def ask(self, circuit: Circuit, request: Request) -> tuple[int, Any]:
        [told] = await circuit.ask_all([request])
        return told

    async def test_pending_then_started_then_unknown(self) -> None:
        await self.fill()
        circuit = await self.session()
        self.assertEqual(await self.ask(circuit, start(b"SAMPLE", b"Zo\xc3\xab")), (1, JobReply(1, b"3")))
        for _ in range(3):
            self.assertEqual(await self.ask(circuit, JobStatus(1)), (1, JobReply(1, b"3")))
        self.open_gate()
        job = await self.ended(await self.engine.job(3))
        self.assertEqual(dict(job.request.document_variables), {"Name": "Zoë"})
        self.assertEqual(await self.ask(circuit, JobStatus(1)), (0, JobReply(1, b"3")))
        self.assertEqual(await self.ask(circuit, JobStatus(1)), (0, 31))

    async def test_overlapping_requests(self) -> None:
        await self.fill()
        circuit = await self.session()
        await circuit.ask(start())
        self.assertEqual(await self.ask(circuit, start()), (0, 30))
        self.assertEqual(await self.ask(circuit, JobStatus(1)), (0, 31))
        self.assertEqual(await self.ask(circuit, start()), (0, 30))
        self.assertEqual(await self.ask(circuit, start(client=b"4712")), (1, JobReply(2, b"4")))
        other = await self.session()
        self.assertEqual(await self.ask(other, start()), (1, JobReply(1, b"5")))
        self.assertEqual(await self.ask(other, JobStatus(2)), (0, 31))
        self.open_gate()
        await self.ended(await self.engine.job(3))
        self.assertEqual((await self.ask(circuit, start()))[1], JobReply(3, b"6"))

    async def test_one_client_after_another_is_complete(self) -> None:
        self.open_gate()
        circuit = await self.session()
        for number in (1, 2, 3):
            await circuit.ask(start())
            await self.ended(await self.engine.job(number))
        for number in (3, 1, 2):
            self.assertEqual(await self.ask(circuit, JobStatus(number)), (0, JobReply(number, b"%d" % number)))

    async def test_time_outs(self) -> None:
        await self.fill()
        circuit = await self.session()
        await circuit.ask(start(timeout=b"10.5"))
        self.time.advance(10.4)
        self.assertEqual(await self.ask(circuit, JobStatus(1)), (1, JobReply(1, b"3")))
        self.time.advance(0.2)
        await self.ended(await self.engine.job(3))
        self.assertEqual(await self.ask(circuit, JobStatus(1)), (0, 32))
        self.assertEqual(await self.ask(circuit, JobStatus(1)), (0, 31))
        self.assertEqual((await self.ask(circuit, start()))[0], 1)

    async def test_a_job_that_began_in_time_goes_on(self) -> None:
        circuit = await self.session()
        await circuit.ask(start(timeout=b"5"))
        await self.until(lambda: self.backend.began)
        self.time.advance(6)
        self.assertEqual(await self.ask(circuit, JobStatus(1)), (0, JobReply(1, b"1")))
        self.open_gate()
        self.assertIs((await self.ended(await self.engine.job(1))).outcome, Outcome.COMPLETED)

    async def test_a_time_out_outlives_the_session_and_the_lost_status(self) -> None:
        await self.fill()
        circuit = await self.session()
        await circuit.ask(start(timeout=b"5"))
        await circuit.ask(start())
        await self.drop(circuit)
        self.time.advance(6)
        job = await self.ended(await self.engine.job(3))
        self.assertEqual((job.outcome, job.attempts), (Outcome.CANCELLED, 0))

    async def test_a_job_that_begins_as_its_time_ends_goes_on(self) -> None:
        await self.fill()
        circuit = await self.session()
        await circuit.ask(start(timeout=b"5"))
        cancel, done = self.engine.cancel, []

        async def late(job_id: int, **more: Any) -> Any:
            self.running[0].callback(None)
            await self.until(lambda: len(self.running) == 3)
            self.assertEqual(await self.ask(circuit, JobStatus(1)), (0, JobReply(1, b"3")))
            done.append(await cancel(job_id, **more))
            return done[0]

        self.patch(self.engine, "cancel", late)
        self.time.advance(6)
        await self.until(lambda: done)
        self.open_gate()
        self.assertIs((await self.ended(await self.engine.job(3))).outcome, Outcome.COMPLETED)

    async def test_a_time_out_is_told_as_soon_as_it_is_stored(self) -> None:
        await self.fill()
        circuit = await self.session()
        await circuit.ask(start(timeout=b"5"))
        cancel, held = self.engine.cancel, Deferred[Any]()

        async def slow(job_id: int, **more: Any) -> Any:
            job = await cancel(job_id, **more)
            await held
            return job

        self.patch(self.engine, "cancel", slow)
        self.time.advance(6)
        await self.ended(await self.engine.job(3))
        self.assertEqual(await self.ask(circuit, JobStatus(1)), (0, 32))
        held.callback(None)

    async def test_lost_requests_are_remembered_in_bounds(self) -> None:
        self.patch(jobs, "LOST", 2)
        await self.fill()
        circuit = await self.session()
        requests = self.server_side(circuit)._dialogue.session._requests  # type: ignore[union-attr]
        for client in (b"1", b"2", b"3"):
            await circuit.ask(start(client=client))
            self.assertEqual(await circuit.ask(start(client=client)), 30)
        self.assertEqual((len(requests._last), len(requests._lost)), (0, 2))
        self.assertEqual([await circuit.ask(start(client=one)) for one in (b"3", b"2")], [30, 30])
        self.assertNotIsInstance(await circuit.ask(start(client=b"1")), int)

    async def test_time_outs_of_jobs_that_began_are_no_more(self) -> None:
        circuit = await self.session()
        before = len(self.time.getDelayedCalls())
        await circuit.ask(start(timeout=b"500"))
        await self.until(lambda: self.backend.began)
        await circuit.ask(JobStatus(1))
        self.assertEqual(len(self.time.getDelayedCalls()), before)

    async def test_cancel(self) -> None:
        await self.fill()
        circuit = await self.session()
        await circuit.ask(start())
        self.assertEqual(await self.ask(circuit, CancelJob(1)), (0, CancelReply(1)))
        self.assertIs((await self.engine.job(3)).outcome, Outcome.CANCELLED)
        for request in (CancelJob(1), JobStatus(1), CancelJob(0), JobStatus(65_535)):
            self.assertEqual(await self.ask(circuit, request), (0, 31))
        self.assertEqual((await self.ask(circuit, start()))[1], JobReply(2, b"4"))

    async def test_cancel_of_a_running_job(self) -> None:
        circuit = await self.session()
        await circuit.ask(start())
        await self.until(lambda: self.backend.began)
        await circuit.ask(CancelJob(1))
        self.assertIs((await self.ended(await self.engine.job(1))).outcome, Outcome.CANCELLED)

    async def test_cancelled_by_another_before_it_began(self) -> None:
        await self.fill()
        circuit = await self.session()
        await circuit.ask(start())
        await self.engine.cancel(3)
        self.assertEqual(await self.ask(circuit, JobStatus(1)), (0, 6))
        self.assertEqual(await self.ask(circuit, JobStatus(1)), (0, 31))

    async def test_submit_by_arguments(self) -> None:
        circuit = await self.session()
        values = b"scripted.pf", b"Job 2", b"Name=Zoe=1", b"_sys_MaxRecords=3"
        await circuit.ask(start(b"SUBMIT", *values, parameters=b"queue=night:priority=4"))
        request = (await self.engine.job(1)).request
        self.assertEqual((request.project, request.job), ("scripted.pf", "Job 2"))
        self.assertEqual((request.queue, request.priority), ("night", 4))
        self.assertEqual(dict(request.document_variables), {"Name": "Zoe=1"})
        self.assertEqual(request.variables["_sys_MaxRecords"], "3")

    async def test_the_routine_table(self) -> None:
        circuit = await self.session()
        await circuit.ask(start(b"NIGHT", b"x", b"y"))
        request = (await self.engine.job(1)).request
        self.assertEqual((request.queue, request.priority), ("night", 7))
        self.assertEqual(dict(request.document_variables), {"argument1": "x", "argument2": "y"})

    async def test_what_cannot_be_started(self) -> None:
        circuit = await self.session()
        for request, error in (
            (start(b"NOWHERE"), 3),
            (start(b"BAD"), 3),
            (start(b"SUBMIT"), 3),
            (start(b"SUBMIT", b"scripted.pf", b"j", b"no pair"), 3),
            (start(parameters=b"colour=red"), 3),
            (start(parameters=b"queue=nowhere"), 3),
            (start(timeout=b"soon"), 11),
            (start(timeout=b"-1"), 11),
        ):
            self.assertEqual(await self.ask(circuit, request), (0, error))
        self.assertEqual(await self.engine.recent_jobs(), [])

    async def test_a_job_sees_what_was_set_before_it_in_its_message(self) -> None:
        self.open_gate()
        circuit = await self.session()
        await circuit.ask_all([Set(ref(1), b"v"), start()])
        self.assertEqual(self.globals.view().get(self.globals.key(b"", b"X", [b"1"])), b"v")
        await self.ended(await self.engine.job(1))

    async def test_numbers_wrap_and_pass_over_those_that_are_kept(self) -> None:
        await self.fill()
        engine, table = self.engine, RoutineTable(read_routines(TABLE))
        from pfserver.frontends.omi.agents import ANONYMOUS

        requests = JobRequests(engine, table, self.time, ANONYMOUS, first=65_534)
        self.addCleanup(requests.stop)
        numbers = [(await requests.start(start(client=b"%d" % n)))[1].number for n in range(4)]
        self.assertEqual(numbers, [65_534, 65_535, 1, 2])
        await requests.cancel(65_535)
        requests._next = 65_534
        numbers = [(await requests.start(start(client=b"%d" % n)))[1].number for n in range(10, 12)]
        self.assertEqual(numbers, [65_535, 3])

    async def test_the_engine_lost_the_job(self) -> None:
        self.open_gate()
        circuit = await self.session()
        await circuit.ask(start())
        job = await self.ended(await self.engine.job(1))
        self.assertIs(job.state, State.DONE)
        await self.store.delete([1])
        self.assertEqual(await self.ask(circuit, JobStatus(1)), (0, JobReply(1, b"1")))


class OtherNumberTests(OMICase):
    frontend_options = {"routines": TABLE, "cancel_operation": 70}

    async def test_cancel_has_the_number_that_is_configured(self) -> None:
        circuit = await self.session()
        await circuit.ask(start())
        self.assertEqual(await circuit.ask(CancelJob(1)), 12)
        from pfserver.wire.omi import RequestHeader, message, split_bunch, split_response

        content = RequestHeader(70, sequence=1, request_id=7).pack() + CancelJob(1).pack()
        circuit.send(message(b"\1\0" + message(content)))
        [part] = split_bunch(await circuit.next())
        header, body = split_response(part)
        self.assertEqual((header.error_type, body), (0, b"\1\0"))


async def _wait(reporter: IReporter) -> None:
    await reporter.when_cancelled()


class TableTests(SynchronousTestCase):
    def test_time_outs(self) -> None:
        for data, seconds in ((b"", None), (b"0", 0.0), (b"10", 10.0), (b"10.5", 10.5), (b".5", 0.5), (b"3.", 3.0)):
            self.assertEqual(read_timeout(data), seconds)
        for data in (b".", b"1e3", b"nan", b" 1", b"+1", b"1" * 20, "٣".encode()):
            with self.assertRaises(OMIError):
                read_timeout(data)

    def test_tables_that_cannot_be_used(self) -> None:
        for table in (
            {"A": 1},
            {"A": {}},
            {"A": {"project": "a", "backend": "mumps"}},
            {"A": {"project": "a", "colour": "red"}},
            {"A": {"project": "a", "priority": True}},
            {"A": {"project": "a", "variables": [""]}},
        ):
            with self.assertRaises(ConfigurationError):
                read_routines(table)

    def test_m_code(self) -> None:
        table = RoutineTable(read_routines({"*": {"backend": "mumps"}}))
        request = table.request(start(b"REPORT", b"a", b"b", label=b"main", offset=3, environment=b"e"), "mis")
        self.assertEqual((request.project, request.job, request.backend), ("^REPORT", "main+3", "mumps"))
        self.assertEqual(request.variables["_mumps_argument2"], "b")
        self.assertEqual(request.variables["_mumps_environment"], "e")
        self.assertEqual(request.account, "mis")
