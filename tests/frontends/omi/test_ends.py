"""How circuits end: agents that stop reading or writing, messages that cannot be read, faults of ours."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.defer import Deferred

from pfserver.wire.omi import (
    Done,
    Get,
    GetReply,
    JobReply,
    Lock,
    LockReply,
    Range,
    RequestHeader,
    RoutineReference,
    Set,
    StartJob,
    Status,
    bunch,
    message,
    parse_reply,
    split_bunch,
    split_response,
)
from tests.frontends.omi.support import Circuit, OMICase, ref

START = StartJob(environment=b"", client=b"1", routine=RoutineReference(b"", b"SAMPLE"))


class EndCase(OMICase):
    def hold_updates(self) -> Deferred[None]:
        """Updates wait until this fires."""
        gate: Deferred[None] = Deferred()
        write = self.globals.write

        def late(function: Any) -> Any:
            done: Deferred[Any] = Deferred()
            gate.addCallback(lambda _: write(function).chainDeferred(done))
            return done

        self.globals.write = late  # type: ignore[method-assign]
        return gate

    async def not_reading(self, major: int = 1) -> Circuit:
        """A circuit with the lock on ^X(1) and many replies that its agent does not read."""
        circuit = await self.session(major)
        await circuit.ask(Set(ref(1), os.urandom(32_000)))
        self.assertEqual(await circuit.ask(Lock(ref(1), b"1")), LockReply(1))
        circuit.transport.pauseProducing()  # type: ignore[union-attr]
        circuit.send(message(circuit.packed(Get(ref(1)))) * 1_000)
        await self.until(lambda: self.server_side(circuit)._paused)
        return circuit


class StalledTests(EndCase):
    frontend_options = {"idle_timeout": 100.0}

    async def test_who_never_reads_is_cut_and_his_locks_are_free(self) -> None:
        circuit, other = await self.not_reading(), await self.session()
        self.time.pump([1.0] * 50)
        self.assertEqual(await other.ask(Lock(ref(1), b"2")), LockReply(0))
        ours = self.server_side(circuit)
        for _ in range(70):
            self.time.pump([1.0] * 50)
            await other.ask(Status())
        self.assertFalse(ours._lost)
        self.time.pump([1.0] * 60)
        await self.until(lambda: ours._lost)
        self.assertEqual(await other.ask(Lock(ref(1), b"2")), LockReply(1))

    async def test_who_reads_again_in_time_is_served(self) -> None:
        circuit = await self.not_reading()
        self.time.pump([1.0] * 3_500)
        circuit.transport.resumeProducing()  # type: ignore[union-attr]
        for _ in range(1_000):
            await circuit.next()
        # Nor was it idle while it read.
        self.time.pump([1.0] * 5)
        self.assertEqual(await circuit.ask(Status()), Done())

    async def test_our_work_is_not_the_agent_s_idleness(self) -> None:
        circuit = await self.session()
        gate = self.hold_updates()
        circuit.send(bunch([circuit.packed(Set(ref(1), b"v"))]))
        await self.until(lambda: self.server_side(circuit)._busy)
        self.time.pump([1.0] * 150)
        gate.callback(None)
        await circuit.next()
        self.time.pump([1.0] * 5)
        self.assertEqual(await circuit.ask(Status()), Done())


class NoTimeForMessagesTests(EndCase):
    frontend_options = {"message_timeout": 0, "stalled": 60}

    async def test_the_last_replies_have_to_be_read_all_the_same(self) -> None:
        circuit = await self.not_reading()
        ours = self.server_side(circuit)
        ours.close()
        self.time.pump([1.0] * 62)
        await self.until(lambda: ours._lost)
        self.assertEqual(self.locks.held(), [])


class RefusalTests(EndCase):
    async def test_each_request_of_a_bunch_is_refused_in_kind(self) -> None:
        circuit = await self.session()
        parts = [
            RequestHeader(20, sequence=258, request_id=772, long=True).pack(),
            RequestHeader(20, sequence=5, request_id=6).pack(),
            RequestHeader(20, sequence=7, request_id=8, operation_class=2).pack(),
            RequestHeader(20, sequence=9, request_id=10, long=True).pack()[:-1],
            b"",
        ]
        answers = split_bunch(await circuit.raw(bunch(parts)[4:]))
        headers = [split_response(answer)[0] for answer in answers]
        self.assertEqual({(one.error_class, one.error_type) for one in headers}, {(1, 11)})
        self.assertEqual([one.long for one in headers], [True, False, False, True, False])
        self.assertEqual([one.sequence for one in headers], [258, 5, 7, 9, 0])
        self.assertEqual([one.request_id for one in headers[:3]], [772, 6, 8])
        await circuit.closed

    async def test_refusals_are_no_longer_than_a_message_may_be(self) -> None:
        for count, connect in ((16_000, {}), (60, {"message": Range(1, 300)})):
            circuit = await self.session(**connect)
            [answer] = split_bunch(await circuit.raw(bunch([b""] * count)[4:]))
            self.assertEqual(split_response(answer)[0].error_type, 11)
            await circuit.closed

    async def test_before_a_session(self) -> None:
        circuit = await self.circuit()
        request = RequestHeader(1, sequence=3, request_id=4, operation_class=9, long=True)
        header, _ = split_response(await circuit.raw(request.pack()))
        self.assertEqual((header.long, header.error_type, header.sequence, header.request_id), (True, 11, 3, 4))
        await circuit.closed


class HalfCloseTests(EndCase):
    frontend_options = {"routines": {"SAMPLE": {"project": "scripted.pf"}}}

    def say_no_more(self, circuit: Circuit) -> None:
        circuit.transport.loseWriteConnection()  # type: ignore[union-attr]

    async def test_an_update_that_is_not_on_disk_yet(self) -> None:
        circuit = await self.session(1)
        gate = self.hold_updates()
        circuit.send(message(circuit.packed(Set(ref(1), b"v"))))
        await self.until(lambda: self.server_side(circuit)._busy)
        self.say_no_more(circuit)
        await self.until(lambda: self.server_side(circuit)._ended)
        gate.callback(None)
        self.assertEqual((await circuit.next())[2:4], b"\0\0")
        await circuit.closed

    async def test_a_job_that_is_not_stored_yet(self) -> None:
        circuit = await self.session(1)
        submit, gate, asked = self.engine.submit, Deferred[None](), []

        async def late(request: Any) -> Any:
            asked.append(request)
            await gate
            return await submit(request)

        self.engine.submit = late  # type: ignore[method-assign]
        circuit.send(message(circuit.packed(START)))
        await self.until(lambda: asked)
        self.say_no_more(circuit)
        await self.until(lambda: self.server_side(circuit)._ended)
        gate.callback(None)
        reply = parse_reply(61, (await circuit.next())[12:])
        assert isinstance(reply, JobReply)
        self.assertEqual(reply.number, 1)
        await circuit.closed

    async def test_all_kinds_of_requests_at_once(self) -> None:
        circuit = await self.session(1)
        requests = [Set(ref(1), b"v"), Get(ref(1)), Lock(ref(1), b"1"), START, Status()]
        circuit.send(b"".join([message(circuit.packed(one)) for one in requests]))
        self.say_no_more(circuit)
        contents = [await circuit.next() for _ in requests]
        replies = [parse_reply(one.operation, at[12:]) for one, at in zip(requests, contents, strict=True)]
        self.assertEqual(replies[:3], [Done(), GetReply(1, b"v"), LockReply(1)])
        self.assertIsInstance(replies[3], JobReply)
        await circuit.closed
        await self.until(lambda: not self.frontend.factory._open)
        self.assertEqual(self.locks.held(), [])

    async def test_replies_that_are_read_late(self) -> None:
        circuit = await self.not_reading()
        self.say_no_more(circuit)
        circuit.transport.resumeProducing()  # type: ignore[union-attr]
        for _ in range(1_000):
            self.assertEqual(len(await circuit.next()), 32_015)
        await circuit.closed

    async def test_a_message_that_is_never_ended(self) -> None:
        circuit = await self.session()
        circuit.send(bunch([circuit.packed(Status())])[:-1])
        self.say_no_more(circuit)
        await circuit.closed


class TooLongTests(EndCase):
    async def test_what_came_before_is_answered(self) -> None:
        for updates in (False, True):
            circuit = await self.session(1)
            request = Set(ref(1), b"v") if updates else Get(ref(1))
            circuit.send(message(circuit.packed(request)) * 3 + b"\xff\xff\xff\xff" + b"noise")
            for _ in range(3):
                self.assertEqual((await circuit.next())[2:4], b"\0\0")
            await circuit.closed

    async def test_behind_an_update_that_is_not_on_disk_yet(self) -> None:
        circuit = await self.session(1)
        gate = self.hold_updates()
        circuit.send(message(circuit.packed(Set(ref(1), b"v"))))
        await self.until(lambda: self.server_side(circuit)._busy)
        circuit.send(message(circuit.packed(Get(ref(1)))) + b"\xff\xff\xff\xff")
        await self.until(lambda: self.server_side(circuit)._ended)
        gate.callback(None)
        self.assertEqual([(await circuit.next())[12:], (await circuit.next())[12:]], [b"", b"\1\1\0v"])
        await circuit.closed


class FaultTests(EndCase):
    async def test_a_fault_in_a_later_turn_is_answered_in_its_order(self) -> None:
        view, get = self.globals.view, self.globals.get

        def faulty(*arguments: Any) -> Any:
            raise ZeroDivisionError("a fault")

        for major in (1, 2):
            self.globals.view = self.globals.get = faulty  # type: ignore[method-assign]
            circuit = await self.session(major)
            gate = self.hold_updates()
            parts = [circuit.packed(one) for one in (Set(ref(1), b"v"), Get(ref(1)), Status())]
            circuit.send(b"".join([message(one) if major == 1 else bunch([one]) for one in parts]))
            await self.until(lambda circuit=circuit: len(self.server_side(circuit)._waiting) == 2)
            gate.callback(None)
            answers = [await circuit.next() for _ in parts]
            if major == 2:
                answers = [split_bunch(one)[0] for one in answers]
            headers = [split_response(one)[0] for one in answers]
            self.assertEqual([one.error_type for one in headers], [0, 6, 0])
            self.assertEqual([one.sequence for one in headers], [2, 3, 4])
            # A fault in the turn in which a message comes is told, too, also to those who have long headers.
            self.assertEqual(await circuit.ask(Get(ref(1))), 6)
            if major == 2:
                self.assertEqual(await circuit.ask(Get(ref(1)), long=True), 6)
            self.globals.view, self.globals.get = view, get  # type: ignore[method-assign]
            del self.globals.write
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 5)
