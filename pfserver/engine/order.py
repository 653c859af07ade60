"""Strings of bytes in their order, however many they are."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import islice

#: A block of more keys than this is halved: moving so many pointers costs less than finding the place among them.
BLOCK = 1_000

#: The number of a block, and of a key in it.
Place = tuple[int, int]


class SortedKeys:
    """Keys in order, each once, in blocks: to add, remove, count or find the nth never moves or visits all of them.

    A place is good until the next change.
    """

    __slots__ = ("_blocks", "_bounds")

    def __init__(self) -> None:
        # None of them is empty.
        self._blocks: list[list[bytes]] = []
        # Between two blocks one that is not less than all in the first, and less than all in the second.
        self._bounds: list[bytes] = []

    def __len__(self) -> int:
        return sum(map(len, self._blocks))

    def __bool__(self) -> bool:
        return bool(self._blocks)

    def around(self, key: bytes) -> tuple[Place, bytes | None, bytes | None]:
        """The place of a key that is not there, the one before it and the one behind it."""
        blocks = self._blocks
        if not blocks:
            return (0, 0), None, None
        number = bisect_left(self._bounds, key)
        block = blocks[number]
        index = bisect_left(block, key)
        before = block[index - 1] if index else blocks[number - 1][-1] if number else None
        if index < len(block):
            return (number, index), before, block[index]
        return (number, index), before, blocks[number + 1][0] if number + 1 < len(blocks) else None

    def kept(self, key: bytes) -> bytes:
        """The key that is there and equal to this one."""
        number, index = self._place(key)
        return self._blocks[number][index]

    def add(self, key: bytes, place: Place | None = None) -> None:
        """Put a key, which is not there yet, to its place, if that is known from ``around``."""
        blocks = self._blocks
        if not blocks:
            blocks.append([key])
            return
        number, index = place or self._place(key)
        block = blocks[number]
        block.insert(index, key)
        if len(block) > BLOCK:
            blocks.insert(number + 1, block[BLOCK // 2 :])
            del block[BLOCK // 2 :]
            self._bounds.insert(number, block[-1])

    def remove(self, key: bytes) -> None:
        """Take a key, which is there, away."""
        number = bisect_left(self._bounds, key)
        block = self._blocks[number]
        del block[bisect_left(block, key)]
        if not block:
            del self._blocks[number]
            if self._bounds:
                # The one behind it, or before it where it was the last.
                del self._bounds[min(number, len(self._bounds) - 1)]

    def count(self, start: bytes, end: bytes) -> int:
        """How many keys are not less than ``start``, but less than ``end``."""
        return self._rank(end) - self._rank(start)

    def walk(self, start: bytes, skipped: int = 0) -> Iterator[bytes]:
        """The keys that are not less than ``start``, in order, without the first ``skipped`` of them."""
        number, index = self._place(start)
        index += skipped
        while number < len(self._blocks) and index >= len(self._blocks[number]):
            index -= len(self._blocks[number])
            number += 1
        for block in self._blocks[number:]:
            yield from islice(block, index, None)
            index = 0

    def _place(self, key: bytes) -> Place:
        """Where a key is, or would be: behind all that are less."""
        number = bisect_left(self._bounds, key)
        return number, bisect_left(self._blocks[number], key) if self._blocks else 0

    def _rank(self, key: bytes) -> int:
        number, index = self._place(key)
        return sum(map(len, self._blocks[:number])) + index
