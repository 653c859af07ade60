"""ZWR: any node survives being written and read; any bytes are nodes or a named error."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pfserver.wire.zwr import Node, ZWRError, is_number, read_nodes, write_header, write_node

HEADER = [b"GT.M MUPIP EXTRACT\n", b"25-NOV-2026  02:34:30 ZWR\n"]

NODES = st.builds(
    Node,
    st.from_regex(rb"\A[A-Za-z%][A-Za-z0-9]{0,8}\Z"),
    st.lists(
        st.one_of(st.binary(min_size=1, max_size=8), st.integers(-99, 99).map(lambda n: b"%d" % n)), max_size=4
    ).map(tuple),
    st.binary(max_size=50),
)


def read(*lines: bytes, header: list[bytes] = HEADER) -> list[Node]:
    """The nodes of lines after a header."""
    return list(read_nodes([*header, *lines]))


class ZWRTests(SynchronousTestCase):
    @given(st.lists(NODES, max_size=4))
    def test_what_is_written_is_read_again(self, nodes: list[Node]) -> None:
        lines = [write_node(node) for node in nodes]
        self.assertEqual(read(*lines), nodes)
        for line in lines:
            self.assertTrue(line.isascii() and line.count(b"\n") == 1)

    @given(st.lists(st.binary(max_size=40), max_size=5), st.booleans())
    def test_any_lines_are_nodes_or_a_named_error(self, lines: list[bytes], headed: bool) -> None:
        try:
            read(*lines, header=HEADER if headed else [])
        except ZWRError as error:
            self.assertTrue(str(error))

    @given(NODES, st.integers(0, 200), st.integers(0, 255))
    def test_a_changed_byte_is_no_crash(self, node: Node, place: int, byte: int) -> None:
        line = bytearray(write_node(node))
        line[place % len(line)] = byte
        try:
            read(bytes(line))
        except ZWRError as error:
            self.assertIn("line 3", str(error))

    def test_what_m_systems_write(self) -> None:
        self.assertEqual(
            read(
                b'^A(-1.5)="a"_$C(0)_"b"_$C(10,13)_"c"\r\n',
                b'^A($C(0,1)_"q""r"_$C(127))=$CHAR(9)\n',
                b'^A($C(1))="hi\xc8e"_$zch(255)\n',
                b'^%B("n",.5)=12.5\n',
                b"\n",
            ),
            [
                Node(b"A", (b"-1.5",), b"a\0b\n\rc"),
                Node(b"A", (b'\0\1q"r\x7f',), b"\t"),
                Node(b"A", (b"\1",), b"hi\xc8e\xff"),
                Node(b"%B", (b"n", b".5"), b"12.5"),
            ],
        )

    def test_codes_are_characters_in_a_file_of_utf8(self) -> None:
        header = [b"GT.M MUPIP EXTRACT UTF-8\n", HEADER[1]]
        [node] = read(b'^A="x"_$C(228,8364)_$ZCH(255)\n', header=header)
        self.assertEqual(node.value, "xä€".encode() + b"\xff")
        with self.assertRaises(ZWRError):
            read(b"^A=$C(8364)\n")

    def test_numbers_that_m_keeps_exactly_stand_without_quotes(self) -> None:
        good = [b"0", b"-1", b".5", b"123456789012345678", b"1" + b"0" * 46]
        bad = [b"", b"-0", b"01", b"1.0", b"1E5", b"1234567890123456789", b"1" + b"0" * 47, b"." + b"0" * 43 + b"1"]
        self.assertEqual([is_number(one) for one in good + bad], [True] * len(good) + [False] * len(bad))

    def test_errors_say_where(self) -> None:
        for line, text in (
            (b'^A(1="x"\n', "line 3, byte 5: '=' instead of a comma or )"),
            (b'^A="x\n', "line 3, byte 4: '\"' instead of a number, a string in quotes, $C(…) or $ZCH(…)"),
            (b"A=1\n", "line 3, byte 1: 'A' instead of a caret and a name"),
            (b'^A("")=1\n', "line 3, byte 6: ')' instead of a subscript that is not empty"),
            (b"^A=1 \n", "line 3, byte 5: ' ' instead of the end of the line"),
        ):
            with self.assertRaises(ZWRError) as caught:
                read(line)
            self.assertEqual(str(caught.exception), text)

    def test_numbers_that_m_would_write_otherwise_are_no_subscripts(self) -> None:
        for written in (b"007", b"1.50", b"-0", b"0.5", b"1234567890123456789"):
            with self.assertRaises(ZWRError) as caught:
                read(b'^A(1,"007")=1\n', b"^A(1," + written + b')="x"\n')
            self.assertEqual(
                str(caught.exception),
                f"line 4, byte 6: '{written[:1].decode()}' instead of a number as M writes it"
                " (no zeros around it, 18 digits), or quotes",
            )

    def test_nodes_know_their_line(self) -> None:
        self.assertEqual([node.line for node in read(b"^A=1\n", b"\n", b"^B=1\n")], [3, 5])

    def test_other_formats_are_refused(self) -> None:
        with self.assertRaises(ZWRError):
            read(header=[b"label\n", b"25-NOV-2026  02:34:30 GLO\n"])
        with self.assertRaises(ZWRError):
            read(header=[])
        self.assertEqual(read(header=write_header("x", "y").splitlines(True)), [])
