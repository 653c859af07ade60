"""What can be wrong with bytes."""

from __future__ import annotations

from pfserver.errors import PFServerError
from pfserver.numbers import Number


class PacketError(PFServerError):
    """A client's bytes are no packet; ``number`` answers them."""

    def __init__(self, number: Number, text: str) -> None:
        super().__init__(text)
        self.number = number


class LineError(PFServerError):
    """A server's bytes are no reply or monitor line."""
