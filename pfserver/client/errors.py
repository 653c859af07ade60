"""What a client raises."""

from __future__ import annotations

from pfserver.errors import PFServerError


class ServerRefused(PFServerError):
    """The server answered with an error; ``number`` and ``text`` are its own."""

    def __init__(self, number: int, text: str) -> None:
        super().__init__(f"{text} ({number})")
        self.number = number
        self.text = text


class NoServer(PFServerError):
    """Nobody answers at the address, or not in this protocol."""
