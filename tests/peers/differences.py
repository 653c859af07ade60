"""Where our answers differ from gtcm_server's, each with its reason; everything else has to be byte-equal."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pfserver.wire.omi import (
    CancelJob,
    Increment,
    JobStatus,
    OMIError,
    Request,
    ReverseQuery,
    SetExtract,
    SetPiece,
    StartJob,
    parse_request,
    split_request,
    split_response,
)

#: What gtcm_server has not: it answers "operation type".
_MISSING = SetPiece, SetExtract, Increment, ReverseQuery, StartJob, JobStatus, CancelJob


def _errors(theirs: bytes, ours: bytes) -> tuple[int, int]:
    return split_response(theirs)[0].error_type, split_response(ours)[0].error_type


def _request(part: bytes) -> Request | None:
    try:
        header, body = split_request(part)
        return parse_request(header.operation, body)
    except OMIError:
        return None


def _is_missing(part: bytes, theirs: bytes, ours: bytes) -> bool:
    return isinstance(_request(part), _MISSING) and _errors(theirs, ours)[0] == 12


def _is_null_subscript(part: bytes, theirs: bytes, ours: bytes) -> bool:
    reference = getattr(_request(part), "reference", None)
    return reference is not None and reference.subscripts[-1:] == (b"",) and _errors(theirs, ours) == (6, 3)


def _is_beyond_numbers(part: bytes, theirs: bytes, ours: bytes) -> bool:
    reference = getattr(_request(part), "reference", None)
    if reference is None or _errors(theirs, ours) != (6, 0):
        return False
    return any(len(one.lstrip(b"-")) > 47 and one.lstrip(b"-").isdigit() for one in reference.subscripts)


def _is_not_exact(part: bytes, theirs: bytes, ours: bytes) -> bool:
    return _request(part) is None and _errors(theirs, ours) in ((0, 11), (6, 11), (10, 11))


def _is_no_name(part: bytes, theirs: bytes, ours: bytes) -> bool:
    try:
        header, body = split_request(part)
        parse_request(header.operation, body)
    except OMIError as error:
        return error.type == 3 and _errors(theirs, ours) == (0, 3)
    return False


def _is_long_reference(part: bytes, theirs: bytes, ours: bytes) -> bool:
    reference = getattr(_request(part), "reference", None)
    if reference is None or _errors(theirs, ours)[1] != 4:
        return False
    return len(reference.pack()) - len(reference.environment) - 2 > 255


DIFFERENCES: Mapping[str, Callable[[bytes, bytes, bytes], bool]] = {
    "an operation that gtcm_server does not have (12)": _is_missing,
    "an empty last subscript: reference content (3) instead of unrecoverable (6), since nothing is broken": (
        _is_null_subscript
    ),
    "a subscript that looks like a number of 1E47 or more: a string, where gtcm_server cannot go on (6)": (
        _is_beyond_numbers
    ),
    "fields that do not end where the message does: message format (11), where gtcm_server guesses": _is_not_exact,
    "a name that no global can have: reference content (3), where gtcm_server finds it undefined": _is_no_name,
    "a reference longer than agreed: reference too long (4), where gtcm_server forgets what was agreed": (
        _is_long_reference
    ),
}


def reason(part: bytes, theirs: bytes, ours: bytes) -> str | None:
    """The documented reason why two responses to a request differ; None where there is none."""
    return next((text for text, applies in DIFFERENCES.items() if applies(part, theirs, ours)), None)
