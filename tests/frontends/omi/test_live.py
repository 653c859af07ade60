"""^%PFJOB: a live, read-only global, walked node by node."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from pfserver.frontends.omi.live import LiveGlobal, Path, number_of, step_in, step_in_numbers
from pfserver.interfaces import IReporter
from pfserver.model import Artifact, JobRequest, Outcome, Progress
from pfserver.wire.omi import (
    Define,
    DefineReply,
    Get,
    GetReply,
    Increment,
    Kill,
    Next,
    Order,
    OrderReply,
    Query,
    QueryReply,
    Range,
    Request,
    ReverseOrder,
    ReverseQuery,
    Set,
    SetExtract,
    SetPiece,
    split_response,
)
from tests.frontends.omi.support import Circuit, OMICase, ref


def job(*subscripts: bytes | str | int) -> Any:
    return ref(*subscripts, name=b"%PFJOB")


class JobGlobalTests(OMICase):
    async def setUp(self) -> None:
        await super().setUp()

        async def work(reporter: IReporter) -> Outcome:
            reporter.message(5000, "Evaluation failed")
            (reporter.folder / "a.pdf").write_bytes(b"%PDF")
            reporter.artifact(Artifact(name="a.pdf", media_type="application/pdf", size=4))
            reporter.progress(Progress(documents=2, total=3, failures=1))
            return Outcome.PARTIAL

        self.backend.work = work
        for _ in range(3):
            await self.ended(await self.submit())
        self.agent = await self.session()

    async def value(self, *subscripts: bytes | str | int) -> object:
        return await self.agent.ask(Get(job(*subscripts)))

    async def walk(self, request: type[Order] | type[ReverseOrder], *path: bytes | str | int) -> list[bytes]:
        found, after = [], b""
        while True:
            reply = await self.agent.ask(request(job(*path, after)))
            assert isinstance(reply, OrderReply)
            after = reply.subscript
            if not after:
                return found
            found.append(after)

    async def test_values(self) -> None:
        for field, value in (
            ("state", b"done"),
            ("outcome", b"21"),
            ("project", b"scripted.x"),
            ("job", b"Job 1"),
            ("done", b"2"),
            ("total", b"3"),
        ):
            self.assertEqual(await self.value(2, field), GetReply(1, value))
        self.assertEqual(await self.value(2, "output", 1), GetReply(1, b"a.pdf"))
        numbers = await self.walk(Order, 2, "message")
        messages = [await self.value(2, "message", number) for number in numbers]
        self.assertIn(GetReply(1, b"5000^Evaluation failed"), messages)

    async def test_what_is_not_there(self) -> None:
        for path in (
            (),
            (2,),
            (99, "state"),
            ("02", "state"),
            ("x", "state"),
            (2, "colour"),
            (2, "message"),
            (2, "message", 999),
            (2, "message", "1.5"),
            (2, "output", 2),
            (2, "output", "x"),
            (2, "state", 1),
            (9**40, "state"),
        ):
            self.assertEqual(await self.value(*path), GetReply(0, b""), path)

    async def test_define(self) -> None:
        for path, define in (((), 10), ((2,), 10), ((2, "state"), 1), ((2, "message"), 10), ((9,), 0), ((2, "x"), 0)):
            self.assertEqual(await self.agent.ask(Define(job(*path))), DefineReply(define), path)

    async def test_order(self) -> None:
        ids = [b"1", b"2", b"3"]
        self.assertEqual(await self.walk(Order), ids)
        self.assertEqual(await self.walk(ReverseOrder), ids[::-1])
        fields = [b"done", b"job", b"message", b"outcome", b"output", b"project", b"state", b"total"]
        self.assertEqual(await self.walk(Order, 2), fields)
        self.assertEqual(await self.walk(ReverseOrder, 2), fields[::-1])
        for at, after, before in (("1.5", b"2", b"1"), ("-7", b"1", b""), ("x", b"", b"3"), (9**40, b"", b"3")):
            self.assertEqual(await self.agent.ask(Order(job(at))), OrderReply(after))
            self.assertEqual(await self.agent.ask(ReverseOrder(job(at))), OrderReply(before))
        self.assertEqual(await self.agent.ask(Next(job("-1"))), OrderReply(b"1"))
        self.assertEqual(await self.agent.ask(Next(job(3))), OrderReply(b"-1"))

    async def test_query_walks_all_both_ways(self) -> None:
        there, at = [], job()
        while isinstance(reply := await self.agent.ask(Query(at)), QueryReply) and reply.reference is not None:
            at = reply.reference
            there.append(at)
        self.assertEqual(there[0], job(1, "done"))
        self.assertEqual(there[-1], job(3, "total"))
        self.assertIn(job(2, "output", 1), there)
        back, at = [there[-1]], there[-1]
        while isinstance(reply := await self.agent.ask(ReverseQuery(at)), QueryReply) and reply.reference is not None:
            at = reply.reference
            back.append(at)
        self.assertEqual(back, there[::-1])
        for node in there:
            reply_ = await self.agent.ask(Get(node))
            assert isinstance(reply_, GetReply)
            self.assertEqual(reply_.defined, 1)

    async def test_agreed_lengths_hold_in_both_directions(self) -> None:
        agent = await self.session(subscript=Range(1, 5), reference=Range(8, 15), value=Range(1, 3))
        for request, answer in (
            (Get(job(2, "state")), 4),
            (Get(job(2, "statement")), 4),
            (Order(job(2, "message", 1)), 4),
            (Order(job("")), OrderReply(b"1")),
            (Get(job(2, "job")), GetReply(1, b"Job")),
        ):
            self.assertEqual(await agent.ask(request), answer, request)
        # What the replies would tell is too long: the field "message" behind "job", and before "outcome" its messages.
        for walk in (Order(job(2, "job")), Query(job(2, "job")), ReverseOrder(job(2, "n")), ReverseQuery(job(2, "n"))):
            self.assertEqual(await agent.ask(walk), 4, walk)
        agent = await self.session(1, extensions=(3,), subscript=Range(1, 5))
        header, _ = split_response(await agent.raw(agent.packed(Get(job(2, "job")))))
        self.assertEqual(header.error_type, 4)
        agent = await self.session(subscript=Range(1, 1))
        self.assertEqual(await agent.ask(Next(job(3))), OrderReply(b"-1"))

    async def test_it_cannot_be_changed(self) -> None:
        node = job(2, "state")
        for request in (
            Set(node, b"x"),
            Kill(job()),
            SetPiece(node, b"x", 1, 1, b"^"),
            SetExtract(node, b"x", 1, 1),
            Increment(node, b"1"),
        ):
            self.assertEqual(await self.agent.ask(request), 1)

    async def test_in_a_bunch_with_stored_globals(self) -> None:
        requests = [Set(ref(1), b"v"), Get(job(2, "state")), Get(ref(1)), Order(job(1))]
        answers = [answer for _, answer in await self.agent.ask_all(requests)]
        self.assertEqual(answers[1:], [GetReply(1, b"done"), GetReply(1, b"v"), OrderReply(b"2")])

    async def test_walking_reads_no_more_than_it_shows(self) -> None:
        """However many jobs, messages and outputs there are, a step reads a row or two."""
        await self.engine.submit_group([JobRequest(project="remote.x", job="Job 1")] * 60)
        [chatty] = await self.engine.submit_group([JobRequest(project="scripted.x", job="Job 1")])

        async def talk(reporter: IReporter) -> Outcome:
            for number in range(200):
                reporter.message(114, f"note {number}")
            return Outcome.COMPLETED

        self.backend.work = talk
        await self.ended(chatty)
        rows: list[int] = []
        read = self.database.read

        def counted(function: Any, *arguments: Any) -> Any:
            def count(found: Any) -> Any:
                rows.append(len(found) if isinstance(found, list | tuple) else 1)
                return found

            return read(function, *arguments).addCallback(count)

        self.database.read = counted  # type: ignore[method-assign]
        last = chatty.id
        steps: list[tuple[Request, int]] = [
            (Order(job("")), 1),
            (Order(job(30)), 1),
            (ReverseOrder(job("")), 1),
            (ReverseOrder(job(30)), 1),
            (Get(job(30, "state")), 1),
            (Get(job(last, "message", 100)), 2),
            (Order(job(last, "message", "")), 1),
            (Order(job(last, "message", 100)), 1),
            (Define(job(30)), 2),
            (Query(job(last, "message", 100)), 4),
            (ReverseQuery(job(last, "message", 100)), 4),
            # Past the end of one job, to the next one.
            (Query(job(30, "state")), 12),
            (Query(job()), 12),
        ]
        for request, most in steps:
            rows.clear()
            self.assertNotIsInstance(await self.agent.ask(request), int)
            self.assertTrue(rows, request)
            self.assertLessEqual(sum(rows), most, request)
        rows.clear()
        self.assertEqual(len(await self.walk(Order)), 64)
        self.assertEqual(sum(rows), 64)

    async def test_wide_replies(self) -> None:
        circuit: Circuit = await self.session(1, extensions=(3,))
        content = await circuit.raw(circuit.packed(Get(job(2, "state"))))
        self.assertEqual(content[12:], b"\5total\1\1\4\0done")
        content = await circuit.raw(circuit.packed(Order(job(3))))
        self.assertEqual(content[12:], b"\0\0\0\0\0")


class PlainTree:
    """A tree from nested mappings, to compare the walk with sorted paths."""

    def __init__(self, paths: set[tuple[int, ...]]) -> None:
        self.paths = {tuple(b"%d" % one for one in path) for path in paths}

    async def value(self, path: Path) -> bytes | None:
        return b"" if path in self.paths else None

    async def step(self, path: Path, after: bytes, reverse: bool) -> bytes:
        children = {one[len(path)] for one in self.paths if len(one) > len(path) and one[: len(path)] == path}
        ordered = sorted(children, key=int, reverse=reverse)
        beyond = [one for one in ordered if not after or (int(one) < int(after) if reverse else int(one) > int(after))]
        return beyond[0] if beyond else b""


class WalkTests(SynchronousTestCase):
    paths = st.sets(st.lists(st.integers(0, 12), min_size=1, max_size=3).map(tuple), max_size=12)

    @given(paths, st.lists(st.integers(0, 12), max_size=4).map(tuple))
    def test_query(self, paths: set[tuple[int, ...]], start: tuple[int, ...]) -> None:
        live = LiveGlobal(PlainTree(paths))
        at = tuple(b"%d" % one for one in start)
        following = min((path for path in paths if path > start), default=None)
        before = max((path for path in paths if path < start), default=None)
        for walk, expected in ((live.query, following), (live.reverse_query, before)):
            found = self.successResultOf(Deferred.fromCoroutine(walk(at)))
            self.assertEqual(found and tuple(map(int, found)), expected)

    @given(st.integers(0, 20), st.integers(-5, 25) | st.floats(-5, 25).map(lambda x: round(x, 2)), st.booleans())
    def test_numbers(self, last: int, after: float, reverse: bool) -> None:
        subscript = f"{after:g}".replace("-0.", "-.")
        subscript = subscript.removeprefix("0") if subscript.startswith("0.") else subscript
        if number_of(subscript.encode()) is None:
            return
        there = range(last, 0, -1) if reverse else range(1, last + 1)
        expected = next((one for one in there if (one < after if reverse else one > after)), None)
        found = step_in_numbers(last, subscript.encode(), reverse)
        self.assertEqual(found, b"%d" % expected if expected else b"")

    def test_names(self) -> None:
        names = b"a", b"c", b"e"
        for after, forwards, backwards in (
            (b"", b"a", b"e"),
            (b"a", b"c", b""),
            (b"b", b"c", b"a"),
            (b"e", b"", b"c"),
            (b"7", b"a", b""),
            (b"\xff", b"", b"e"),
        ):
            self.assertEqual(step_in(names, after, False), forwards)
            self.assertEqual(step_in(names, after, True), backwards)

    def test_canonical_numbers(self) -> None:
        for text in (b"0", b"1", b"-1", b".5", b"-.5", b"10.25", b"100"):
            self.assertEqual(number_of(text), float(text))
        for text in (b"", b"-", b".", b"-0", b"01", b"1.", b"1.0", b"0.5", b"+1", b"1e3", b"--1", b"a", b"1 "):
            self.assertIsNone(number_of(text), text)
