"""Messages and bunches, at once and byte by byte."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pfserver.wire.omi import CircuitError, FormatError, FrameReader, bunch, bunch_bytes, message, split_bunch
from tests.wire.omi.vectors import sessions


class FrameTests(SynchronousTestCase):
    def test_vectors_at_once_and_byte_by_byte(self) -> None:
        for session in sessions():
            stream = b"".join(vector.request for vector in session)
            at_once = FrameReader().feed(stream)
            self.assertEqual(at_once, [vector.request[4:] for vector in session])
            reader = FrameReader()
            self.assertEqual([one for n in range(len(stream)) for one in reader.feed(stream[n : n + 1])], at_once)
            self.assertTrue(reader.is_between)

    @given(st.lists(st.binary(max_size=300)), st.data())
    def test_any_cut(self, contents: list[bytes], data: st.DataObject) -> None:
        stream = b"".join(map(message, contents))
        cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
        reader = FrameReader()
        found = []
        for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
            found += reader.feed(stream[start:end])
        self.assertEqual(found, contents)
        self.assertTrue(reader.is_between)

    def test_the_longest_message(self) -> None:
        longest = message(b"x" * 65_531)
        self.assertEqual(FrameReader().feed(longest), [longest[4:]])
        with self.assertRaises(CircuitError):
            FrameReader().feed(message(b"x" * 65_532)[:4])
        with self.assertRaises(CircuitError):
            FrameReader().feed(b"\xff\xff\xff\xff")
        with self.assertRaises(CircuitError):
            FrameReader(128).feed(message(b"x" * 125))

    def test_a_message_that_has_been_begun(self) -> None:
        reader = FrameReader()
        reader.feed(b"\5")
        self.assertFalse(reader.is_between)
        self.assertEqual(reader.feed(b"\0\0\0hello"), [b"hello"])
        self.assertTrue(reader.is_between)


class BunchTests(SynchronousTestCase):
    @given(st.lists(st.binary(max_size=50), max_size=20))
    def test_split_undoes_bunch(self, contents: list[bytes]) -> None:
        [content] = FrameReader().feed(bunch(contents))
        self.assertEqual(split_bunch(content), contents)
        self.assertEqual(bunch_bytes(contents), len(content) + 4)

    def test_a_bunch_of_none(self) -> None:
        self.assertEqual(split_bunch(b"\0\0"), [])

    def test_counts_and_lengths_have_to_fit(self) -> None:
        for content in (b"", b"\1", b"\1\0", b"\2\0" + message(b"a"), b"\1\0" + message(b"a") * 2, b"\1\0\5\0\0\0a"):
            with self.assertRaises(FormatError):
                split_bunch(content)

    @given(st.binary(max_size=60))
    def test_any_bytes(self, content: bytes) -> None:
        try:
            parts = split_bunch(content)
        except FormatError:
            return
        self.assertEqual(bunch(parts)[4:], content)
