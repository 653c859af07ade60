"""The connections that a front end has open, and how it closes them all."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Generic, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime


class Closable(Hashable, Protocol):
    """A connection."""

    def close(self) -> None:
        """Close when all is written."""

    def abort(self) -> None:
        """Close now."""


T = TypeVar("T", bound=Closable)


class Connections(Generic[T]):
    """Those that are open.

    :param linger: seconds in which what was written may be read when all are closed.
    """

    def __init__(self, clock: IReactorTime, linger: float) -> None:
        self._clock = clock
        self._linger = linger
        self._open: set[T] = set()
        self._none_left: Deferred[None] | None = None

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[T]:
        return iter(tuple(self._open))

    def add(self, connection: T) -> None:
        """It is open."""
        self._open.add(connection)

    def discard(self, connection: T) -> None:
        """It is gone."""
        self._open.discard(connection)
        if not self._open and self._none_left is not None:
            none_left, self._none_left = self._none_left, None
            none_left.callback(None)

    async def close_all(self) -> None:
        """Close all, and abort those that are not gone in time; returns when none is left."""
        if not self._open:
            return
        done = self._none_left = Deferred()
        timer = self._clock.callLater(self._linger, self._abort_all)
        for connection in self:
            connection.close()
        await done
        if timer.active():
            timer.cancel()

    def _abort_all(self) -> None:
        for connection in self:
            connection.abort()
