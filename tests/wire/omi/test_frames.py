"""Messages and bunches, at once and byte by byte."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pfserver.wire.omi import (
    CircuitError,
    ErrorType,
    FormatError,
    FrameReader,
    OMIError,
    bunch,
    bunch_bytes,
    message,
    parse_request,
    split_bunch,
    split_request,
)
from tests.wire.omi.vectors import sessions

LIMIT = 40

#: Some messages and then anything, as short as it may be and often too long.
streams = st.builds(
    lambda contents, noise: b"".join(map(message, contents)) + noise,
    st.lists(st.binary(max_size=LIMIT), max_size=4),
    st.binary(max_size=12) | st.integers(0, 2 * LIMIT).map(lambda n: n.to_bytes(4, "little") + bytes(n // 2)),
)


def read(pieces: list[bytes]) -> tuple[list[bytes], bool]:
    """The messages of a stream that comes in pieces, and whether it was refused then."""
    reader = FrameReader(LIMIT)
    messages: list[bytes] = []
    for piece in pieces:
        try:
            messages += reader.feed(piece)
        except CircuitError as error:
            return [*messages, *error.before], True
    return messages, False


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

    @given(streams, st.data())
    def test_any_bytes_cut_anywhere(self, stream: bytes, data: st.DataObject) -> None:
        """Whatever comes and however it is cut, the same messages are read, and the same error is told."""
        at_once = read([stream])
        for cut in range(len(stream) + 1):
            self.assertEqual(read([stream[:cut], stream[cut:]]), at_once, cut)
        self.assertEqual(read([stream[n : n + 1] for n in range(len(stream))]), at_once)
        cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
        pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
        self.assertEqual(read(pieces), at_once)
        # Nothing is made up or lost: what was read is what the stream begins with.
        messages, is_refused = at_once
        rest = stream[len(b"".join(map(message, messages))) :]
        self.assertEqual(b"".join(map(message, messages)) + rest, stream)
        length = int.from_bytes(rest[:4], "little") if len(rest) >= 4 else None
        self.assertEqual(is_refused, length is not None and length + 4 > LIMIT)
        if length is not None and not is_refused:
            self.assertLess(len(rest), 4 + length)

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

    @given(st.binary(max_size=80) | st.lists(st.binary(max_size=30), max_size=4).map(lambda ones: bunch(ones)[4:]))
    def test_any_bytes_are_requests_or_a_named_error(self, content: bytes) -> None:
        try:
            for part in split_bunch(content):
                header, body = split_request(part)
                parse_request(header.operation, body)
        except OMIError as error:
            self.assertIn(error.type, set(ErrorType))

    @given(st.binary(max_size=60))
    def test_any_bytes(self, content: bytes) -> None:
        try:
            parts = split_bunch(content)
        except FormatError:
            return
        self.assertEqual(bunch(parts)[4:], content)
