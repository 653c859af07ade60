"""From our errors to OMI's error types: one table."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pfserver import errors
from pfserver.wire.omi import ErrorType, OMIError

_TYPES: Mapping[type[Exception], ErrorType] = MappingProxyType(
    {
        errors.NotAllowed: ErrorType.NOT_AUTHORIZED,
        errors.OutsideRoot: ErrorType.NOT_AUTHORIZED,
        errors.ReferenceTooLong: ErrorType.REFERENCE_TOO_LONG,
        errors.NoSuchProject: ErrorType.REFERENCE_CONTENT,
        errors.NoSuchProjectJob: ErrorType.REFERENCE_CONTENT,
        errors.BadProject: ErrorType.REFERENCE_CONTENT,
        errors.BadVariable: ErrorType.REFERENCE_CONTENT,
        errors.MissingVariable: ErrorType.REFERENCE_CONTENT,
        errors.NoSuchQueue: ErrorType.REFERENCE_CONTENT,
        errors.NotSupported: ErrorType.REFERENCE_CONTENT,
        errors.ServerBusy: ErrorType.SUSPENDED,
        errors.ServerStopping: ErrorType.SUSPENDED,
        errors.StoreUnavailable: ErrorType.UNRECOVERABLE,
    }
)


def omi_error(error: Exception) -> OMIError:
    """The error as OMI tells it; whatever has no type of its own is unrecoverable."""
    if isinstance(error, OMIError):
        return error
    for kind in type(error).__mro__:
        if kind in _TYPES:
            return OMIError(_TYPES[kind], str(error))
    return OMIError(ErrorType.UNRECOVERABLE, str(error))
