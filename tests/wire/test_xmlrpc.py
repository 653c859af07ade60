"""XML-RPC messages: the vectors, the standard library as the other side, and everything a peer may get wrong."""

from __future__ import annotations

import base64
import io
import xmlrpc.client
from datetime import datetime
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pfserver.wire.xmlrpc import (
    BAD_PARAMS,
    NOT_A_CALL,
    NOT_WELL_FORMED,
    Call,
    Code,
    Fault,
    Limits,
    Reader,
    Response,
    encode_call,
    encode_fault,
    encode_response,
)

VECTORS = Path(__file__).parent.parent / "vectors" / "officeshots"
DOCUMENTS = frozenset({("jobs.finish", 3), ("", 0, "document"), ("pfserver.submit", 0, "document")})


class MemorySource:
    """Bytes as a source."""

    def __init__(self, data: bytes) -> None:
        self.size = len(data)
        self.read = io.BytesIO(data).read


class CountingSink:
    """Forgets what it is given."""

    size = 0
    largest = 0

    def write(self, data: bytes) -> None:
        self.size += len(data)
        self.largest = max(self.largest, len(data))


def read(data: bytes, *, step: int = 0, limits: Limits | None = None) -> Call | Response | Fault:
    """Read a message, in one piece or in steps of so many bytes."""
    reader = Reader(DOCUMENTS, io.BytesIO, limits)
    for start in range(0, len(data), step or len(data) or 1):
        reader.feed(data[start : start + (step or len(data))])
    return reader.close()


def call(params: str, method: str = "m") -> bytes:
    return f"<methodCall><methodName>{method}</methodName><params>{params}</params></methodCall>".encode()


def value(xml: str) -> bytes:
    return call(f"<param><value>{xml}</value></param>")


class VectorTests(SynchronousTestCase):
    """The recorded messages, whole and one byte at a time."""

    def both(self, name: str) -> Call:
        data = (VECTORS / name).read_bytes()
        for step in (0, 1, 7):
            result = read(data, step=step)
            assert isinstance(result, Call)
        return result

    def test_poll(self) -> None:
        self.assertEqual(self.both("poll-request.xml"), Call("jobs.poll", ("My factory",)))

    def test_untyped_values(self) -> None:
        self.assertEqual(self.both("untyped-values-request.xml"), Call("jobs.poll", ("My factory",)))

    def test_finish(self) -> None:
        method, params = (result := self.both("finish-request.xml")).method, result.params
        self.assertEqual((method, params[:3]), ("jobs.finish", ("My factory", params[1], "pdf")))
        assert isinstance(params[3], io.BytesIO)
        self.assertEqual(params[3].getvalue(), b"%PDF-1.4\n")

    def test_unknown_method_is_a_call(self) -> None:
        self.assertEqual(self.both("bad-unknown-method.xml"), Call("jobs.nope"))

    def test_doctype(self) -> None:
        data = (VECTORS / "bad-doctype.xml").read_bytes()
        for step in (0, 1):
            fault = self.assertRaises(Fault, read, data, step=step)
            self.assertEqual(fault.code, NOT_WELL_FORMED)
            self.assertIn("document type", fault.text)


