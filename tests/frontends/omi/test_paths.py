"""A request has the same reply whichever way it takes: alone, in a bunch, beside others, remembered or not."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from pfserver.frontends.omi.mixed import Mixed
from pfserver.frontends.omi.session import Session
from pfserver.wire.omi import (
    Define,
    Get,
    Next,
    Order,
    Query,
    Range,
    RequestHeader,
    ReverseOrder,
    ReverseQuery,
    Set,
    bunch,
    message,
    split_bunch,
)
from tests.frontends.omi.support import OMICase, ref

FETCHES = (Get, Define, Order, Next, Query, ReverseOrder, ReverseQuery)
SUBSCRIPTS = st.sampled_from([b"", b"-1", b"1", b"2", b"10", b"a", b"b" * 60, b"\0\xff", b"01"])
references = st.builds(
    lambda name, subscripts: ref(*subscripts, name=name),
    st.sampled_from([b"X", b"Y", b"%Z", b"Nothing"]),
    st.lists(SUBSCRIPTS, max_size=4),
)
fetches = st.builds(lambda kind, reference: kind(reference), st.sampled_from(FETCHES), references)
ids = st.integers(0, 65_535)


@st.composite
def parts(draw: st.DrawFn) -> bytes:
    """A fetch with its header; now and then its fields are cut, are followed by more, or are anything."""
    request: Any = draw(fetches)
    header = RequestHeader(request.operation, draw(ids), draw(ids), draw(ids), draw(ids)).pack()
    body = request.pack()
    cut, more = draw(st.integers(0, len(body))), draw(st.binary(max_size=5))
    return header + draw(st.sampled_from([body, body, body, body[:cut], body + more, body[:cut] + more + body[cut:]]))


class PathTests(OMICase):
    async def setUp(self) -> None:
        await super().setUp()
        self.filler = await self.session()
        paths: list[tuple[bytes, ...]] = [(), (b"1",), (b"2", b"a"), (b"10",), (b"a", b"b" * 60), (b"\0\xff", b"1")]
        await self.filler.ask_all([Set(ref(*path), b"v" * 10 * len(path)) for path in paths])
        await self.filler.ask_all([Set(ref(b"1", name=b"%Z"), b"w" * 150)])

    async def dialogue(self, **connect: Any) -> Any:
        """The server's side of a new circuit, whose messages need not come from there."""
        return self.server_side(await self.session(1, **connect))._dialogue

    async def check(self, *extensions: int, **limits: Any) -> None:
        plain = await self.dialogue(extensions=extensions, **limits)
        bunched = await self.dialogue(extensions=(*extensions, 1), **limits)
        taken = set()

        @given(parts())
        @settings(max_examples=300, deadline=None)
        def same(part: bytes) -> None:
            session: Session = plain.session
            long = session.answer([part])
            assert long is not None
            [response] = self.successResultOf(long) if isinstance(long, Deferred) else long
            taken.add(response[3])
            mixed = Deferred.fromCoroutine(Mixed(session, session._rooms, [part]).answer())
            self.assertEqual(list(self.successResultOf(mixed)), [response])
            # The short way is for what is not refused; the second time it is remembered.
            short = None if response[3] else message(response)
            for _ in range(2):
                self.assertEqual(session.quick.one(part, 0), short)
                self.assertEqual(plain.quick(message(part), 4), short)
            alone, together = plain.answer(part), bunch([part, part])
            self.assertEqual(split_bunch(bunched.quick(together, 4)[4:]), [alone[4:]] * 2)
            self.assertEqual(bunched.answer(together[4:]), bunched.quick(together, 4))

        same()
        # Some were answered, others refused.
        self.assertIn(0, taken)
        self.assertGreater(len(taken), 1)

    async def test_usual_sessions(self) -> None:
        await self.check()

    async def test_wide_replies(self) -> None:
        await self.check(3)

    async def test_short_lengths(self) -> None:
        await self.check(value=Range(1, 100), subscript=Range(1, 50), reference=Range(8, 60))
