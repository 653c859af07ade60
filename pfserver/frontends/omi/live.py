"""Globals that are not stored: a tree that answers from what the server knows, walked node by node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pfserver.frontends.omi.limits import Limits
from pfserver.wire.omi import ErrorType, FormatError, OMIError, Operation, Reference
from pfserver.wire.omi.fields import li, ls, si, ss

Path = tuple[bytes, ...]


class Tree(Protocol):
    """What a live global has to know; it never has to list all it has."""

    async def value(self, path: Path) -> bytes | None:
        """The value of a node, None where it has none."""

    async def step(self, path: Path, after: bytes, reverse: bool) -> bytes:
        """The child of ``path`` that follows ``after`` (reversed: precedes it), ``b""`` at the end.

        An empty ``after`` stands before the first child, or reversed behind the last one.
        """


class LiveGlobal:
    """The fetch operations on a tree."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    async def define(self, path: Path) -> int:
        """$Data."""
        value = await self._tree.value(path)
        below = await self._tree.step(path, b"", False)
        return (value is not None) + (10 if below else 0)

    async def get(self, path: Path) -> bytes | None:
        """The value."""
        return await self._tree.value(path)

    async def order(self, path: Path, reverse: bool = False) -> bytes:
        """$Order."""
        return await self._tree.step(path[:-1], path[-1], reverse)

    async def query(self, path: Path) -> Path | None:
        """$Query."""
        if path and not path[-1]:
            path = path[:-1]
        found = await self._first_child(path) or await self._next_beside(path)
        while found is not None and await self._tree.value(found) is None:
            found = await self._first_child(found) or await self._next_beside(found)
        return found

    async def reverse_query(self, path: Path) -> Path | None:
        """$Query(…, -1)."""
        while path:
            before = await self._tree.step(path[:-1], path[-1], True)
            path = await self._last_below((*path[:-1], before)) if before else path[:-1]
            if await self._tree.value(path) is not None:
                return path
        return None

    async def _first_child(self, path: Path) -> Path | None:
        child = await self._tree.step(path, b"", False)
        return (*path, child) if child else None

    async def _next_beside(self, path: Path) -> Path | None:
        while path:
            following = await self._tree.step(path[:-1], path[-1], False)
            if following:
                return (*path[:-1], following)
            path = path[:-1]
        return None

    async def _last_below(self, path: Path) -> Path:
        while child := await self._tree.step(path, b"", True):
            path = (*path, child)
        return path


async def answer(operation: int, reference: Reference, tree: Tree, *, limits: Limits, wide: bool) -> bytes:
    """The fields of the reply to a fetch operation on a live global.

    :param limits: as agreed. A longer value is cut, as it is told and not kept; a longer subscript or reference is an
        error, since it could not be asked for.
    :param wide: whether get, define and order tell more (extension 3 in version 1).
    """
    live, path, most = LiveGlobal(tree), reference.subscripts, limits.value
    if operation in (Operation.ORDER, Operation.NEXT, Operation.REVERSE_ORDER) and not path:
        raise OMIError(ErrorType.REFERENCE_CONTENT, "a live global has no place among the names")
    if operation in (Operation.QUERY, Operation.REVERSE_QUERY):
        found = await (live.query(path) if operation == Operation.QUERY else live.reverse_query(path))
        if found is None:
            return ls(b"")
        there = Reference(reference.environment, reference.name, found)
        limits.check(there)
        return ls(there.pack())
    if operation == Operation.REVERSE_ORDER:
        return _short(await live.order(path, True), limits)
    if operation in (Operation.ORDER, Operation.NEXT):
        following = await live.order(path)
        if operation == Operation.NEXT:
            return _short(following, limits) if following else ss(b"-1")
        return _short(following, limits) + (await _node(live, (*path[:-1], following), most) if wide else b"")
    if wide:
        following = await live.order(path) if path else b""
        return _short(following, limits) + await _node(live, path, most)
    if operation == Operation.DEFINE:
        return si(await live.define(path))
    if operation == Operation.GET:
        return _value(await live.get(path), most)
    raise FormatError("not a fetch operation")


async def _node(live: LiveGlobal, path: Path, most: int) -> bytes:
    if not path[-1:] or not path[-1]:
        return si(0) + _value(None, most)
    return si(await live.define(path)) + _value(await live.get(path), most)


def _short(subscript: bytes, limits: Limits) -> bytes:
    if len(subscript) > limits.subscript:
        raise OMIError(ErrorType.REFERENCE_TOO_LONG)
    return ss(subscript)


def _value(value: bytes | None, most: int) -> bytes:
    if value is None:
        return si(0) + li(0)
    return si(1) + ls(value[:most])


def step_in(children: Sequence[bytes], after: bytes, reverse: bool) -> bytes:
    """:meth:`Tree.step` for children that are a few sorted names, none of them a number."""
    if reverse:
        return next((one for one in reversed(children) if not after or _key(one) < _key(after)), b"")
    return next((one for one in children if not after or _key(one) > _key(after)), b"")


def _key(subscript: bytes) -> tuple[bool, bytes]:
    """Numbers stand before all names; among themselves they do not matter here."""
    return number_of(subscript) is None, subscript


def number_of(subscript: bytes) -> float | None:
    """The number that a canonical subscript is, else None. Whole numbers up to 2**53 are exact."""
    digits = subscript.removeprefix(b"-")
    whole, point, fraction = digits.partition(b".")
    if not (whole + fraction).isdigit() or (whole[:1] == b"0" and (whole != b"0" or point)):
        return None
    if (point and (not fraction or fraction[-1:] == b"0")) or subscript == b"-0":
        return None
    return float(subscript)


def step_in_numbers(last: int, after: bytes, reverse: bool) -> bytes:
    """:meth:`Tree.step` for children that are the numbers from 1 to ``last``."""
    number = number_of(after)
    if after and number is None:
        # A name: it stands behind all numbers.
        found = last if reverse else 0
    elif number is None:
        found = last if reverse else 1
    elif reverse:
        found = min(last, -int(-number // 1) - 1)
    else:
        found = max(1, int(number // 1) + 1)
    return b"%d" % found if 1 <= found <= last else b""
