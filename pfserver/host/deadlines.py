"""One timer for very many time-outs of the same length: to begin one and to end it costs as much as a dict's entry."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

T = TypeVar("T", bound=Hashable)


class Deadlines(Generic[T]):
    """What has so many seconds, and what happens to each that has not been discarded by then.

    :param seconds: the time that each has from when it was added.
    :param due: called with each whose time is over; it is known no more then. What it raises is logged.
    """

    log = Logger()

    def __init__(self, clock: IReactorTime, seconds: float, due: Callable[[T], None]) -> None:
        self._clock = clock
        self._seconds = seconds
        self._due = due
        # In the order of their ends, since all have the same time.
        self._ends: dict[T, float] = {}
        self._timer: IDelayedCall | None = None

    def add(self, item: T) -> None:
        """Its time begins now."""
        self._ends.pop(item, None)
        self._ends[item] = self._clock.seconds() + self._seconds
        if self._timer is None:
            self._timer = self._clock.callLater(self._seconds, self._look)

    def discard(self, item: T) -> None:
        """It has no deadline any more, if it had one."""
        self._ends.pop(item, None)

    def stop(self) -> None:
        """Forget all of them."""
        self._ends.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        over = []
        for item, end in self._ends.items():
            if end > now:
                self._timer = self._clock.callLater(end - now, self._look)
                break
            over.append(item)
        for item in over:
            if self._ends.pop(item, None) is not None:
                try:
                    self._due(item)
                except Exception:  # noqa: BLE001 - one's fault must not keep the others for ever
                    self.log.failure("deadline.broken")
