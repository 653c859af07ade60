"""Strings of bytes in their order, however many they are."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import islice
from operator import itemgetter

#: A block of more keys than this is halved: moving so many pointers costs less than finding the place among them.
BLOCK = 1_000

_last = itemgetter(-1)

#: The number of a block, and of a key in it.
Place = tuple[int, int]


class SortedKeys:
    """Keys in order, each once, in blocks: to add, remove, count or find the nth never moves or visits all of them.

    A place is good until the next change.
    """

    __slots__ = ("_blocks",)

    def __init__(self) -> None:
        # None of them is empty.
        self._blocks: list[list[bytes]] = []

    def __len__(self) -> int:
        return sum(map(len, self._blocks))

    def __bool__(self) -> bool:
        return bool(self._blocks)

    def around(self, key: bytes) -> tuple[Place, bytes | None, bytes | None]:
        """The place of a key that is not there, the one before it and the one behind it."""
        place = number, index = self._place(key)
        blocks = self._blocks
        if not blocks:
            return place, None, None
        block = blocks[number]
        before = block[index - 1] if index else blocks[number - 1][-1] if number else None
        # Only behind the last block's end is nothing, see _place.
        return place, before, block[index] if index < len(block) else None

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

    def remove(self, key: bytes) -> None:
        """Take a key, which is there, away."""
        number, index = self._place(key)
        block = self._blocks[number]
        del block[index]
        if not block:
            del self._blocks[number]

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
        blocks = self._blocks
        if len(blocks) > 1:
            # What is greater than all belongs to the last block's end.
            number = bisect_left(blocks, key, 0, len(blocks) - 1, key=_last)
            return number, bisect_left(blocks[number], key)
        return 0, bisect_left(blocks[0], key) if blocks else 0

    def _rank(self, key: bytes) -> int:
        number, index = self._place(key)
        return sum(map(len, self._blocks[:number])) + index
