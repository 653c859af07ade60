"""The frames of tests/vectors/omi/frames.txt: name, request, response (None where it is negotiated)."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen

_FILE = Path(__file__).parents[2] / "vectors" / "omi" / "frames.txt"


@frozen
class Vector:
    name: str
    request: bytes
    response: bytes | None

    @property
    def is_connect(self) -> bool:
        """Connect is never a bunch."""
        return self.name.startswith("connect")


def sessions() -> list[list[Vector]]:
    """The vectors by session: each begins with its connect."""
    found: list[list[Vector]] = []
    for line in _FILE.read_text(encoding="utf-8").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        name, request, response = [part.strip() for part in line.split("|")][:3]
        vector = Vector(name, bytes.fromhex(request), None if response == "-" else bytes.fromhex(response))
        if vector.is_connect:
            found.append([])
        found[-1].append(vector)
    return found


def session_of(name: str) -> list[Vector]:
    """The session that begins with the connect of that name."""
    return next(session for session in sessions() if session[0].name == name)