class AcceptedTests(SynchronousTestCase):
    """What clients in the field send."""

    def param(self, data: bytes) -> object:
        result = read(data)
        self.assertEqual(result, read(data, step=1))
        assert isinstance(result, Call)
        return result.params[0]

    def test_scalars(self) -> None:
        for xml, expected in [
            ("<int>-7</int>", -7),
            ("<i4> 8 </i4>", 8),
            ("<i8>5000000000</i8>", 5000000000),
            ("<boolean>1</boolean>", True),
            ("<double>1.5</double>", 1.5),
            ("<nil/>", None),
            ("<string/>", ""),
            ("", ""),
            ("<base64>\n AQ\nI= </base64>", b"\x01\x02"),
            ("<dateTime.iso8601>20261124T10:11:12</dateTime.iso8601>", datetime(2026, 11, 24, 10, 11, 12)),
            ("<string>a &lt;&amp;&#228; \u20ac</string>", "a <&ä \u20ac"),
        ]:
            self.assertEqual(self.param(value(xml)), expected, xml)

    def test_collections(self) -> None:
        xml = """
          <struct>
            <member> <name>a</name> <value> <int>1</int> </value> </member>
            <member><name>b</name><value><array><data><value>x</value><value><i4>2</i4></value></data></array></value>
            </member></struct> """
        self.assertEqual(self.param(value(xml)), {"a": 1, "b": ["x", 2]})
        self.assertEqual(self.param(value("<struct/>")), {})
        self.assertEqual(self.param(value("<array><data/></array>")), [])

    def test_encodings(self) -> None:
        text = "<methodCall><methodName>m</methodName><params><param><value>ä</value></param></params></methodCall>"
        for data in [
            text.encode(),
            b"\xef\xbb\xbf" + text.encode(),
            b"\r\n  <?xml version='1.0'?>" + text.encode(),
            b"<?xml version='1.0' encoding='iso-8859-1'?>" + text.encode("latin-1"),
            b"<?xml version='1.0' encoding='windows-1252'?>" + text.encode("cp1252"),
            ("<?xml version='1.0' encoding='utf-16'?>" + text).encode("utf-16"),
        ]:
            self.assertEqual(self.param(data), "ä")

    def test_comments_and_cdata(self) -> None:
        self.assertEqual(self.param(value("<string>a<!-- x --><![CDATA[<b>]]>c</string>")), "a<b>c")

    def test_no_params(self) -> None:
        self.assertEqual(read(call("")), Call("m"))
        self.assertEqual(read(b"<methodResponse/>"), Response(None))
        self.assertEqual(read(b"<methodResponse><params/></methodResponse>"), Response(None))

    def test_fault(self) -> None:
        fault = read(bytes(encode_fault(4, "lock lost")))
        assert isinstance(fault, Fault)
        self.assertEqual((fault.code, fault.text), (4, "lock lost"))

    def test_document_as_string_base64_or_untyped(self) -> None:
        data = bytes(range(256)) * 3
        text = base64.encodebytes(data).decode().replace("\n", "\r\n \t")
        for inner in (f"<string>{text}</string>", f"<base64>{text}</base64>", text, f"\n<string>{text}</string>\n"):
            message = call(
                "<param><value>f</value></param>" * 3 + f"<param><value>{inner}</value></param>", "jobs.finish"
            )
            for step in (0, 1, 5):
                result = read(message, step=step)
                assert isinstance(result, Call)
                assert isinstance(result.params[3], io.BytesIO)
                self.assertEqual(result.params[3].getvalue(), data)

    def test_document_without_padding(self) -> None:
        result = read(
            b"<methodResponse><params><param><value><struct><member><name>document</name><value>QUI</value></member>"
            b"</struct></value></param></params></methodResponse>"
        )
        assert isinstance(result, Response)
        self.assertEqual(result.value["document"].getvalue(), b"AB")  # type: ignore[index, call-overload, union-attr]

    def test_method_is_known_early(self) -> None:
        reader = Reader()
        reader.feed(b"<methodCall><methodName> jobs.poll </methodName>")
        self.assertEqual(reader.method, "jobs.poll")


