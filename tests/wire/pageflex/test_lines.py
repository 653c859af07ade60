"""Reply and monitor lines, both sides."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pfserver.wire.pageflex import Line, LineError, LineReader, monitor_line, reply_line


class WriteTests(SynchronousTestCase):
    def test_shapes(self) -> None:
        self.assertEqual(reply_line(0, "T1234567", "cp1252"), b"R0000000: T1234567\r\n")
        self.assertEqual(reply_line(5113, "", "cp1252"), b"R0005113: \r\n")
        self.assertEqual(
            monitor_line(5000, "Evaluation failed for variable: FormatPriceJS\nScript result was null", "cp1252"),
            b"J0005000- Evaluation failed for variable: FormatPriceJS\r\nJ0005000: Script result was null\r\n",
        )

    def test_encodings(self) -> None:
        self.assertEqual(monitor_line(1, "é€☃", "cp1252"), b"J0000001: \xe9\x80?\r\n")
        self.assertEqual(monitor_line(1, "é€☃", "utf-8"), "J0000001: é€☃\r\n".encode())
        self.assertEqual(monitor_line(1, "\ud800", "utf-8"), b"J0000001: ?\r\n")

    def test_control_characters_never_reach_the_wire(self) -> None:
        text = "".join(map(chr, range(0x20))) + "\x7f\x80\x85\x9f\u2028end"
        self.assertNotRegex(monitor_line(7, text, "utf-8"), rb"[\x00-\x09\x0b\x0c\x0e-\x1f\x7f]|\xc2[\x80-\x9f]")


class ReadTests(SynchronousTestCase):
    def test_a_conversation(self) -> None:
        reader = LineReader()
        data = b"R0000000: T1\r\nJ0005000- one\r\nJ0005000: two\r\nJ0000020:\r\n"
        lines = [line for n in range(len(data)) for line in reader.feed(data[n : n + 1])]
        reader.at_eof()
        self.assertEqual(lines, [Line("R", 0, "T1"), Line("J", 5000, "one\ntwo"), Line("J", 20, "")])
        self.assertEqual([line.is_error for line in lines], [False, True, False])
        self.assertTrue(Line("R", 5113, "x").is_error)

    def test_what_is_no_line(self) -> None:
        for data in (
            b"HTTP/1.1 400 Bad Request\r\n",
            b"R000: short\r\n",
            b"J0000001- a\r\nJ0000002: b\r\n",
            b"J0000001- a\r\nR0000001: b\r\n",
            b"x" * 2_000_000,
            b"J0000001- a\r\n" * 20_000,
        ):
            with self.assertRaises(LineError):
                LineReader().feed(data)

    def test_cut_short(self) -> None:
        for data in (b"R00", b"J0000001- a\r\n"):
            reader = LineReader()
            self.assertEqual(reader.feed(data), [])
            with self.assertRaises(LineError):
                reader.at_eof()


class PropertyTests(SynchronousTestCase):
    @settings(max_examples=200, deadline=None)
    @given(st.binary(max_size=100))
    def test_any_bytes_are_lines_or_a_named_error(self, data: bytes) -> None:
        reader = LineReader()
        try:
            lines = reader.feed(data)
            reader.at_eof()
        except LineError:
            return
        self.assertEqual(len(lines) > 0, bool(data))

    @settings(max_examples=200, deadline=None)
    @given(st.integers(0, 9_999_999), st.lists(st.text(max_size=10), max_size=4), st.sampled_from(["R", "J"]))
    def test_what_is_written_is_read(self, number: int, lines: list[str], kind: str) -> None:
        text = "\n".join(line for line in lines if line.isprintable())
        write = reply_line if kind == "R" else monitor_line
        # A line break at the very end ends the last line and begins none.
        expected = "\n".join(text.splitlines())
        self.assertEqual(LineReader("utf-8").feed(write(number, text, "utf-8")), [Line(kind, number, expected)])
