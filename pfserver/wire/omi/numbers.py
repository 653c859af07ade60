"""The numbers of OMI: operations, error types, extensions and the limits that a server offers."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType

#: A message with its own length field, at most (OMI: messages).
MESSAGE_BYTES = 65_535

#: The class of every request and of every error that this protocol defines.
CLASS = 1


class Operation(IntEnum):
    """Operation types of a request's header."""

    CONNECT = 1
    STATUS = 2
    DISCONNECT = 3
    SET = 10
    SET_PIECE = 11
    SET_EXTRACT = 12
    KILL = 13
    INCREMENT = 14
    GET = 20
    DEFINE = 21
    ORDER = 22
    NEXT = 23
    QUERY = 24
    REVERSE_ORDER = 25
    REVERSE_QUERY = 26
    LOCK = 30
    UNLOCK = 31
    UNLOCK_CLIENT = 32
    UNLOCK_ALL = 33
    JOB = 61
    JOB_STATUS = 62
    CANCEL_JOB = 63


class ErrorType(IntEnum):
    """Error types of a response's header, class 1. Those of jobs have no published number (30 to 32)."""

    NONE = 0
    NOT_AUTHORIZED = 1
    NO_SUCH_ENVIRONMENT = 2
    REFERENCE_CONTENT = 3
    REFERENCE_TOO_LONG = 4
    VALUE_TOO_LONG = 5
    UNRECOVERABLE = 6
    REFERENCE_FORMAT = 10
    MESSAGE_FORMAT = 11
    OPERATION_TYPE = 12
    SUSPENDED = 13
    SEQUENCE = 14
    VERSION = 20
    MINIMUM_TOO_LARGE = 21
    MAXIMUM_TOO_SMALL = 22
    SESSION_EXISTS = 23
    NO_SESSION = 24
    OVERLAPPING_JOBS = 30
    UNKNOWN_JOB = 31
    JOB_TIMED_OUT = 32


#: What each error type means, for people.
ERROR_TEXTS: Mapping[int, str] = MappingProxyType(
    {
        ErrorType.NOT_AUTHORIZED: "not authorized",
        ErrorType.NO_SUCH_ENVIRONMENT: "no such environment",
        ErrorType.REFERENCE_CONTENT: "a name or subscript that a reference cannot have",
        ErrorType.REFERENCE_TOO_LONG: "reference too long",
        ErrorType.VALUE_TOO_LONG: "value too long",
        ErrorType.UNRECOVERABLE: "unrecoverable error",
        ErrorType.REFERENCE_FORMAT: "reference format",
        ErrorType.MESSAGE_FORMAT: "message format",
        ErrorType.OPERATION_TYPE: "unknown operation type",
        ErrorType.SUSPENDED: "suspended",
        ErrorType.SEQUENCE: "sequence",
        ErrorType.VERSION: "version not supported",
        ErrorType.MINIMUM_TOO_LARGE: "a minimum length above the server's maximum",
        ErrorType.MAXIMUM_TOO_SMALL: "a maximum length below the server's minimum",
        ErrorType.SESSION_EXISTS: "connect in a session",
        ErrorType.NO_SESSION: "no session",
        ErrorType.OVERLAPPING_JOBS: "overlapping job requests",
        ErrorType.UNKNOWN_JOB: "unknown job request",
        ErrorType.JOB_TIMED_OUT: "job timed out",
    }
)


class Extension(IntEnum):
    """Extensions that both sides may agree on when they connect."""

    BUNCHING = 1
    WIDE_REPLIES = 3