class RefusedTests(SynchronousTestCase):
    """What is refused, with which code."""

    def refused(self, code: int, data: bytes, limits: Limits | None = None) -> Fault:
        for step in (0, 1):
            fault = self.assertRaises(Fault, read, data, step=step, limits=limits)
            self.assertEqual(fault.code, code, (data[:200], fault.text))
        return fault

    def test_not_well_formed(self) -> None:
        for data in (
            b"",
            b"x",
            b"<methodCall>",
            b"<methodCall></b>",
            call("") + b"<x/>",
            b"\x00\x01",
            b"<?xml encoding='foo'?>",
        ):
            self.refused(NOT_WELL_FORMED, data)
        self.refused(NOT_WELL_FORMED, b"<?xml version='1.0' encoding='nonsense'?>" + call(""))
        self.refused(NOT_WELL_FORMED, b"<?xml version='1.0' encoding='shift_jis'?>" + call(""))
        self.refused(NOT_WELL_FORMED, value("<string>\xff</string>").decode().encode("latin-1"))

    def test_not_a_call(self) -> None:
        for data in (
            b"<html/>",
            b"<methodCall/>",
            b"<methodCall><params/><methodName>m</methodName></methodCall>",
            b"<methodCall><methodName>a b</methodName></methodCall>",
            b"<methodCall><methodName/></methodCall>",
            b"<methodCall>text<methodName>m</methodName></methodCall>",
            call("<param/>"),
            call("<param><value/><value/></param>"),
            call("<value>1</value>"),
            value("<unknown/>"),
            value("<int>1</int><int>2</int>"),
            value("a<int>1</int>"),
            value("<int>1</int>a"),
            value("<struct><member><value>1</value><name>a</name></member></struct>"),
            value("<struct><member><name>a</name></member></struct>"),
            value("<struct>x</struct>"),
            value("<ex:nil xmlns:ex='urn:x'/>"),
            b"<methodResponse><fault><value>x</value></fault></methodResponse>",
            b"<methodResponse><params>" + b"<param><value/></param>" * 2 + b"</params></methodResponse>",
        ):
            self.refused(NOT_A_CALL, data)

    def test_a_member_twice(self) -> None:
        members = "<member><name>a</name><value/></member>" * 2
        opened: list[object] = []

        def sink() -> io.BytesIO:
            opened.append(None)
            return io.BytesIO()

        for name in ("a", "document"):
            text = "<methodCall><methodName>pfserver.submit</methodName><params><param><value><struct>"
            text += members.replace("<name>a", f"<name>{name}")
            reader = Reader(DOCUMENTS, sink)
            fault = self.assertRaises(Fault, reader.feed, text.encode())
            self.assertEqual(fault.code, NOT_A_CALL)
            self.assertIn(f"two members {name!r}", fault.text)
        self.assertEqual(len(opened), 1)

    def test_bad_values(self) -> None:
        for xml in (
            "<int>x</int>",
            "<int>2147483648</int>",
            "<boolean>2</boolean>",
            "<double>nan</double>",
            "<nil>1</nil>",
            "<base64>%%%</base64>",
            "<dateTime.iso8601>yesterday</dateTime.iso8601>",
        ):
            self.refused(BAD_PARAMS, value(xml))

    def test_bad_documents(self) -> None:
        for xml in ("<int>1</int>", "<struct/>", "%%%%", "A", "QUI=QUI=", "ä", "<nil/>"):
            three = "<param><value>f</value></param>" * 3
            self.refused(BAD_PARAMS, call(f"{three}<param><value>{xml}</value></param>", "jobs.finish"))

    def test_depth(self) -> None:
        def nested(arrays: int) -> bytes:
            return value("<array><data><value>" * arrays + "</value></data></array>" * arrays)

        self.assertIsInstance(read(nested(9)), Call)  # 4 + 27 elements
        self.assertIn("deeper", self.refused(NOT_A_CALL, nested(10)).text)

    def test_text_outside_the_document(self) -> None:
        limits = Limits(outside=1000)
        self.assertIsInstance(read(value("x" * 800), limits=limits), Call)
        for xml in ("x" * 1000, "<!--" + "x" * 1000 + "-->", "<string a='" + "x" * 1000 + "'/>", " " * 1000):
            self.refused(Code.TOO_LARGE, value(xml), limits)

    def test_token_without_end_inside_a_document(self) -> None:
        reader = Reader(DOCUMENTS, CountingSink, Limits(outside=10_000))
        message = call("<param><value>f</value></param>" * 3 + "<param><value>QUJD<!-- ", "jobs.finish")
        reader.feed(message.removesuffix(b"</params></methodCall>"))
        with self.assertRaises(Fault) as caught:
            for _ in range(100):
                reader.feed(b"x" * 1000)
        self.assertEqual(caught.exception.code, Code.TOO_LARGE)

    def test_document_larger_than_the_limit(self) -> None:
        three = "<param><value>f</value></param>" * 3
        limits = Limits(document=300)
        for size, fits in ((300, True), (301, False)):
            text = base64.b64encode(bytes(size)).decode()
            data = call(f"{three}<param><value>{text}</value></param>", "jobs.finish")
            if fits:
                self.assertIsInstance(read(data, limits=limits), Call)
            else:
                self.refused(Code.TOO_LARGE, data, limits)

    def test_same_fault_again(self) -> None:
        reader = Reader()
        first = self.assertRaises(Fault, reader.feed, b"<html>")
        self.assertIs(self.assertRaises(Fault, reader.feed, b"more"), first)
        self.assertIs(self.assertRaises(Fault, reader.close), first)


class DocumentTests(SynchronousTestCase):
    """Documents stream."""

    def test_pieces_stay_small(self) -> None:
        sinks: list[CountingSink] = []

        def open_sink() -> CountingSink:
            sinks.append(CountingSink())
            return sinks[-1]

        reader = Reader(DOCUMENTS, open_sink)
        reader.feed(b"<methodCall><methodName>jobs.finish</methodName><params>")
        reader.feed(b"<param><value>x</value></param>" * 3 + b"<param><value><string>")
        line = b"QUJD" * 19 + b"\n"
        for _ in range(200):
            reader.feed(line * 500)
        reader.feed(b"</string></value></param></params></methodCall>")
        result = reader.close()
        assert isinstance(result, Call)
        self.assertIs(result.params[3], sinks[0])
        self.assertEqual(sinks[0].size, 200 * 500 * 57)
        self.assertLess(sinks[0].largest, 128 * 1024)

    def test_written_pieces_stay_small_and_the_length_is_right(self) -> None:
        body = encode_response({"job": "j", "document": MemorySource(bytes(500_001))})
        chunks = list(body.chunks())
        self.assertLessEqual(max(map(len, chunks)), 64 * 1024)
        self.assertEqual(sum(map(len, chunks)), body.length)

    def test_source_that_became_shorter(self) -> None:
        source = MemorySource(b"abc")
        source.size = 5
        self.assertRaises(EOFError, bytes, encode_response(source))

    def test_body_limit_covers_the_document_limit(self) -> None:
        limits = Limits()
        text = len(base64.encodebytes(bytes(3 * 57 * 1000))) / (3 * 57 * 1000)
        self.assertGreater(limits.body, limits.document * text)
        self.assertLess(limits.body, 200 * 1024 * 1024)


