"""Many sockets that the reactor need not look after one by one.

A reactor spends more on telling a protocol that there is something to read (its logging context, its lists) than the
protocol on a small request. A hub waits for its sockets with a poller of its own, which the reactor sees as one
descriptor, and reads them in one turn. All but reading stays with their transports.
"""

from __future__ import annotations

import select
from collections.abc import Callable
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

#: Sockets that are read in one turn of the reactor at most; the others' turn comes next.
AT_ONCE = 256


@implementer(IReadDescriptor)
class ReadHub:
    """Reads sockets for their protocols."""

    log = Logger()

    def __init__(self) -> None:
        self._reactor: Any = None
        self._poller: Any = None
        self._connections: dict[int, tuple[Callable[[int], bytes], Connection]] = {}
        self._descriptors: dict[Connection, int] = {}

    def add(self, connection: Connection) -> None:
        """Read for it, instead of its reactor."""
        if self._poller is None:
            self._poller = select.epoll()
            self._reactor = connection.reactor
            self._reactor.addReader(self)
        connection.stopReading()
        descriptor = connection.fileno()
        self._poller.register(descriptor, select.EPOLLIN)
        self._connections[descriptor] = connection.socket.recv, connection
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
        """Read what there is."""
        for descriptor, _ in self._poller.poll(0, AT_ONCE):
            # It may have been discarded in this turn.
            if descriptor not in self._connections:
                continue
            receive, connection = self._connections[descriptor]
            try:
                data = receive(READ_BYTES)
            except BlockingIOError:
                continue
            except OSError:
                self.discard(connection)
                connection.connectionLost(Failure(CONNECTION_LOST))
                continue
            if not data:
                # Its reactor finds the same and ends it in its own way.
                self.discard(connection)
                connection.startReading()
                continue
            try:
                connection.protocol.dataReceived(data)
            except Exception:  # noqa: BLE001 - one protocol's fault must not end the others' reading
                self.log.failure("connection.broken")
                self.discard(connection)
                connection.abortConnection()
