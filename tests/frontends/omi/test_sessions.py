"""Sessions over real sockets: vectors, negotiation, agents, errors and time."""

from __future__ import annotations

from collections import deque
from typing import Any

from attrs import evolve
from twisted.internet.defer import DeferredList
from twisted.trial.unittest import SynchronousTestCase

from pfserver.errors import ConfigurationError, NotAllowed
from pfserver.frontends.omi.agents import Doorkeeper, read_agents
from pfserver.frontends.omi.plugin import OMIOptions
from pfserver.options import read_table
from pfserver.wire.omi import (
    Connect,
    Connected,
    Disconnect,
    Done,
    Get,
    GetReply,
    JobStatus,
    Lock,
    LockReply,
    Order,
    OrderReply,
    Range,
    RequestHeader,
    RoutineReference,
    Set,
    StartJob,
    Status,
    message,
    split_bunch,
    split_response,
)
from tests.frontends.omi.support import OMICase, ref
from tests.wire.omi.vectors import Vector, session_of

TABLE = {"SAMPLE": {"project": "scripted.pf", "job": "Job 1", "variables": ["Name"]}}


class VectorTests(OMICase):
    frontend_options = {"routines": TABLE}

    async def replay(self, session: list[Vector], step: int) -> list[bytes]:
        circuit = await self.circuit()
        replies = []
        for vector in session:
            for start in range(0, len(vector.request), step):
                circuit.send(vector.request[start : start + step])
            replies.append(message(await circuit.next()))
        return replies

    async def check(self, name: str, step: int) -> None:
        session = session_of(name)
        replies = await self.replay(session, step)
        for vector, reply in zip(session[1:], replies[1:], strict=True):
            if vector.response is not None:
                self.assertEqual(reply, vector.response, vector.name)
        header, body = split_response(replies[0][4:])
        self.assertEqual((header.error_type, header.sequence), (0, 1))
        Connected.parse_all(body)

    async def test_version_1(self) -> None:
        await self.check("connect-1.0", 65_536)

    async def test_version_1_byte_by_byte(self) -> None:
        await self.check("connect-1.0", 1)

    async def test_bunching(self) -> None:
        await self.check("connect-1.0-bunching", 65_536)
        await self.check("connect-1.0-bunching", 1)

    async def test_version_2_with_a_job(self) -> None:
        connect, job, status = session_of("connect-2.0")
        circuit = await self.circuit()
        circuit.send(connect.request)
        await circuit.next()
        circuit.send(job.request)
        [reply] = split_bunch(await circuit.next())
        header, _body = split_response(reply)
        self.assertEqual((header.error_class, header.error_type), (0, 0))
        self.assertIn(header.modifier, (0, 1))
        if header.modifier:
            await self.until(lambda: self.backend.began)
            circuit.send(status.request)
            self.assertEqual(message(await circuit.next()), status.response)
        job_ = await self.ended(await self.engine.job(1))
        self.assertEqual(dict(job_.request.document_variables), {"Name": "Zoe"})

    async def test_pipelined_messages_are_answered_in_order(self) -> None:
        session = session_of("connect-1.0")
        circuit = await self.circuit()
        circuit.send(b"".join(vector.request for vector in session))
        replies = [message(await circuit.next()) for _ in session]
        self.assertEqual(replies[1:], [vector.response for vector in session[1:]])


