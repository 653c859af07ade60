"""Bunches whose responses are longer than a message: what took place is told, fetches are what can be asked again."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pfserver.frontends.omi import quick
from pfserver.frontends.omi.responses import fine_response, fitting
from pfserver.store.globals import service
from pfserver.store.globals.batch import Batch
from pfserver.wire.omi import (
    Define,
    Done,
    Get,
    GetReply,
    Increment,
    IncrementReply,
    JobReply,
    JobStatus,
    Lock,
    LockReply,
    Operation,
    Order,
    OrderReply,
    Range,
    Reply,
    Request,
    RoutineReference,
    Set,
    SetExtract,
    SetPiece,
    StartJob,
    Status,
    bunch,
    split_bunch,
    split_response,
)
from tests.frontends.omi.support import Circuit, OMICase, ref

#: Two values whose gets leave not a byte in the reply to a bunch of three.
LONG, REST = b"a" * 32_767, b"b" * (65_535 - 6 - 3 * 16 - 32_767 - 2 * 3)
JOB = StartJob(client=b"9", routine=RoutineReference(b"", b"SUBMIT", [b"scripted.pf", b"j"]))


class LongReplyTests(OMICase):
    async def setUp(self) -> None:
        await super().setUp()
        self.circuit_ = await self.session()
        await self.circuit_.ask(Set(ref(1), LONG))
        await self.circuit_.ask(Set(ref(2), REST))

    async def asked(self, *requests: Request, circuit: Circuit | None = None, **header: Any) -> list[Reply | int]:
        return [answer for _, answer in await (circuit or self.circuit_).ask_all(requests, **header)]

    async def test_what_took_place_is_told(self) -> None:
        gets = Get(ref(1)), Get(ref(2))
        for request, reply in (
            (Lock(ref("L"), b"1"), LockReply(1)),
            (Increment(ref("N"), b"1"), IncrementReply(b"1")),
            (JOB, JobReply(1, b"1")),
        ):
            self.assertEqual(await self.asked(*gets, request), [GetReply(1, LONG), 5, reply])
        await self.ended(await self.engine.job(1))
        self.assertEqual(await self.asked(*gets, Set(ref("M"), b"")), [GetReply(1, LONG), GetReply(1, REST), Done()])

    async def test_long_headers_have_room(self) -> None:
        await self.circuit_.ask(Set(ref(2), REST[3:]))
        answers = await self.asked(Get(ref(1)), Get(ref(2)), Set(ref("M"), b""), long=True)
        self.assertEqual(answers, [GetReply(1, LONG), GetReply(1, REST[3:]), Done()])
        answers = await self.asked(Get(ref(1)), Get(ref(2)), Increment(ref("N"), b"1"), long=True)
        self.assertEqual(answers, [GetReply(1, LONG), 5, IncrementReply(b"1")])

    async def test_places_are_told_before_values(self) -> None:
        answers = await self.asked(Get(ref(1)), Get(ref(2)), Order(ref("")))
        self.assertEqual(answers, [GetReply(1, LONG), 5, OrderReply(b"1")])

    async def test_updates_whose_new_values_do_not_fit_are_refused(self) -> None:
        """A number that needs 47 digits may be asked for in fewer bytes than it is told in."""
        circuit = await self.session(message=Range(1, 150))
        await self.circuit_.ask(Set(ref("N"), b"1E46"))
        requests = [Increment(ref("N"), b"1")] * 3
        self.assertEqual(await self.asked(*requests, circuit=circuit), [5, 5, 5])
        self.assertEqual(await self.circuit_.ask(Get(ref("N"))), GetReply(1, b"1E46"))
        locked = await self.asked(*requests[:2], Lock(ref("L"), b"1"), circuit=circuit)
        self.assertEqual(locked, [5, 5, LockReply(1)])
        self.assertEqual(await self.circuit_.ask(Get(ref("N"))), GetReply(1, b"1E46"))
        big = IncrementReply(b"1" + b"0" * 46)
        self.assertEqual(await self.asked(requests[0], circuit=circuit), [big])

    async def test_a_job_request_that_could_not_be_answered_is_not_carried_out(self) -> None:
        circuit = await self.session(message=Range(1, 128))
        await circuit.ask(JOB)
        await self.ended(await self.engine.job(1))
        await self.circuit_.ask(Set(ref("N"), b"1E46"))
        answers = await self.asked(Increment(ref("N"), b"1"), JobStatus(1), Status(), Status(), circuit=circuit)
        self.assertEqual(answers, [IncrementReply(b"1" + b"0" * 46), 5, Done(), Done()])
        self.assertEqual(await circuit.ask(JobStatus(1)), JobReply(1, b"1"))

    async def test_gets_are_not_carried_out_when_the_reply_is_full(self) -> None:
        self.patch(quick, "_SLICE", 4)
        view = self.globals.view
        got: list[bytes] = []

        class Counted:
            def __init__(self, view: Any) -> None:
                self._view = view

            def __getattr__(self, name: str) -> Any:
                return getattr(self._view, name)

            def get(self, key: bytes) -> Any:
                got.append(key)
                return self._view.get(key)

        self.patch(self.globals, "view", lambda: Counted(view()))
        answers = await self.asked(*[Get(ref(1))] * 40, Order(ref("")))
        self.assertEqual(answers, [GetReply(1, LONG), *[5] * 39, OrderReply(b"1")])
        self.assertEqual(len(got), 4)

    async def test_nor_is_what_tells_values_besides(self) -> None:
        self.patch(quick, "_SLICE", 4)
        circuit = await self.session(1, extensions=(1, 3))
        fetched: list[Any] = []
        session: Any = self.server_side(circuit)._dialogue.session
        wide_node = session.quick._fetches[b"\x0b\1\0" + bytes([Operation.DEFINE])]

        def counted(*arguments: Any) -> Any:
            perform, key = wide_node(*arguments)
            return lambda *of: fetched.append(key) or perform(*of), key

        session.quick._fetches[b"\x0b\1\0" + bytes([Operation.DEFINE])] = counted
        content = await circuit.raw(bunch([circuit.packed(Define(ref(1)))] * 40)[4:])
        errors = [split_response(part)[0].error_type for part in split_bunch(content)]
        self.assertEqual(errors, [0] + [5] * 39)
        self.assertEqual(len(fetched), 4)

    async def test_long_values_that_are_worked_on_again_and_again_are_left_to_the_thread(self) -> None:
        self.patch(service, "REMOVALS", 200)
        await self.circuit_.ask(Set(ref(1), b"^" * 32_767))
        run, allowances = Batch.run, []

        def watched(batch: Batch, function: Any, allowance: int | None = None, *arguments: Any) -> Any:
            allowances.append(allowance)
            return run(batch, function, allowance, *arguments)

        self.patch(Batch, "run", watched)
        for request, final in (
            (SetPiece(ref(1), b"", 32_767, 32_767, b"^"), b"^" * 32_767),
            (SetExtract(ref(1), b"z", 32_767, 32_767), b"^" * 32_766 + b"z"),
            (SetExtract(ref(3), b"z", 32_000, 32_000), b" " * 31_999 + b"z"),
            (Increment(ref(4), b"1"), b"1" * 30_000),
        ):
            await self.circuit_.ask(Set(ref(4), b"1" * 30_000))
            allowances.clear()
            answers = await self.asked(*[request] * 10)
            self.assertEqual(answers, [5 if request.operation == Operation.INCREMENT else Done()] * 10)
            self.assertEqual(allowances, [200, None], request)
            reference: Any = request.reference  # type: ignore[union-attr]
            self.assertEqual(await self.circuit_.ask(Get(reference)), GetReply(1, final))
        allowances.clear()
        await self.asked(*[SetPiece(ref(5), b"x", 3, 3, b"^"), Set(ref(6), LONG)])
        self.assertEqual(allowances, [200])

    async def test_live_values_are_not_read_when_the_reply_is_full(self) -> None:
        project = b"p" * 150 + b".pf"
        routine = RoutineReference(b"", b"SUBMIT", [project, b"j"])
        await self.circuit_.ask(StartJob(client=b"9", routine=routine))
        circuit = await self.session(message=Range(1, 400))
        find, found = self.engine.job, []

        async def counted(job_id: int) -> Any:
            found.append(job_id)
            return await find(job_id)

        self.patch(self.engine, "job", counted)
        answers = await self.asked(*[Get(ref(1, "project", name=b"%PFJOB"))] * 8, circuit=circuit)
        self.assertEqual(answers, [GetReply(1, project), *[5] * 7])
        self.assertEqual(len(found), 2)


class FittingTests(SynchronousTestCase):
    def test_what_is_asked_again_makes_room(self) -> None:
        """Of each kind the first ones that fit."""
        sizes = {Operation.GET: 30, Operation.ORDER: 10, Operation.INCREMENT: 20}
        operations = [Operation.GET, Operation.ORDER, Operation.GET, Operation.INCREMENT, Operation.ORDER]
        responses = [fine_response(bytes(4), b"x" * sizes[one]) for one in operations]
        whole = 6 + sum(4 + len(one) for one in responses)
        for limit, told in (
            (whole, [1, 1, 1, 1, 1]),
            (whole - 1, [1, 1, 0, 1, 1]),
            (whole - 31, [0, 1, 0, 1, 1]),
            (whole - 61, [0, 1, 0, 1, 0]),
            (whole - 80, [0, 0, 0, 1, 0]),
        ):
            fitted = fitting(responses, limit, operations)
            self.assertEqual([len(one) > 12 for one in fitted], list(map(bool, told)), limit)
            self.assertLessEqual(6 + sum(4 + len(one) for one in fitted), limit)
