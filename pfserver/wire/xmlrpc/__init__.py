"""XML-RPC as bytes: a reader that is fed as they arrive and a writer that gives them piece by piece.

Documents never lie in memory: the reader decodes their base64 text into a sink and the writer encodes them from a
source, both handed in. ``xmlrpc.client`` and ``twisted.web.xmlrpc`` hold five to nine times the document instead.
"""

from pfserver.wire.xmlrpc.reader import Reader
from pfserver.wire.xmlrpc.values import (
    BAD_PARAMS,
    INTERNAL,
    NO_SUCH_METHOD,
    NOT_A_CALL,
    NOT_WELL_FORMED,
    Call,
    Code,
    DocumentPath,
    Fault,
    Limits,
    Response,
    Sink,
    Source,
    Value,
)
from pfserver.wire.xmlrpc.writer import Body, encode_call, encode_fault, encode_response

__all__ = [
    "BAD_PARAMS",
    "INTERNAL",
    "NOT_A_CALL",
    "NOT_WELL_FORMED",
    "NO_SUCH_METHOD",
    "Body",
    "Call",
    "Code",
    "DocumentPath",
    "Fault",
    "Limits",
    "Reader",
    "Response",
    "Sink",
    "Source",
    "Value",
    "encode_call",
    "encode_fault",
    "encode_response",
]
