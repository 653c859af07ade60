"""Requests and replies that begin and end a session (OMI: connect, status, disconnect)."""

from __future__ import annotations

from typing import ClassVar

from attrs import field, frozen

from pfserver.wire.omi.layout import LI, LS, NUMBERS, RANGE, SI, SS, Laid, Range
from pfserver.wire.omi.numbers import Operation

_LENGTHS = "value", "subscript", "reference", "message", "outstanding"


@frozen(kw_only=True)
class Connect(Laid):
    """The first request of a session."""

    operation: ClassVar = Operation.CONNECT
    layout: ClassVar = (
        *(("major", SI), ("minor", SI)),
        *[(name, RANGE) for name in _LENGTHS],
        *(("eight_bit", SI), ("translation", SI)),
        *[(name, SS) for name in ("implementation", "agent", "password", "server")],
        ("extensions", NUMBERS),
    )

    major: int
    minor: int = 0
    value: Range = field(default=Range(1, 32_767))
    subscript: Range = field(default=Range(1, 255))
    reference: Range = field(default=Range(1, 1_024))
    message: Range = field(default=Range(1_024, 65_535))
    outstanding: Range = field(default=Range(1, 1))
    eight_bit: int = 1
    translation: int = 0
    implementation: bytes = b""
    agent: bytes = b""
    password: bytes = field(default=b"", repr=False)
    server: bytes = b""
    extensions: tuple[int, ...] = ()


@frozen(kw_only=True)
class Connected(Laid):
    """The reply: one number for each range, and the extensions that both sides know."""

    layout: ClassVar = (
        *(("major", SI), ("minor", SI)),
        *[(name, LI) for name in _LENGTHS],
        *(("eight_bit", SI), ("translation", SI)),
        *[(name, SS) for name in ("implementation", "server", "password")],
        ("extensions", NUMBERS),
    )

    major: int
    minor: int = 0
    value: int
    subscript: int
    reference: int
    message: int
    outstanding: int = 1
    eight_bit: int = 1
    translation: int = 0
    implementation: bytes = b""
    server: bytes = b""
    password: bytes = field(default=b"", repr=False)
    extensions: tuple[int, ...] = ()


@frozen
class Status(Laid):
    """Asks for nothing but the response's header."""

    operation: ClassVar = Operation.STATUS


@frozen
class Disconnect(Laid):
    """Ends the session."""

    operation: ClassVar = Operation.DISCONNECT
    layout: ClassVar = (("reason", LS),)

    reason: bytes = b""
