"""The one table from pfserver's errors to the numbers of this dialect."""

from __future__ import annotations

from collections.abc import Mapping

from pfserver import errors
from pfserver.numbers import Number
from pfserver.wire.pageflex import PacketError

NUMBERS: Mapping[type[errors.PFServerError], Number] = {
    errors.MissingVariable: Number.MISSING_VARIABLE,
    errors.BadVariable: Number.BAD_VARIABLE,
    errors.UnknownCommand: Number.UNKNOWN_COMMAND,
    errors.NotAllowed: Number.NOT_ALLOWED,
    errors.NotSupported: Number.NOT_SUPPORTED,
    errors.OutsideRoot: Number.OUTSIDE_ROOT,
    errors.NoSuchProject: Number.NO_SUCH_PROJECT,
    errors.NoSuchProjectJob: Number.NO_SUCH_JOB,
    errors.BadProject: Number.BAD_PROJECT,
    errors.NoSuchQueue: Number.NO_SUCH_QUEUE,
    errors.NoSuchJob: Number.NO_SUCH_TRANSACTION,
    errors.WrongState: Number.WRONG_STATE,
    errors.StoreUnavailable: Number.STORE_UNAVAILABLE,
    errors.OutputUnavailable: Number.STORE_UNAVAILABLE,
    errors.ServerStopping: Number.STOPPING,
    errors.ServerBusy: Number.BUSY,
}


def number_of(error: errors.PFServerError) -> Number:
    """The number that answers a packet for an error; a packet's own errors carry theirs."""
    if isinstance(error, PacketError):
        return error.number
    for kind in type(error).__mro__:
        if kind in NUMBERS:
            return NUMBERS[kind]
    return Number.INTERNAL
