"""The operations on globals over real sockets, kept in LMDB."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.defer import gatherResults

from pfserver.errors import StoreUnavailable
from pfserver.store.globals import Globals
from pfserver.wire.omi import (
    CancelJob,
    Define,
    DefineReply,
    Done,
    Get,
    GetReply,
    Increment,
    IncrementReply,
    JobStatus,
    Kill,
    Lock,
    LockReply,
    Next,
    Order,
    OrderReply,
    Query,
    QueryReply,
    Range,
    Reply,
    Request,
    ReverseOrder,
    ReverseQuery,
    RoutineReference,
    Set,
    SetExtract,
    SetPiece,
    StartJob,
    Status,
    Unlock,
    message,
    parse_reply,
    split_response,
)
from pfserver.wire.omi.replies import WideReply
from tests.frontends.omi.support import Circuit, OMICase, ref

SUBSCRIPTS = [b"-12.5", b"-1", b"0", b".5", b"1", b"2", b"10", b" ", b"01", b"1.0", b"A", b"a", b"\xff\x00\x01"]


class GlobalsTests(OMICase):
    async def all_of(self, circuit: Circuit, *requests: Request) -> list[Reply | int]:
        return [answer for _, answer in await circuit.ask_all(requests)]

    async def test_set_get_define_kill(self) -> None:
        circuit = await self.session()
        answers = await self.all_of(
            circuit,
            *(Set(ref(1, "a"), b"v"), Get(ref(1, "a")), Get(ref(1)), Define(ref(1)), Define(ref(1, "a"))),
            *(Set(ref(1), b""), Define(ref(1)), Get(ref(1)), Define(ref(2)), Kill(ref(1)), Define(ref())),
        )
        undefined = GetReply(0, b"")
        self.assertEqual(answers[:5], [Done(), GetReply(1, b"v"), undefined, DefineReply(10), DefineReply(1)])
        self.assertEqual(answers[5:9], [Done(), DefineReply(11), GetReply(1, b""), DefineReply(0)])
        self.assertEqual(answers[9:], [Done(), DefineReply(0)])

    async def test_order_in_m_collation(self) -> None:
        circuit = await self.session()
        await self.all_of(circuit, *[Set(ref(one), one) for one in reversed(SUBSCRIPTS)])
        for request, expected in ((Order, SUBSCRIPTS), (ReverseOrder, SUBSCRIPTS[::-1])):
            at = [b"", *expected]
            answers = await self.all_of(circuit, *[request(ref(one)) for one in at])
            self.assertEqual(answers, [OrderReply(one) for one in [*expected, b""]])

    async def test_next(self) -> None:
        circuit = await self.session()
        await self.all_of(circuit, Set(ref(1), b""), Set(ref("b"), b""))
        answers = await self.all_of(circuit, *[Next(ref(one)) for one in ("-1", "", 1, "b")])
        self.assertEqual(answers, [OrderReply(one) for one in (b"1", b"1", b"b", b"-1")])

    async def test_names(self) -> None:
        circuit = await self.session()
        for name in (b"A", b"Z", b"a", b"%z"):
            await circuit.ask(Set(ref(1, name=name), b""))
        await circuit.ask(Set(ref(1, name=b"B", environment=b"other"), b""))
        at = [b"%", b"%z", b"A", b"B", b"Z", b"a"]
        answers = await self.all_of(circuit, *[Order(ref(name=name)) for name in at])
        self.assertEqual(answers, [OrderReply(one) for one in (b"^%z", b"^A", b"^Z", b"^Z", b"^a", b"")])
        self.assertEqual(await circuit.ask(ReverseOrder(ref(name=b"A"))), OrderReply(b"^%z"))
        self.assertEqual(await circuit.ask(Next(ref(name=b"a"))), OrderReply(b"-1"))

    async def test_names_are_not_measured_as_subscripts(self) -> None:
        await (await self.session()).ask(Set(ref(1, name=b"LONGERNAME"), b""))
        for extensions in ((1,), (1, 3)):
            circuit = await self.session(1, subscript=Range(1, 8), extensions=extensions)
            for request in (Order(ref(name=b"A")), Next(ref(name=b"A")), ReverseOrder(ref(name=b"Z"))):
                content = await circuit.raw(b"\1\0" + message(circuit.packed(request)))
                self.assertIn(b"\x0b^LONGERNAME", content)

    async def test_query_both_ways(self) -> None:
        circuit = await self.session()
        nodes = [ref(environment=b"e"), ref(1, environment=b"e"), ref(1, "a", environment=b"e")]
        nodes.append(ref(2, 3, 4, environment=b"e"))
        await self.all_of(circuit, *[Set(node, b"v") for node in nodes])
        answers = await self.all_of(circuit, *[Query(node) for node in nodes])
        self.assertEqual(answers, [*[QueryReply(node) for node in nodes[1:]], QueryReply(None)])
        answers = await self.all_of(circuit, *[ReverseQuery(node) for node in nodes[::-1]])
        self.assertEqual(answers, [*[QueryReply(node) for node in nodes[-2::-1]], QueryReply(None)])
        self.assertEqual(await circuit.ask(Query(ref("", environment=b"e"))), QueryReply(nodes[1]))
        self.assertEqual(await circuit.ask(ReverseQuery(ref("", environment=b"e"))), QueryReply(nodes[3]))

    async def test_pieces_extracts_and_increments(self) -> None:
        circuit = await self.session()
        answers = await self.all_of(
            circuit,
            *(SetPiece(ref("p"), b"B", 2, 2, b"^"), SetPiece(ref("p"), b"D", 4, 4, b"^"), Get(ref("p"))),
            *(SetExtract(ref("e"), b"Z", 3, 3), Get(ref("e")), SetPiece(ref("n"), b"x", 3, 2, b"^"), Define(ref("n"))),
            *(Increment(ref("i"), b"1.5"), Increment(ref("i"), b"-2"), Get(ref("i"))),
            *(SetPiece(ref("p"), b"x", 65_535, 65_535, b"^" * 255), SetExtract(ref("p"), b"x", 65_535, 65_535)),
            Get(ref("p")),
        )
        self.assertEqual(answers[:3], [Done(), Done(), GetReply(1, b"^B^^D")])
        self.assertEqual(answers[3:7], [Done(), GetReply(1, b"  Z"), Done(), DefineReply(0)])
        self.assertEqual(answers[7:10], [IncrementReply(b"1.5"), IncrementReply(b"-.5"), GetReply(1, b"-.5")])
        self.assertEqual(answers[10:], [5, 5, GetReply(1, b"^B^^D")])

    async def test_increment_is_an_extension_in_version_1(self) -> None:
        self.assertEqual(await (await self.session(1)).ask(Increment(ref("i"), b"1")), 12)
        wide = await self.session(1, extensions=(3,))
        self.assertEqual(await wide.ask(Increment(ref("i"), b"1")), IncrementReply(b"1"))

    async def test_a_bunch_sees_its_own_updates_in_order(self) -> None:
        circuit = await self.session(1, extensions=(1,))
        answers = await self.all_of(
            circuit,
            *(Get(ref(1)), Set(ref(1), b"a"), Get(ref(1)), Unlock(ref(1), b"1"), Status(), Kill(ref())),
            *(Get(ref(1)), Set(ref(1), b"b")),
        )
        undefined = GetReply(0, b"")
        self.assertEqual(answers[:3], [undefined, Done(), GetReply(1, b"a")])
        self.assertEqual(answers[3:], [Done(), Done(), Done(), undefined, Done()])
        self.assertEqual(await circuit.ask(Get(ref(1))), GetReply(1, b"b"))

    async def test_an_error_is_that_of_its_request_alone(self) -> None:
        circuit = await self.session()
        answers = await self.all_of(circuit, Set(ref(1), b"a"), Set(ref(""), b"b"), Set(ref(2), b"c"), Get(ref(2)))
        self.assertEqual(answers, [Done(), 3, Done(), GetReply(1, b"c")])

    async def test_null_subscripts(self) -> None:
        circuit = await self.session()
        for request in (Get, Define, Kill):
            self.assertEqual(await circuit.ask(request(ref(""))), 3)
        for request in (Order, Next, Query, ReverseOrder, ReverseQuery):
            self.assertEqual(await circuit.ask(request(ref("", 1))), 3)

    async def test_environments_are_namespaces(self) -> None:
        circuit = await self.session()
        await self.all_of(circuit, Set(ref(1, environment=b"a"), b"A"), Set(ref(1, environment=b"a\0b"), b"B"))
        answers = await self.all_of(circuit, *[Get(ref(1, environment=one)) for one in (b"a", b"a\0b", b"")])
        self.assertEqual(answers, [GetReply(1, b"A"), GetReply(1, b"B"), GetReply(0, b"")])

    async def test_an_environment_with_too_long_a_name_does_not_exist(self) -> None:
        circuit = await self.session()
        longest, beyond = b"\xff" * 255, b"\xff" * 256
        self.assertEqual(await circuit.ask(Set(ref(1, environment=longest), b"v")), Done())
        self.assertEqual(await circuit.ask(Get(ref(1, environment=longest))), GetReply(1, b"v"))
        requests = Set(ref(1, environment=beyond), b"v"), Get(ref(1, environment=beyond))
        jobs = [
            StartJob(environment=one, client=b"1", routine=RoutineReference(other, b"SAMPLE"))
            for one, other in ((beyond, b""), (b"", beyond))
        ]
        for request in (*requests, Lock(ref(1, environment=beyond), b"1"), *jobs):
            self.assertEqual(await circuit.ask(request), 2)

    async def test_the_largest_value_and_reference(self) -> None:
        circuit = await self.session()
        value = os.urandom(32_767)
        longest = ref(*[b"k" * 255] * 3, b"k" * 252)
        self.assertEqual(sum(map(len, longest.subscripts)) + 4 + 3, 1_024)
        self.assertEqual(await circuit.ask(Set(longest, value)), Done())
        self.assertEqual(await circuit.ask(Get(longest)), GetReply(1, value))
        self.assertEqual(await circuit.ask(Query(ref())), QueryReply(longest))
        self.assertEqual(await circuit.ask(Get(ref(*[b"k" * 255] * 3, b"k" * 253))), 4)
        self.assertEqual(await circuit.ask(Set(ref(1), value + b"x")), 5)

    async def test_wide_replies(self) -> None:
        circuit = await self.session(1, extensions=(3,))
        for subscripts, value in (((1,), b"one"), ((2, "a"), b"2a"), ((3,), b"three"), ((3, "x"), b"3x")):
            await circuit.ask(Set(ref(*subscripts), value))

        async def wide(request: Any) -> Reply:
            header, body = split_response(await circuit.raw(circuit.packed(request)))
            self.assertEqual(header.error_type, 0)
            return parse_reply(request.operation, body, wide=True)

        for request in (Get, Define):
            self.assertEqual(await wide(request(ref(1))), WideReply(b"2", 1, 1, b"one"))
            self.assertEqual(await wide(request(ref(2))), WideReply(b"3", 10, 0, b""))
            self.assertEqual(await wide(request(ref(3))), WideReply(b"", 11, 1, b"three"))
            self.assertEqual(await wide(request(ref(9))), WideReply(b"", 0, 0, b""))
        self.assertEqual(await wide(Order(ref(""))), WideReply(b"1", 1, 1, b"one"))
        self.assertEqual(await wide(Order(ref(1))), WideReply(b"2", 10, 0, b""))
        self.assertEqual(await wide(Order(ref(2))), WideReply(b"3", 11, 1, b"three"))
        self.assertEqual(await wide(Order(ref(3))), WideReply(b"", 0, 0, b""))
        self.assertEqual(await wide(Order(ref(name=b"A"))), WideReply(b"^X", 10, 0, b""))

    async def test_sessions_see_one_another(self) -> None:
        circuits = [await self.session() for _ in range(20)]
        await gatherResults([self.asked(one, Set(ref(n), b"%d" % n)) for n, one in enumerate(circuits)])
        answers = await self.all_of(circuits[0], *[Get(ref(n)) for n in range(20)])
        self.assertEqual(answers, [GetReply(1, b"%d" % n) for n in range(20)])

    def asked(self, circuit: Circuit, request: Request) -> Any:
        from twisted.internet.defer import Deferred

        return Deferred.fromCoroutine(circuit.ask(request))

    async def test_references_are_remembered_in_bounds(self) -> None:
        keys = self.frontend.factory._rooms.keys
        keys._remembered = 5_000
        circuit = await self.session()
        for n in range(100):
            await self.all_of(circuit, Set(ref(n), b"%d" % n), Get(ref(n)))
        known = [len(cache.known) + len(cache.nodes) for cache in keys._caches.values()]
        self.assertLessEqual(sum(known), 12)
        self.assertEqual(await circuit.ask(Get(ref(50))), GetReply(1, b"50"))


class LazyTests(GlobalsTests):
    """The same with commits once a second."""

    durability = "interval"

    async def test_replies_keep_their_order(self) -> None:
        circuit = await self.session(1)
        requests = [Get(ref(1)), Set(ref(1), b"a"), Get(ref(1)), Kill(ref(1)), Get(ref(1)), Status()]
        circuit.send(b"".join([message(circuit.packed(request)) for request in requests]))
        bodies = [split_response(await circuit.next())[1] for _ in requests]
        self.assertEqual(bodies, [b"\0\0\0", b"", b"\1\1\0a", b"", b"\0\0\0", b""])


class UnavailableTests(OMICase):
    async def test_what_cannot_be_kept_is_an_error_of_all_requests(self) -> None:
        circuit = await self.session()
        await circuit.ask(Set(ref(1), b"a"))
        await self.globals.close()
        answers = await circuit.ask_all([Set(ref(1), b"b"), Set(ref(2), b"c"), Status()])
        self.assertEqual([answer for _, answer in answers], [6, 6, Done()])
        with self.assertRaises(StoreUnavailable):
            await self.globals.write(lambda update: None)

    async def test_what_cannot_be_read_is_an_error_too(self) -> None:
        def view(_: Globals) -> Any:
            raise StoreUnavailable("globals cannot be read: the disk is gone")

        self.patch(Globals, "view", view)
        circuit = await self.session()
        self.assertEqual(await circuit.ask(Get(ref(1))), 6)
        for last, answer in ((Get(ref(2)), 6), (Lock(ref(1), b"9"), LockReply(1))):
            answers = await circuit.ask_all([Get(ref(1)), last])
            self.assertEqual([answer for _, answer in answers], [6, answer])

    async def test_no_job_begins_or_ends_whose_updates_were_refused(self) -> None:
        """Locks were taken before and stay; what only asks is answered."""
        circuit = await self.session()
        job = StartJob(client=b"9", routine=RoutineReference(b"", b"SUBMIT", [b"scripted.pf", b"j"]))
        await self.globals.close()
        requests = [
            Set(ref(1), b"b"),
            Lock(ref(1), b"9"),
            job,
            JobStatus(7),
            CancelJob(7),
            Order(ref("", name=b"%PFJOB")),
        ]
        answers = [answer for _, answer in await circuit.ask_all(requests)]
        self.assertEqual(answers, [6, LockReply(1), 6, 31, 6, OrderReply(b"")])
        self.assertEqual(await self.engine.recent_jobs(), [])
        self.assertEqual(len(self.locks.held()), 1)
