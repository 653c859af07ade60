"""Packets: every encoding and framing of the field, split anywhere; any bytes give a packet or a named error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pfserver.errors import BadVariable
from pfserver.numbers import Number
from pfserver.wire.pageflex import Limits, Packet, PacketError, PacketReader, reader, write_packet

VECTORS = sorted((Path(__file__).parents[2] / "vectors" / "pageflex").iterdir())

#: What the packets of the field say, by the beginning of their names.
EXPECTED = {
    "03": Packet(
        command="SubmitJob",
        job_variables={"ProjectName": "Sample Project.pf", "JobName": "Job 1", "_sys_ClientJobMonitor": "true"},
        document_variables={"Näme": "Zoë <&>"},
    ),
    "11": Packet(
        command="SubmitJob",
        project_type="Studio",
        job_variables={"ProjectName": "Sample Project.pf", "JobName": "Job 1", "_sys_ClientJobMonitor": "true"},
    ),
    "20": Packet(command="CancelJob", job_variables={"_sys_TransactionID": "T0000001"}),
    "24": Packet(command="GetBuildString"),
}

ROOT = '<p:job_command xmlns:p="http://www.pageflex.com/schemas" name="SubmitJob">{}</p:job_command>'

#: What bodies of packets are put together from: usual, unusual and broken.
PIECES = [
    "<p:job_variables>",
    "</p:job_variables>",
    "<p:doc_variables/>",
    "<p:doc_variables>",
    "</p:doc_variables>",
    '<p:var name="a">1</p:var>',
    '<p:var name=" b ">&lt;x&#228;</p:var>',
    '<p:var name="c"><![CDATA[<y>]]>z</p:var>',
    '<p:var name="a"/>',
    "<p:var>no name</p:var>",
    '<p:var name="d">e<!-- f -->g</p:var>',
    '<p:var name="h">i<j/>k</p:var>',
    '<var name="l">m</var>',
    "<n>o</n>",
    "<?q r?>",
    "<!-- s -->",
    " \r\n",
    "text",
    "&unknown;",
    "<deep><deep><deep/></deep></deep>",
    '<q:var xmlns:q="http://www.pageflexinc.com/schemas" name="t">u</q:var>',
    '<p:var name="v\n&#10;w">x\r\ny&#13;</p:var>',
]

Result = Packet | Number


def read(*pieces: bytes, limits: Limits | None = None) -> Result:
    """The packet in pieces of bytes, or the number that refuses them."""
    reader = PacketReader(limits)
    try:
        for piece in pieces:
            packet = reader.feed(piece)
            if packet is not None:
                return packet
        return reader.at_eof()
    except PacketError as error:
        return error.number


class VectorTests(SynchronousTestCase):
    def test_each_says_what_it_should(self) -> None:
        for path in VECTORS:
            if path.name[:2] in EXPECTED:
                self.assertEqual(read(path.read_bytes()), EXPECTED[path.name[:2]], path.name)

    def test_split_anywhere_they_say_the_same(self) -> None:
        for path in VECTORS:
            data = path.read_bytes()
            whole = read(data)
            self.assertEqual(read(*(data[n : n + 1] for n in range(len(data)))), whole, path.name)
            for cut in range(1, len(data)):
                self.assertEqual(read(data[:cut], data[cut:]), whole, f"{path.name} at {cut}")

    def test_cut_short_they_are_truncated(self) -> None:
        data = next(path for path in VECTORS if path.name.startswith("02")).read_bytes().rstrip()
        for length in range(len(data)):
            self.assertEqual(read(data[:length]), Number.TRUNCATED)

    def test_the_end_tag_is_the_end(self) -> None:
        for path in VECTORS:
            if path.name[0] in "012":
                data = path.read_bytes()
                self.assertEqual(read(data + b"\x00\xff<more>" * 100), read(data), path.name)


class FramingTests(SynchronousTestCase):
    def test_encodings_without_a_word_about_them(self) -> None:
        text = ROOT.format('<p:doc_variables><p:var name="a">Grüße €</p:var></p:doc_variables>')
        expected = Packet(command="SubmitJob", document_variables={"a": "Grüße €"})
        for declaration in ("", '<?xml version="1.0"?>', '<?xml version="1.0">', '\r\n  <?xml version="1.0"?>'):
            for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"):
                data = (declaration + text).encode(encoding)
                self.assertEqual(read(data), expected, (declaration, encoding))

    def test_a_declaration_that_is_wrong_about_the_bytes(self) -> None:
        for declared, used in (("utf-8", "utf-16-le"), ("UTF-16", "utf-8"), ("UCS-2", "utf-8"), ("x", "utf-16-le")):
            data = f'<?xml version="1.0" encoding="{declared}"?>{ROOT.format("")}'.encode(used)
            self.assertEqual(read(data), Packet(command="SubmitJob"), declared)

    def test_declared_single_byte_sets(self) -> None:
        for encoding in ("windows-1252", "ISO-8859-15", "koi8-r", "macintosh", "cp437", "shift_jis", "gb18030"):
            body = ROOT.format('<p:doc_variables><p:var name="a">жé日€</p:var></p:doc_variables>')
            data = f'<?xml version="1.0" encoding="{encoding}"?>{body}'.encode(encoding, "ignore")
            packet = read(data)
            assert isinstance(packet, Packet), packet
            self.assertEqual(packet.document_variables["a"], "жé日€".encode(encoding, "ignore").decode(encoding))

    def test_unusable_encodings(self) -> None:
        for encoding in ("no-such", "utf-7", "base64", "rot13", "zlib", "utf-32", "cp037"):
            data = f'<?xml version="1.0" encoding="{encoding}"?>{ROOT.format("")}'.encode()
            self.assertEqual(read(data), Number.ENCODING, encoding)
        self.assertEqual(read(ROOT.encode().replace(b"SubmitJob", b"Subm\xfftJob")), Number.ENCODING)
        self.assertEqual(read(ROOT.encode("utf-16-le")[:50] + b"\x00\xd8\x41\x00" * 2), Number.ENCODING)

    def test_what_is_ignored(self) -> None:
        body = (
            "<!-- c --><?pi x?><p:other><p:var name='no'>1</p:var></p:other><p:doc_variables>"
            "<p:var name='a'>first</p:var><q xmlns='urn:x' name='no'>2</q>"
            "<p:var name='a'>la<![CDATA[<s>]]>t<p:b>no</p:b></p:var></p:doc_variables>"
            "<p:job_variables><p:var name=' J '>&#233;&amp;</p:var></p:job_variables>"
        )
        expected = Packet(command="SubmitJob", job_variables={"J": "é&"}, document_variables={"a": "la<s>t"})
        self.assertEqual(read(ROOT.format(body).encode()), expected)


class RefusedTests(SynchronousTestCase):
    def test_numbers(self) -> None:
        for text, number in (
            ("", Number.TRUNCATED),
            ("hello", Number.NOT_XML),
            ("<?xml version='1.0'?>hello", Number.NOT_XML),
            ("<?xml " + "x" * 600, Number.NOT_XML),
            ("<job_command/>", Number.WRONG_ROOT),
            ("<!DOCTYPE x>" + ROOT, Number.DOCTYPE),
            ("<!DOCTYPE x [<!ENTITY a SYSTEM 'file:///etc/passwd'>]>" + ROOT.format("&a;"), Number.DOCTYPE),
            (ROOT.format("&nope;"), Number.NOT_XML),
            (ROOT.format("<a></b>"), Number.NOT_XML),
            (ROOT.format("\x01"), Number.NOT_XML),
            (ROOT.format("<a>" * 8 + "</a>" * 8), Number.TOO_DEEP),
            (ROOT.format("<p:doc_variables><p:var>x</p:var></p:doc_variables>"), Number.BAD_VARIABLE),
        ):
            self.assertEqual(read(text.encode()), number, text[:60])

    def test_limits(self) -> None:
        three = ROOT.format("<p:doc_variables>" + "<p:var name='a'/>" * 3 + "</p:doc_variables>").encode()
        self.assertEqual(read(three, limits=Limits(variables=2)), Number.TOO_MANY_VARIABLES)
        self.assertIsInstance(read(three, limits=Limits(variables=3, packet_bytes=len(three), depth=3)), Packet)
        self.assertEqual(read(three, limits=Limits(depth=2)), Number.TOO_DEEP)
        self.assertEqual(read(three, limits=Limits(packet_bytes=len(three) - 1)), Number.TOO_LARGE)
        self.assertIsInstance(read(three + b" " * 99, limits=Limits(packet_bytes=len(three))), Packet)

    def test_noise_is_refused_by_its_first_byte(self) -> None:
        for byte in range(256):
            if bytes([byte]) not in b"<\x00\xef\xff\xfe \t\r\n":
                with self.assertRaises(PacketError):
                    PacketReader().feed(bytes([byte]))

    def test_a_broken_packet_is_named_with_its_line(self) -> None:
        reader = PacketReader()
        with self.assertRaises(PacketError) as caught:
            reader.feed(b'<?xml version="1.0"?>\n' + ROOT.format("\n<a></b>").encode())
        self.assertIn("line 3", str(caught.exception))


names = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=8)
values = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cn"], include_characters="\t\n\r"), max_size=20
)
variables = st.dictionaries(
    names, values.filter(lambda text: "\ufffe" not in text and "\uffff" not in text), max_size=4
)


class HeldBackTests(SynchronousTestCase):
    """Versions of expat that hold back what might be an incomplete tag, and do not say how to turn that off."""

    def test_a_packet_is_complete_with_its_end_tag(self) -> None:
        self.patch(reader, "_HOLDS_BACK", True)
        original = reader._parser_of
        self.patch(reader, "_parser_of", lambda target: HoldingBack(original(target)))
        for data in (ROOT.format("").encode(), ROOT.replace("{}</p:job_command>", "")[:-1].encode() + b"/>"):
            pieces = PacketReader()
            found = [pieces.feed(bytes([byte])) for byte in data]
            self.assertEqual(found[-1], Packet(command="SubmitJob"))
            self.assertEqual(set(found[:-1]), {None})

    def test_one_that_is_followed_by_a_comment_is_complete_at_the_end(self) -> None:
        self.patch(reader, "_HOLDS_BACK", True)
        original = reader._parser_of
        self.patch(reader, "_parser_of", lambda target: HoldingBack(original(target)))
        pieces = PacketReader()
        self.assertIsNone(pieces.feed(ROOT.format("").encode() + b"<!-- the end -->"))
        self.assertEqual(pieces.at_eof(), Packet(command="SubmitJob"))

    def test_an_end_in_a_comment_is_none(self) -> None:
        self.patch(reader, "_HOLDS_BACK", True)
        pieces = PacketReader()
        begin = ROOT.partition("{}")[0].encode()
        self.assertIsNone(pieces.feed(begin + b"<!-- </p:job_command>"))
        self.assertEqual(pieces.feed(b" --></p:job_command>"), Packet(command="SubmitJob"))

    def test_what_looks_like_an_end_again_and_again_is_not_parsed_again_and_again(self) -> None:
        self.patch(reader, "_HOLDS_BACK", True)
        parsed = []
        original = PacketReader._parse_all

        def count(self: PacketReader, text: str) -> Packet | None:
            parsed.append(len(text))
            return original(self, text)

        self.patch(PacketReader, "_parse_all", count)
        pieces = PacketReader(Limits(packet_bytes=100_000))
        begin = ROOT.partition("{}")[0].encode()
        self.assertIsNone(pieces.feed(begin + b"<a/>" * 5_000))
        for _ in range(200):
            self.assertIsNone(pieces.feed(b"<a/>"))
        self.assertEqual(parsed, [])
        self.assertIsNone(pieces.feed(b"<!-- "))
        for _ in range(200):
            self.assertIsNone(pieces.feed(b"job_command>"))
        self.assertLess(sum(parsed), 150_000)
        self.assertEqual(pieces.feed(b" --></p:job_command>"), Packet(command="SubmitJob"))

    def test_this_expat_does_what_the_reader_takes_it_to_do(self) -> None:
        """With the flag as it was found, pieces are as good as the whole."""
        data = ROOT.format("").encode()
        for cut in range(1, len(data)):
            pieces = PacketReader()
            self.assertIsNone(pieces.feed(data[:cut]))
            self.assertEqual(pieces.feed(data[cut:]), Packet(command="SubmitJob"))


class HoldingBack:
    """A parser that does nothing before the end."""

    def __init__(self, parser: Any) -> None:
        self._parser = parser
        self._held = b""

    def Parse(self, data: bytes, last: bool) -> None:
        self._held += data
        if last:
            self._parser.Parse(self._held, last)


class PropertyTests(SynchronousTestCase):
    @settings(max_examples=300, deadline=None)
    @given(st.binary(max_size=200), st.sampled_from([b"", b"<?xml ", b"<", b"\xff\xfe<\x00", ROOT.encode()[:80]]))
    def test_any_bytes_are_a_packet_or_a_named_error(self, data: bytes, start: bytes) -> None:
        whole = read(start + data)
        self.assertIsInstance(whole, Packet | Number)
        self.assertEqual(read(*(bytes([byte]) for byte in start + data)), whole)

    @settings(max_examples=300, deadline=None)
    @given(st.lists(st.sampled_from(PIECES), max_size=12))
    def test_in_one_piece_it_says_what_it_says_byte_by_byte(self, pieces: list[str]) -> None:
        for body in ("".join(pieces), "<p:job_variables>{}</p:job_variables>".format("".join(pieces))):
            data = ROOT.format(body).encode()
            self.assertEqual(read(data), read(*(bytes([byte]) for byte in data)), data)

    @settings(max_examples=150, deadline=None)
    @given(st.data())
    def test_mutated_packets(self, data: st.DataObject) -> None:
        packet = bytearray(data.draw(st.sampled_from(VECTORS)).read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            packet[data.draw(st.integers(0, len(packet) - 1))] = data.draw(st.integers(0, 255))
        self.assertIsInstance(read(bytes(packet)), Packet | Number)

    @settings(max_examples=150, deadline=None)
    @given(names, variables, variables, st.sampled_from(["utf-8", "utf-16-le", "utf-16", "iso-8859-1", "cp1252"]))
    def test_what_is_written_is_read(
        self, command: str, job: dict[str, str], document: dict[str, str], encoding: str
    ) -> None:
        data = write_packet(command, job, document, encoding=encoding)
        self.assertEqual(read(data), Packet(command=command, job_variables=job, document_variables=document))

    def test_what_xml_cannot_hold_is_not_written(self) -> None:
        for text in ("\x00", "\ud800", "\uffff"):
            with self.assertRaises(BadVariable):
                write_packet("SubmitJob", {"a": text})
