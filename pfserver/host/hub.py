"""Many sockets that the reactor need not look after one by one.

A reactor spends more on telling a protocol that there is something to read (its logging context, its lists) than the
protocol on a small request. A hub waits for its sockets with a poller of its own, which the reactor sees as one
descriptor, and reads them in one turn. All but reading stays with their transports.

Whoever is answered often asks for more at once, sooner than a processor falls asleep and wakes up again. So a hub looks
again for some microseconds before it gives the turn back, as long as that pays, and unless the reactor has to call.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.main import CONNECTION_LOST
from twisted.internet.tcp import Connection
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

#: Bytes that are read from a socket at once.
READ_BYTES = 65_536

#: Reads in one turn of the reactor at most; the others' turn comes next.
AT_ONCE = 256

#: How often is looked again before the turn is given back; each look costs about a microsecond.
LOOKS = 64

#: Turns without a second look, after some that were in vain, until one is tried again.
REST = 64

#: Seconds that looking takes about: nothing that the reactor has to call may wait for it.
_MOMENT = 0.0001


@implementer(IReadDescriptor)
class ReadHub:
    """Reads sockets for their protocols."""

    log = Logger()

    def __init__(self) -> None:
        self._reactor: Any = None
        self._poller: Any = None
        self._connections: dict[int, tuple[Callable[[int], bytes], Callable[[bytes], object], Connection]] = {}
        self._descriptors: dict[Connection, int] = {}
        # What is to be written at the end of this turn's reads; None between turns.
        self._outbox: list[tuple[Callable[[bytes], object], bytes]] | None = None
        # Looking does no good where the one who is to ask waits for the same processor.
        self._most = LOOKS if len(os.sched_getaffinity(0)) > 1 else 0
        self._looks = self._most
        self._rest = 0

    def add(self, connection: Connection) -> None:
        """Read for it, instead of its reactor."""
        if self._poller is None:
            self._poller = select.epoll()
            self._reactor = connection.reactor
            self._reactor.addReader(self)
        connection.stopReading()
        descriptor = connection.fileno()
        self._poller.register(descriptor, select.EPOLLIN)
        self._connections[descriptor] = connection.socket.recv, connection.protocol.dataReceived, connection
        self._descriptors[connection] = descriptor

    def discard(self, connection: Connection) -> None:
        """Read no more for it; nobody does then. It may be closed already, but only in this turn of the reactor."""
        descriptor = self._descriptors.pop(connection, None)
        if descriptor is None:
            return
        del self._connections[descriptor]
        with suppress(OSError):
            self._poller.unregister(descriptor)
        if not self._connections:
            self._reactor.removeReader(self)
            self._poller.close()
            self._poller = None

    def write(self, write: Callable[[bytes], object], data: bytes) -> None:
        """Call ``write`` when all is read that was ready: a peer with many circuits is woken once for all replies."""
        if self._outbox is None:
            write(data)
        else:
            self._outbox.append((write, data))

    # -- IReadDescriptor --------

    def fileno(self) -> int:
        """The poller's descriptor."""
        return self._poller.fileno() if self._poller is not None else -1

    def logPrefix(self) -> str:
        """For the reactor's log context."""
        return "-"

    def connectionLost(self, reason: Failure) -> None:
        """The reactor ends; the transports hear it themselves."""

    def doRead(self) -> None:
        """Read what there is, and what comes meanwhile."""
        left = AT_ONCE
        ready = self._poller.poll(0, left)
        while ready:
            outbox: list[tuple[Callable[[bytes], object], bytes]] = []
            self._outbox = outbox
            for descriptor, _ in ready:
                self._read(descriptor)
            self._outbox = None
            for write, data in outbox:
                write(data)
            left -= len(ready)
            if left <= 0 or self._poller is None:
                return
            ready = self._poller.poll(0, left) or self._look_again(left)

    def _read(self, descriptor: int) -> None:
        found = self._connections.get(descriptor)
        if found is None:
            return  # discarded in this turn
        receive, received, connection = found
        try:
            data = receive(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self.discard(connection)
            connection.connectionLost(Failure(CONNECTION_LOST))
            return
        if not data:
            # Its reactor finds the same and ends it in its own way.
            self.discard(connection)
            connection.startReading()
            return
        try:
            received(data)
        except Exception:  # noqa: BLE001 - one protocol's fault must not end the others' reading
            self.log.failure("connection.broken")
            self.discard(connection)
            connection.abortConnection()

    def _look_again(self, left: int) -> Sequence[tuple[int, int]]:
        """What is there within a moment."""
        if not self._looks:
            self._rest -= 1
            if self._rest <= 0:
                self._looks = self._most
            return ()
        reactor = self._reactor
        pause = reactor.timeout()
        if reactor.threadCallQueue or (pause is not None and pause < _MOMENT):
            return ()
        poll = self._poller.poll
        for _ in range(self._looks):
            ready: Sequence[tuple[int, int]] = poll(0, left)
            if ready:
                self._looks = self._most
                return ready
        self._looks //= 2
        self._rest = REST
        return ()
