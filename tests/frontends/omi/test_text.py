"""M's pieces, extracts and arithmetic; the examples are what fis-gtm answers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pfserver.frontends.omi.text import increment, set_extract, set_piece
from pfserver.wire.omi import OMIError
from pfserver.wire.zwr import is_number

MOST = 32_767


class PieceTests(SynchronousTestCase):
    def test_as_fis_gtm(self) -> None:
        for value, first, last, delimiter, expected in (
            (b"abc", 1, 1, b"", b"Z"),
            (b"abc", 2, 2, b"", b"abcZ"),
            (b"a^b^c", 0, 0, b"^", None),
            (b"a^b^c", 0, 1, b"^", b"Z^b^c"),
            (b"a^b^c", 3, 2, b"^", None),
            (b"a^b^c", 2, 3, b"^", b"a^Z"),
            (b"a^b^c", 5, 5, b"^", b"a^b^c^^Z"),
            (b"a^b^c", 2, 9, b"^", b"a^Z"),
            (b"", 2, 2, b"^", b"^Z"),
        ):
            self.assertEqual(set_piece(value, b"Z", first, last, delimiter, MOST), expected)

    @given(st.lists(st.binary(max_size=4).map(lambda one: one.replace(b"^", b"")), min_size=1), st.integers(1, 12))
    def test_the_piece_is_there_and_the_others_stay(self, pieces: list[bytes], at: int) -> None:
        found = set_piece(b"^".join(pieces), b"new", at, at, b"^", MOST)
        assert found is not None
        after = found.split(b"^")
        padded = pieces + [b""] * (at - len(pieces))
        self.assertEqual(after, [*padded[: at - 1], b"new", *padded[at:]])

    def test_too_long(self) -> None:
        for call in (
            lambda: set_piece(b"", b"x", 65_535, 65_535, b"^" * 255, MOST),
            lambda: set_piece(b"abc", b"x", 1, 1, b"^", 0),
            lambda: set_extract(b"", b"x", 65_535, 65_535, MOST),
        ):
            with self.assertRaises(OMIError) as caught:
                call()
            self.assertEqual(caught.exception.type, 5)


class ExtractTests(SynchronousTestCase):
    def test_as_fis_gtm(self) -> None:
        for first, last, expected in (
            (0, 0, None),
            (0, 1, b"Zbc"),
            (3, 2, None),
            (2, 9, b"aZ"),
            (6, 7, b"abc  Z"),
            (2, 2, b"aZc"),
        ):
            self.assertEqual(set_extract(b"abc", b"Z", first, last, MOST), expected)


class IncrementTests(SynchronousTestCase):
    def test_as_fis_gtm(self) -> None:
        for value, number, more in (
            (b"1", b"1", b"1.1"),
            (b"abc", b"0", b".1"),
            (b"1.50", b"1.5", b"1.6"),
            (b"-0", b"0", b".1"),
            (b"--3", b"3", b"3.1"),
            (b"+-3", b"-3", b"-2.9"),
            (b"1E3", b"1000", b"1000.1"),
            (b"1E-3", b".001", b".101"),
            (b"1.E2", b"100", b"100.1"),
            (b"12abc", b"12", b"12.1"),
            (b"-.5", b"-.5", b"-.4"),
            (b"1.2.3", b"1.2", b"1.3"),
            (b"123456789012345678", b"123456789012345678", b"123456789012345678"),
            (b"1234567890123456789", b"1234567890123456780", b"1234567890123456780"),
            (b"999999999999999999", b"999999999999999999", b"999999999999999999"),
            (b"1E46", b"1" + b"0" * 46, b"1" + b"0" * 46),
            (b"1E-43", b"." + b"0" * 42 + b"1", b".1"),
            (b"1e3", b"1", b"1.1"),
            (b" 1", b"0", b".1"),
            (b"1E", b"1", b"1.1"),
            (b"1E0000010", b"10000000000", b"10000000000.1"),
            (b"1E-0000003", b".001", b".101"),
            (b"1E" + b"0" * 9_000 + b"2", b"100", b"100.1"),
            (b"-12E+00", b"-12", b"-11.9"),
        ):
            self.assertEqual(increment(b"", value), number)
            self.assertEqual(increment(value, b".1"), more)

    def test_exponents_may_make_up_for_digits(self) -> None:
        for value in (b"." + b"0" * 30_000 + b"5E30003", b"5" + b"0" * 30_000 + b"E-29998"):
            self.assertEqual(increment(value, b"0"), b"500")

    def test_beyond_all_numbers(self) -> None:
        for value in (b"1E47", b"9E99999999999999999999", b"9" * 48):
            with self.assertRaises(OMIError):
                increment(value, b"1")
        self.assertEqual(increment(b"1E-99999999999999", b"0"), b"0")

    @given(st.binary(max_size=20) | st.text(alphabet="+-.0123456789E", max_size=20).map(str.encode))
    def test_any_string_is_a_number(self, value: bytes) -> None:
        try:
            number = increment(value, b"0")
        except OMIError:
            return
        self.assertTrue(is_number(number), number)
        self.assertEqual(increment(number, b""), number)
