"""References as people write them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pfserver.wire.omi import OMIError
from pfserver.wire.omi.written import read_reference, write_reference
from tests.wire.omi import strategies


class WrittenTests(SynchronousTestCase):
    def test_examples(self) -> None:
        for text, value in (
            ("^X", (b"X", ())),
            ('^X(1,"a")', (b"X", (b"1", b"a"))),
            ('^X("say ""hi""",-.5,"01")', (b"X", (b'say "hi"', b"-.5", b"01"))),
            ('^X("1234567890123456789",123456789012345678)', (b"X", (b"1234567890123456789", b"123456789012345678"))),
            ('^%Z("")', (b"%Z", (b"",))),
            ('^X("a"_$C(10,0)_"b")', (b"X", (b"a\n\0b",))),
        ):
            self.assertEqual(read_reference(text), value)
            self.assertEqual(write_reference(*value).decode(), text)
        self.assertEqual(read_reference('X("a")'), (b"X", (b"a",)))

    @given(strategies.names, st.lists(st.binary(max_size=10), max_size=4).map(tuple))
    def test_read_undoes_write(self, name: bytes, subscripts: tuple[bytes, ...]) -> None:
        text = write_reference(name, subscripts).decode("utf-8", "surrogateescape")
        self.assertEqual(read_reference(text), (name, subscripts))

    @given(st.text(max_size=20) | st.text(alphabet='^X(1,")_$C. ', max_size=12))
    def test_any_text(self, text: str) -> None:
        try:
            read_reference(text)
        except OMIError as error:
            self.assertIn("is no reference", str(error))

    def test_it_says_where(self) -> None:
        for text in ("", "^", "^1", "^X(", "^X()", "^X(1", '^X("a', "^X(1))", "^X(1,)", "^X($C(256))", "^X)"):
            with self.assertRaises(OMIError):
                read_reference(text)

    def test_numbers_that_mean_another_subscript_in_m(self) -> None:
        for number in ("007", "1.50", "0.5", "-0", ".", "1E5", "1234567890123456789", "1" + "0" * 47):
            with self.assertRaises(OMIError, msg=number):
                read_reference(f"^X({number})")
            self.assertEqual(read_reference(f'^X("{number}")'), (b"X", (number.encode(),)))
