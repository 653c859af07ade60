"""Globals as a plain dictionary, sorted by M's collation as Python's numbers and bytes have it."""

from __future__ import annotations

import re
from decimal import Decimal
from functools import total_ordering

_CANONICAL = re.compile(rb"-?([1-9][0-9]*(\.[0-9]*[1-9])?|\.[0-9]*[1-9])|0")


def number_of(subscript: bytes) -> Decimal | None:
    """The number that a subscript is to M, or None."""
    if not _CANONICAL.fullmatch(subscript):
        return None
    number = Decimal(subscript.decode())
    digits = subscript.strip(b"-").replace(b".", b"").strip(b"0")
    if len(digits) > 18 or (number and not -43 <= number.adjusted() <= 46):
        return None
    return number


@total_ordering
class Collated:
    """A subscript that compares as M collates."""

    def __init__(self, subscript: bytes) -> None:
        self.subscript = subscript
        number = number_of(subscript)
        self.order = (0, number, b"") if number is not None else (1, Decimal(0), subscript)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Collated) and self.order == other.order

    def __lt__(self, other: Collated) -> bool:
        return self.order < other.order


def collated(subscripts: tuple[bytes, ...]) -> tuple[Collated, ...]:
    """Subscripts that compare as M walks them."""
    return tuple(Collated(one) for one in subscripts)


Path = tuple[bytes, bytes, tuple[bytes, ...]]


class Model:
    """Nodes by environment, name and subscripts; the same operations as the store's."""

    def __init__(self) -> None:
        self.nodes: dict[Path, bytes] = {}

    def set(self, path: Path, value: bytes) -> None:
        self.nodes[path] = value

    def kill(self, path: Path) -> None:
        environment, name, subscripts = path
        for one in [one for one in self.nodes if one[:2] == (environment, name)]:
            if one[2][: len(subscripts)] == subscripts:
                del self.nodes[one]

    def get(self, path: Path) -> bytes | None:
        return self.nodes.get(path)

    def define(self, path: Path) -> int:
        environment, name, subscripts = path
        below = any(
            one[:2] == (environment, name) and len(one[2]) > len(subscripts) and one[2][: len(subscripts)] == subscripts
            for one in self.nodes
        )
        return int(path in self.nodes) + 10 * int(below)

    def order(self, path: Path, reverse: bool) -> bytes:
        environment, name, subscripts = path
        if not subscripts:
            names = sorted({one[1] for one in self.nodes if one[0] == environment}, reverse=reverse)
            return next((one for one in names if (one < name if reverse else one > name)), b"")
        level, start = subscripts[:-1], subscripts[-1]
        siblings = {
            one[2][len(level)]
            for one in self.nodes
            if one[:2] == (environment, name) and len(one[2]) > len(level) and one[2][: len(level)] == level
        }
        ordered = sorted(map(Collated, siblings), reverse=reverse)
        here = Collated(start)
        return next(
            (one.subscript for one in ordered if not start or (one < here if reverse else one > here)),
            b"",
        )

    def query(self, path: Path, reverse: bool) -> tuple[bytes, ...] | None:
        environment, name, subscripts = path
        nodes = sorted([one[2] for one in self.nodes if one[:2] == (environment, name)], key=collated, reverse=reverse)
        if subscripts and not subscripts[-1]:
            level = subscripts[:-1]
            # The start stands before all below the level; reversed, behind all of them.
            if reverse:
                return next((one for one in nodes if collated(one[: len(level)]) <= collated(level)), None)
            return next((one for one in nodes if collated(one) > collated(level)), None)
        here = collated(subscripts)
        return next((one for one in nodes if (collated(one) < here if reverse else collated(one) > here)), None)