#: Characters that XML can hold.
TEXT = st.text(
    st.characters(exclude_categories=["Cs"]).filter(lambda c: (c >= " " and c not in "\ufffe\uffff") or c in "\t\n\r")
)
SCALARS = st.one_of(
    TEXT,
    st.integers(-(2**31), 2**31 - 1),
    st.booleans(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.binary(max_size=50),
    st.none(),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=6
)

SNIPPETS = st.sampled_from(
    [
        b"<methodCall>", b"</methodCall>", b"<methodName>", b"jobs.finish", b"</methodName>", b"<params>", b"</params>",
        b"<param>", b"</param>", b"<value>", b"</value>", b"<string>", b"</string>", b"<base64>", b"</base64>", b"QUJD",
        b"<struct>", b"</struct>", b"<member>", b"</member>", b"<name>", b"</name>", b"document", b"<array>", b"<data>",
        b"</data>", b"</array>", b"<int>", b"1", b"</int>", b"<nil/>", b"<methodResponse>", b"</methodResponse>", b" ",
        b"<fault>", b"</fault>", b"<!DOCTYPE x>", b"<?xml version='1.0' encoding='utf-16'?>", b"&a;", b"&#0;", b"]]>",
        b"<!--", b"-->", b"<![CDATA[", b"\xff", b"\x00", b"\xe2\x82",
    ]
)  # fmt: skip


class PropertyTests(SynchronousTestCase):
    """Any bytes give a value or a fault; what is written is read again, by us and by the standard library."""

    @settings(deadline=None, max_examples=300)
    @given(st.lists(SNIPPETS | st.binary(max_size=6), max_size=40), st.integers(1, 50))
    def test_any_bytes(self, parts: list[bytes], step: int) -> None:
        data = b"".join(parts)
        outcomes = []
        for size in (0, step):
            try:
                outcomes.append(repr(type(read(data, step=size))))
            except Fault:
                outcomes.append("refused")
        # However it was cut: the same kind of answer (with several faults in it, another one may come first).
        self.assertEqual(outcomes[0], outcomes[1])

    @settings(deadline=None, max_examples=150)
    @given(st.integers(0, 400), st.binary(min_size=1, max_size=3))
    def test_damaged_messages(self, position: int, junk: bytes) -> None:
        data = bytearray((VECTORS / "finish-request.xml").read_bytes())
        data[position : position + len(junk)] = junk
        try:
            read(bytes(data))
        except Fault:
            return

    @settings(deadline=None)
    @given(st.lists(VALUES, max_size=3), st.integers(1, 30))
    def test_call_round_trip(self, params: list[object], step: int) -> None:
        data = bytes(encode_call("a.b", *params))  # type: ignore[arg-type]
        result = read(data, step=step)
        assert isinstance(result, Call)
        self.assertEqual(list(result.params), params)

    @settings(deadline=None)
    @given(VALUES.filter(lambda v: not isinstance(v, bytes)))
    def test_standard_library_reads_ours(self, content: object) -> None:
        (theirs,), _ = xmlrpc.client.loads(bytes(encode_response(content)), use_builtin_types=True)  # type: ignore[arg-type]
        self.assertEqual(theirs, content)

    @settings(deadline=None)
    @given(VALUES)
    def test_we_read_the_standard_library(self, content: object) -> None:
        # A bare carriage return, as the standard library writes it, is a line feed to every XML parser.
        data = xmlrpc.client.dumps((content,), "m", allow_none=True).replace("\r", "&#13;").encode()
        self.assertEqual(read(data), Call("m", (content,)))  # type: ignore[arg-type]

    @settings(deadline=None)
    @given(st.binary(max_size=300), st.integers(1, 30))
    def test_document_round_trip(self, document: bytes, step: int) -> None:
        data = bytes(encode_response({"document": MemorySource(document)}))
        result = read(data, step=step)
        assert isinstance(result, Response)
        self.assertEqual(result.value["document"].getvalue(), document)  # type: ignore[index, call-overload, union-attr]

    @given(st.text())
    def test_control_characters_never_leave(self, text: str) -> None:
        data = bytes(encode_fault(1, text)).decode()
        self.assertNotRegex(data, "[\x00-\x08\x0b\x0c\x0e-\x1f]")
        self.assertIsInstance(read(data.encode()), Fault)
