"""How long to wait before asking again: longer each time, never two factories in step."""

from __future__ import annotations

from collections.abc import Callable


class Pauses:
    """Growing pauses.

    :param first: seconds of the first one.
    :param longest: seconds of the longest.
    :param random: gives numbers from 0 to 1; a fifth of each pause is left to chance.
    """

    def __init__(self, first: float, longest: float, random: Callable[[], float]) -> None:
        self._first = min(first, longest)
        self._longest = longest
        self._random = random
        self._next = self._first

    def next(self) -> float:
        """The seconds to wait now."""
        pause, self._next = self._next, min(self._longest, self._next * 2)
        return pause * (0.8 + 0.2 * self._random())

    def reset(self) -> None:
        """It went well: begin with the shortest one again."""
        self._next = self._first