class NegotiationTests(OMICase):
    async def test_what_we_offer(self) -> None:
        circuit = await self.circuit()
        wide = Range(1, 65_535)
        lengths = {"value": wide, "subscript": wide, "reference": wide, "message": wide, "outstanding": wide}
        reply = await circuit.ask(Connect(major=1, extensions=(3, 9, 1), **lengths))
        assert isinstance(reply, Connected)
        self.assertEqual((reply.major, reply.value, reply.subscript, reply.reference), (1, 32_767, 255, 255))
        self.assertEqual((reply.message, reply.outstanding, reply.extensions), (65_535, 1, (1, 3)))
        circuit = await self.circuit()
        reply = await circuit.ask(Connect(major=2, **lengths))
        assert isinstance(reply, Connected)
        self.assertEqual((reply.major, reply.reference, reply.extensions), (2, 1_024, ()))

    async def test_errors_close(self) -> None:
        for error, connect in (
            (20, Connect(major=3)),
            (20, Connect(major=0)),
            (21, Connect(major=1, subscript=Range(256, 300))),
            (21, Connect(major=1, reference=Range(256, 1_024))),
            (22, Connect(major=1, value=Range(0, 0))),
            (22, Connect(major=1, message=Range(0, 100))),
        ):
            circuit = await self.circuit()
            self.assertEqual(await circuit.ask(connect), error)
            await circuit.closed

    async def test_another_version_is_told_whatever_its_fields_are(self) -> None:
        circuit = await self.circuit()
        header, _ = split_response(await circuit.raw(circuit.packed(Connect(major=3)) + b"more"))
        self.assertEqual((header.error_class, header.error_type, header.sequence), (1, 20, 1))
        await circuit.closed

    async def test_fields_that_do_not_fit_close(self) -> None:
        circuit = await self.circuit()
        content = circuit.packed(Connect(major=1))
        header, _ = split_response(await circuit.raw(content + b"x"))
        self.assertEqual((header.error_class, header.error_type, header.sequence), (1, 11, 1))
        await circuit.closed

    async def test_no_session(self) -> None:
        circuit = await self.circuit()
        for request in (Status(), Get(ref(1)), Disconnect()):
            self.assertEqual(await circuit.ask(request), 24)
        self.assertIsInstance(await circuit.ask(Connect(major=1)), Connected)

    async def test_connect_in_a_session_closes(self) -> None:
        circuit = await self.session(1)
        self.assertEqual(await circuit.ask(Connect(major=1)), 23)
        await circuit.closed

    async def test_disconnect(self) -> None:
        circuit = await self.session()
        answers = await circuit.ask_all([Status(), Disconnect(b"done"), Status()])
        self.assertEqual([answer for _, answer in answers], [Done(), Done(), 24])
        await circuit.closed

    async def test_agreed_lengths_are_kept_in_both_directions(self) -> None:
        circuit = await self.session()
        await circuit.ask(Set(ref("a" * 60), b"v" * 500))
        limits = {"value": Range(1, 100), "subscript": Range(1, 50), "reference": Range(1, 80)}
        circuit = await self.session(**limits, message=Range(1, 300))
        self.assertEqual(await circuit.ask(Set(ref(1), b"v" * 101)), 5)
        self.assertEqual(await circuit.ask(Set(ref(1), b"v" * 100)), Done())
        self.assertEqual(await circuit.ask(Get(ref("a" * 51))), 4)
        self.assertEqual(await circuit.ask(Get(ref("a" * 40, "b" * 40))), 4)
        self.assertEqual(await circuit.ask(Lock(ref("a" * 51), b"1")), 4)
        self.assertEqual(await circuit.ask(Order(ref(1))), 4)
        await circuit.ask(Set(ref(2), b"w" * 100))
        both = await circuit.ask_all([Get(ref(1)), Get(ref(2)), Status(), Get(ref(1))])
        values = [GetReply(1, b"v" * 100), GetReply(1, b"w" * 100), Done(), 5]
        self.assertEqual([answer for _, answer in both], values)
        circuit.send(message(b"x" * 297))
        await circuit.closed

    async def test_what_comes_with_the_connect_has_to_keep_the_agreed_length(self) -> None:
        circuit = await self.circuit()
        connect = message(circuit.packed(Connect(major=1, message=Range(1, 200))))
        fits, exceeds = [message(circuit.packed(Set(ref(1), b"v" * size))) for size in (150, 5_000)]
        circuit.send(connect + fits + exceeds + fits)
        for _ in range(2):
            self.assertEqual(split_response(await circuit.next())[0].error_type, 0)
        await circuit.closed
        self.assertEqual(circuit._inbox, deque())
        key = self.globals.key(b"", b"X", [b"1"])
        self.assertEqual(self.globals.view().get(key), b"v" * 150)

    async def test_a_value_longer_than_agreed_is_not_told(self) -> None:
        circuit = await self.session()
        await circuit.ask(Set(ref(1), b"v" * 101))
        circuit = await self.session(value=Range(1, 100))
        self.assertEqual(await circuit.ask(Get(ref(1))), 5)


