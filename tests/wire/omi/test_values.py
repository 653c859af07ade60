"""Headers, references, requests and replies: encode then decode is the identity, any bytes are a value or an error."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pfserver.wire.omi import (
    Connect,
    Define,
    Done,
    ErrorType,
    FormatError,
    Get,
    GetReply,
    JobReply,
    JobStatus,
    OMIError,
    Query,
    QueryReply,
    Range,
    Reference,
    Reply,
    Request,
    RequestHeader,
    ResponseHeader,
    RoutineReference,
    Set,
    SetPiece,
    StartJob,
    Status,
    parse_reference,
    parse_reply,
    parse_request,
    parse_routine_reference,
    split_bunch,
    split_request,
    split_response,
)
from pfserver.wire.omi.fields import Fields, li, ls, si, ss, vs
from pfserver.wire.omi.numbers import Operation
from pfserver.wire.omi.replies import WideReply
from tests.wire.omi import strategies
from tests.wire.omi.vectors import session_of, sessions


class FieldTests(SynchronousTestCase):
    def test_bounds(self) -> None:
        for pack, most in ((si, 255), (li, 65_535)):
            pack(most)
            for number in (-1, most + 1):
                with self.assertRaises(FormatError):
                    pack(number)
        with self.assertRaises(FormatError):
            ss(b"x" * 256)
        with self.assertRaises(FormatError):
            ls(b"x" * 65_536)

    def test_one_after_another(self) -> None:
        fields = Fields(si(1) + li(2) + b"\3\0\0\0" + ss(b"a") + ls(b"bc") + vs(b"def"))
        read = [fields.si(), fields.li(), fields.vi(), fields.ss(), fields.ls(), fields.vs()]
        self.assertEqual(read, [1, 2, 3, b"a", b"bc", b"def"])
        fields.end()
        with self.assertRaises(FormatError):
            fields.si()
        with self.assertRaises(FormatError):
            Fields(b"a").end()


class HeaderTests(SynchronousTestCase):
    numbers = st.integers(0, 65_535)

    requests = st.builds(RequestHeader, st.integers(0, 255), numbers, numbers, numbers, numbers, numbers, st.booleans())
    responses = st.builds(
        ResponseHeader, numbers, st.integers(0, 255), numbers, numbers, numbers, numbers, st.booleans()
    )

    @given(requests, st.binary(max_size=5))
    def test_requests(self, header: RequestHeader, body: bytes) -> None:
        self.assertEqual(split_request(header.pack() + body), (header, body))
        self.assertEqual(len(header.pack()), 13 if header.long else 12)

    @given(responses)
    def test_responses(self, header: ResponseHeader) -> None:
        self.assertEqual(split_response(header.pack() + b"x"), (header, b"x"))

    def test_lengths(self) -> None:
        header = RequestHeader(2).pack()
        for data in (b"", b"\0", b"\x0a" + header[1:], b"\x0d" + header[1:] + b"ab", header[:-1], b"\x0c" + header[1:]):
            with self.assertRaises(FormatError):
                split_request(data)


class ReferenceTests(SynchronousTestCase):
    @given(strategies.references)
    def test_round_trip(self, reference: Reference) -> None:
        self.assertEqual(parse_reference(reference.pack()), reference)

    @given(strategies.routines)
    def test_routines(self, routine: RoutineReference) -> None:
        self.assertEqual(parse_routine_reference(routine.pack()), routine)

    def test_no_list_is_not_an_empty_one(self) -> None:
        none, empty = RoutineReference(b"", b"R"), RoutineReference(b"", b"R", ())
        self.assertEqual((none.pack(), empty.pack()), (b"\0\0\2^R", b"\0\0\2^R\0"))
        self.assertIsNone(parse_routine_reference(none.pack()).arguments)
        self.assertEqual(parse_routine_reference(empty.pack()).arguments, ())

    def test_what_is_none(self) -> None:
        content, format_ = ErrorType.REFERENCE_CONTENT, ErrorType.REFERENCE_FORMAT
        for data, type_ in (
            (b"", format_),
            (b"\0", format_),
            (b"\0\0", format_),
            (b"\5\0ab", format_),
            (b"\0\0\2^X\5a", format_),
            (b"\0\0\5^X", format_),
            (b"\0\0\1X", format_),
            (b"\0\0\1^", format_),
            (b"\0\0\0", format_),
            (b"\0\0\3^1X", content),
            (b"\0\0\4^X_Y", content),
            (b"\0\0\3^X%", content),
            (b"\0\0\3^X\n", content),
        ):
            with self.assertRaises(OMIError) as caught:
                parse_reference(data)
            self.assertEqual(caught.exception.type, type_, data)
        with self.assertRaises(OMIError):
            parse_routine_reference(b"\0\0\2^R\1\1\0ab")

    @given(st.binary(max_size=40) | st.binary(max_size=20).map(b"\0\0\2^X".__add__))
    def test_any_bytes(self, data: bytes) -> None:
        try:
            reference = parse_reference(data)
        except OMIError as error:
            self.assertIn(error.type, (ErrorType.REFERENCE_CONTENT, ErrorType.REFERENCE_FORMAT))
        else:
            self.assertEqual(reference.pack(), data)


class RequestTests(SynchronousTestCase):
    @given(strategies.requests)
    def test_round_trip(self, request: Request) -> None:
        self.assertEqual(parse_request(request.operation, request.pack()), request)

    @given(strategies.requests, st.data())
    def test_lengths_are_strict(self, request: Request, data: st.DataObject) -> None:
        packed = request.pack()
        with self.assertRaises(OMIError):
            parse_request(request.operation, packed + b"x")
        if packed:
            cut = packed[: data.draw(st.integers(0, len(packed) - 1))]
            with self.assertRaises(OMIError):
                parse_request(request.operation, cut)

    @given(st.sampled_from(sorted(Operation)), st.binary(max_size=80))
    def test_any_bytes(self, operation: Operation, body: bytes) -> None:
        try:
            request = parse_request(operation, body)
        except OMIError:
            return
        self.assertEqual(request.pack(), body)

    def test_unknown_operations(self) -> None:
        for operation in {*range(256)} - set(Operation):
            with self.assertRaises(OMIError) as caught:
                parse_request(operation, b"")
            self.assertEqual(caught.exception.type, ErrorType.OPERATION_TYPE)

    def test_a_password_is_not_shown(self) -> None:
        self.assertNotIn("secret", repr(Connect(major=1, password=b"secret")))


class ReplyTests(SynchronousTestCase):
    @given(strategies.replies)
    def test_round_trip(self, reply: Reply) -> None:
        self.assertEqual(type(reply).parse_all(reply.pack()), reply)

    def test_by_operation(self) -> None:
        self.assertEqual(parse_reply(Operation.SET, b""), Done())
        self.assertEqual(parse_reply(Operation.QUERY, b"\0\0"), QueryReply(None))
        wide = WideReply(b"2", 11, 1, b"v")
        self.assertEqual(parse_reply(Operation.GET, wide.pack(), wide=True), wide)
        with self.assertRaises(OMIError):
            parse_reply(Operation.GET, wide.pack())


class VectorTests(SynchronousTestCase):
    """Every frame of the vectors as the value that it is, and back."""

    def test_all_requests_are_values_and_back(self) -> None:
        for session in sessions():
            is_bunched = session[0].name != "connect-1.0"
            for vector in session:
                content = vector.request[4:]
                parts = split_bunch(content) if is_bunched and not vector.is_connect else [content]
                for part in parts:
                    header, body = split_request(part)
                    self.assertEqual(header.request_id, 7)
                    if vector.name in ("bad-reference", "bad-operation"):
                        with self.assertRaises(OMIError):
                            parse_request(header.operation, body)
                        continue
                    request = parse_request(header.operation, body)
                    self.assertEqual(header.pack() + request.pack(), part, vector.name)

    def test_responses(self) -> None:
        for vector in session_of("connect-1.0")[1:]:
            self.assertIsNotNone(vector.response)
            request, _ = split_request(vector.request[4:])
            header, body = split_response((vector.response or b"")[4:])
            self.assertEqual((header.sequence, header.request_id), (request.sequence, 7))
            if not header.error_type:
                reply = parse_reply(request.operation, body)
                self.assertEqual(header.pack() + reply.pack(), (vector.response or b"")[4:], vector.name)

    def test_what_they_say(self) -> None:
        def request(session: str, name: str) -> Request:
            vector = next(one for one in session_of(session) if one.name == name)
            [part] = split_bunch(vector.request[4:]) if session == "connect-2.0" else [vector.request[4:]]
            header, body = split_request(part)
            return parse_request(header.operation, body)

        x = Reference(b"", b"X", (b"1", b"a"))
        first = "connect-1.0"
        self.assertEqual(request(first, "status"), Status())
        self.assertEqual(request(first, "set"), Set(x, b"value"))
        self.assertEqual(request(first, "get"), Get(x))
        self.assertEqual(request(first, "define"), Define(Reference(b"", b"X", (b"1",))))
        self.assertEqual(request(first, "query"), Query(Reference(b"", b"X")))
        self.assertEqual(request(first, "set-piece"), SetPiece(Reference(b"", b"X", (b"p",)), b"B", 2, 2, b"^"))
        start = StartJob(client=b"4711", routine=RoutineReference(b"", b"SAMPLE", (b"Zoe",)), timeout=b"10.5")
        self.assertEqual(request("connect-2.0", "job-OMI2"), start)
        self.assertEqual(request("connect-2.0", "job-status-OMI2"), JobStatus(1))
        connect = request(first, "connect-1.0")
        assert isinstance(connect, Connect)
        self.assertEqual(connect.implementation, b"example agent")
        self.assertEqual((connect.value, connect.reference), (Range(255, 32_767), Range(127, 255)))
        self.assertEqual(GetReply(1, b"value").pack(), b"\1\5\0value")
        self.assertEqual(JobReply(1, b"1").pack(), b"\1\0\0011")
