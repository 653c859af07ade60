"""What can be wrong with bytes on an OMI circuit."""

from __future__ import annotations

from collections.abc import Sequence

from pfserver.errors import PFServerError
from pfserver.wire.omi.numbers import ERROR_TEXTS, ErrorType


class OMIError(PFServerError):
    """One request cannot be carried out; ``type`` and ``modifier`` go into the response's header (class 1)."""

    def __init__(self, type: ErrorType | int, text: str = "", modifier: int = 0) -> None:
        super().__init__(text or ERROR_TEXTS.get(type, "error") + f" ({int(type)})")
        self.type = int(type)
        self.modifier = modifier


class FormatError(OMIError):
    """The fields of a message are not those that they should be: too short, too long, or of a wrong length."""

    def __init__(self, text: str, type: ErrorType = ErrorType.MESSAGE_FORMAT) -> None:
        super().__init__(type, text)


class CircuitError(PFServerError):
    """The bytes cannot be followed any more: the circuit has to end. ``before`` are the messages before that."""

    def __init__(self, text: str, before: Sequence[bytes] = ()) -> None:
        super().__init__(text)
        self.before = before