class HeaderTests(OMICase):
    async def test_long_headers_in_version_2(self) -> None:
        circuit = await self.session()
        await circuit.ask(Set(ref(1), b"v"), long=True)
        self.assertEqual(await circuit.ask(Get(ref(1)), long=True), GetReply(1, b"v"))
        circuit.send(message(b"\1\0" + message(RequestHeader(300, long=True, sequence=9).pack())))
        [part] = split_bunch(await circuit.next())
        header, _ = split_response(part)
        self.assertTrue(header.long)
        self.assertEqual((header.error_type, header.sequence), (12, 9))

    async def test_headers_that_cannot_be_used_close(self) -> None:
        short = RequestHeader(2, sequence=5, request_id=7).pack()
        for content in (
            RequestHeader(2, long=True).pack(),
            RequestHeader(2, operation_class=2, sequence=5, request_id=7).pack(),
            b"\x0a" + short[1:],
            short[:6],
            b"",
        ):
            circuit = await self.session(1)
            header, body = split_response(await circuit.raw(content))
            self.assertEqual((header.error_class, header.error_type, body), (1, 11, b""))
            await circuit.closed

    async def test_bunches_that_cannot_be_read_close(self) -> None:
        for content in (b"", b"\1", b"\2\0" + message(RequestHeader(2).pack()), b"\1\0\xff\0\0\0abc"):
            circuit = await self.session()
            [part] = split_bunch(await circuit.raw(content))
            self.assertEqual(split_response(part)[0].error_type, 11)
            await circuit.closed

    async def test_a_bunch_of_none(self) -> None:
        circuit = await self.session()
        self.assertEqual(await circuit.raw(b"\0\0"), b"\0\0")

    async def test_a_request_that_is_wrong_leaves_the_session(self) -> None:
        circuit = await self.session(1)
        start = RequestHeader(20, sequence=5, request_id=7).pack()
        for body, error in (
            (b"", 11),
            (b"\5", 11),
            (Get(ref(1)).pack() + b"x", 11),
            (b"\0\0", 10),
            (b"\6\0\0\0\2^X", 11),
            (b"\6\0\0\0\2^X\5", 10),
        ):
            header, _ = split_response(await circuit.raw(start + body))
            self.assertEqual((header.error_type, header.sequence), (error, 5), body)
        for body in (b"", b"\0", b"\0\5\0\0\0\2^X", b"\0\5\0\0\0\2^X\5\0a", b"\0\5\0\0\0\2^X\0"):
            content = RequestHeader(10, sequence=5, request_id=7).pack() + body
            header, _ = split_response(await circuit.raw(content))
            self.assertEqual(header.error_type, 11, body)
        self.assertEqual(await circuit.ask(Status()), Done())

    async def test_unknown_operations(self) -> None:
        circuit = await self.session()
        for operation in (0, 4, 14 + 1, 27, 34, 60, 64, 255):
            parts = [RequestHeader(operation, sequence=1, request_id=7).pack()]
            circuit.send(message(b"\1\0" + message(parts[0])))
            [part] = split_bunch(await circuit.next())
            self.assertEqual(split_response(part)[0].error_type, 12)


class TimeTests(OMICase):
    frontend_options = {"idle_timeout": 100.0}

    async def pass_(self, seconds: int) -> None:
        """Let the front end's time go on."""
        self.time.pump([1.0] * seconds)

    async def test_who_does_not_connect_is_cut(self) -> None:
        circuit = await self.circuit()
        await circuit.ask(Status())
        await self.pass_(29)
        self.assertEqual(await circuit.ask(Status()), 24)
        await self.pass_(4)
        await circuit.closed

    async def test_a_message_has_to_end(self) -> None:
        circuit, other = await self.session(), await self.session()
        circuit.send(b"\x20")
        await other.ask(Status())
        for _ in range(4):
            await self.pass_(10)
            circuit.send(b"\0")
            await other.ask(Status())
        await circuit.closed
        self.assertEqual(await other.ask(Status()), Done())

    async def test_who_never_reads_the_last_replies_is_cut(self) -> None:
        circuit, other = await self.session(1), await self.session()
        await other.ask(Set(ref(1), b"v" * 32_000))
        assert circuit.transport is not None
        circuit.transport.pauseProducing()
        get, end = message(circuit.packed(Get(ref(1)))), message(circuit.packed(Disconnect()))
        circuit.send(get * 1_000 + end)
        [ours] = [one for one in self.frontend.factory._open if one._dialogue.session.number == 1]
        await self.until(lambda: ours._paused)
        ours.close()
        await self.pass_(32)
        await self.until(lambda: len(self.frontend.factory._open) == 1)
        self.assertEqual(await other.ask(Status()), Done())

    async def test_idle_sessions_end_and_their_locks_are_free(self) -> None:
        circuit, other = await self.session(), await self.session()
        self.assertEqual(await circuit.ask(Lock(ref(1), b"1")), LockReply(1))
        for _ in range(3):
            await self.pass_(40)
            self.assertEqual(await other.ask(Status()), Done())
        await circuit.closed
        self.assertEqual(await other.ask(Lock(ref(1), b"1")), LockReply(1))


class AgentTests(OMICase):
    frontend_options: Any = {
        "environments": ["press", "archive"],
        "agents": {
            "mis": {"password": "secret", "environments": {"press": ["read", "write"], "archive": ["read"]}},
            "jobs": {"password": "other", "environments": {"*": ["job"]}},
        },
        "routines": TABLE,
    }

    async def test_names_and_passwords(self) -> None:
        for name, password in ((b"", b""), (b"mis", b""), (b"mis", b"other"), (b"nobody", b"secret"), (b"\xff", b"")):
            circuit = await self.circuit()
            self.assertEqual(await circuit.ask(Connect(major=1, agent=name, password=password)), 1)
            await circuit.closed
        await self.session(agent=b"mis", password=b"secret")

    async def test_rights(self) -> None:
        circuit = await self.session(agent=b"mis", password=b"secret")

        def at(environment: bytes) -> Any:
            return ref(1, environment=environment)

        self.assertEqual(await circuit.ask(Set(at(b"press"), b"v")), Done())
        self.assertEqual(await circuit.ask(Get(at(b"press"))), GetReply(1, b"v"))
        self.assertEqual(await circuit.ask(Get(at(b"archive"))), GetReply(0, b""))
        self.assertEqual(await circuit.ask(Set(at(b"archive"), b"v")), 1)
        self.assertEqual(await circuit.ask(Get(at(b"nowhere"))), 2)
        self.assertEqual(await circuit.ask(Lock(at(b"nowhere"), b"1")), 2)
        self.assertEqual(await circuit.ask(Order(ref("", name=b"%PFJOB", environment=b"press"))), 1)
        start = StartJob(environment=b"press", client=b"1", routine=RoutineReference(b"", b"SAMPLE"))
        self.assertEqual(await circuit.ask(start), 1)
        jobs = await self.session(agent=b"jobs", password=b"other")
        self.assertEqual(await jobs.ask(Get(at(b"press"))), 1)
        self.assertEqual(await jobs.ask(Lock(at(b"press"), b"1")), 1)
        self.assertEqual(await jobs.ask(Order(ref("", name=b"%PFJOB", environment=b"press"))), OrderReply(b""))
        self.assertNotIsInstance(await jobs.ask(start), int)
        self.assertEqual((await self.engine.job(1)).request.account, "jobs")
        self.assertEqual(await jobs.ask(JobStatus(99)), 31)
        for environments in ((b"nowhere", b""), (b"", b"nowhere"), (b"press", b"nowhere")):
            nowhere = evolve(start, environment=environments[0], routine=RoutineReference(environments[1], b"SAMPLE"))
            self.assertEqual(await jobs.ask(nowhere), 2)


class LimitTests(OMICase):
    frontend_options = {"connections": 3}

    async def test_too_many_circuits(self) -> None:
        for _ in range(3):
            await self.session()
        circuit = await self.circuit()
        self.assertEqual(await circuit.ask(Connect(major=1)), 13)
        await circuit.closed

    async def test_many_messages_at_once(self) -> None:
        circuit = await self.session(1)
        content = message(circuit.packed(Set(ref(1), b"v"))) + message(circuit.packed(Get(ref(1))))
        circuit.send(content * 500)
        replies = [await circuit.next() for _ in range(1_000)]
        self.assertEqual(replies, replies[:2] * 500)
        self.assertTrue(replies[1].endswith(b"\1\1\0v"))


class DoorkeeperTests(SynchronousTestCase):
    def admits(self, keeper: Doorkeeper, host: str, name: bytes = b"", password: bytes = b"") -> bool:
        from twisted.internet.defer import Deferred

        admitted = Deferred.fromCoroutine(keeper.admit(name, password, host))
        found: list[Any] = []
        DeferredList([admitted], consumeErrors=True).addCallback(found.extend)
        [(good, result)] = found
        if not good:
            result.trap(NotAllowed)
        return bool(good)

    def test_open_on_loopback_where_no_agent_is_configured(self) -> None:
        keeper = Doorkeeper({}, None)
        for host in ("127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1", ""):
            self.assertTrue(self.admits(keeper, host), host)
        for host in ("10.0.0.1", "::2", "fe80::1%eth0", "nonsense"):
            self.assertFalse(self.admits(keeper, host), host)

    def test_closed_where_one_is(self) -> None:
        agents = read_agents({"mis": {"password": "secret"}})
        self.assertFalse(self.admits(Doorkeeper(agents, None), "127.0.0.1"))
        self.assertTrue(self.admits(Doorkeeper(agents, None), "10.0.0.1", b"mis", b"secret"))
        self.assertTrue(self.admits(Doorkeeper(agents, ["10.0.0.0/8"]), "10.0.0.1", b"guest"))
        self.assertFalse(self.admits(Doorkeeper(agents, ["10.0.0.0/8"]), "10.0.0.1", b"mis", b"guess"))

    def test_options_that_cannot_be_used(self) -> None:
        for table in (
            {"colour": 1},
            {"value_bytes": 0},
            {"message_bytes": 70_000},
            {"environments": "press"},
            {"environments": ["e" * 256]},
            {"cancel_operation": 20},
            {"cancel_operation": 61},
            {"idle_timeout": -1},
        ):
            with self.assertRaises(ConfigurationError):
                read_table(OMIOptions, table, "frontends.omi")
        for agents in ({"a": 1}, {"a": {}}, {"a": {"password": "x", "environments": {"*": ["fly"]}}}):
            with self.assertRaises(ConfigurationError):
                read_agents(agents)
        with self.assertRaises(ConfigurationError):
            Doorkeeper({}, ["nonsense"])
