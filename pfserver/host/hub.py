"""Many sockets that the reactor need not look after one by one.

A reactor spends more on telling a protocol that there is something to read (its logging context, its lists) than the
protocol on a small request. A hub waits for its sockets with a poller of its own, which the reactor sees as one
descriptor, reads them in one turn and writes the replies that are known at once. All else stays with their transports.

All is read, then all is answered, then all replies are written: each of these steps is quicker in a row, with its code
and data in the processor's caches, than in turns with the others.

Whoever is answered often asks for more at once, in less time and work than a processor needs to fall asleep and to wake
up again. So a hub looks again for some microseconds before it gives the turn back, as long as that pays, and unless the
reactor has to call.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import perf_counter
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.main import CONNECTION_LOST
from twisted.internet.tcp import Connection
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

#: Bytes that are read from a socket at once; first so many, for which Python has room at hand (512, with the object's
#: own): nearly all requests are shorter.
READ_BYTES, SHORT = 65_536, 478

#: Sockets that are read before what they asked is answered.
AT_ONCE = 256

#: Seconds after which a turn of the reactor ends, whoever has more to ask; the others' comes next.
TURN = 0.008

#: How often is looked again before the turn is given back; each look costs some 0.3 microseconds, and a peer that
#: sleeps until it has its reply needs up to 60 microseconds to ask again.
LOOKS = 256

#: Turns without a second look, after some that were in vain, until one is tried again.
REST = 64

#: Seconds that looking takes about: nothing that the reactor has to call may wait for it.
_MOMENT = 0.0001

#: The usual event, and what is waited for: what comes anew, and the end. What is there all the time is told once.
_READABLE = int(select.EPOLLIN)
_EVENTS = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET

#: What is done with bytes that were read; gives the reply, if it is known already.
Received = Callable[[bytes], bytes | None]

#: What is called for a socket: to read, with what was read, to write, with what was not written; and its transport. In
#: a plain tuple, which Python takes apart soonest.
_Circuit = tuple[Callable[[int], bytes], Received, Callable[[bytes], int], Callable[[bytes], object], Connection]


@implementer(IReadDescriptor)
class ReadHub:
    """Reads sockets for their protocols, and writes what these answer at once."""

    log = Logger()

    def __init__(self) -> None:
        self._reactor: Any = None
        self._poller: Any = None
        self._circuits: dict[int, _Circuit] = {}
        self._descriptors: dict[Connection, int] = {}
        # Looking does no good where the one who is to ask waits for the same processor.
        self._most = LOOKS if len(os.sched_getaffinity(0)) > 1 else 0
        self._looks = self._most
        self._rest = 0

    def add(self, connection: Connection, received: Received, unsent: Callable[[bytes], object]) -> None:
        """Read for it, instead of its reactor.

        :param received: called with what is read, which may have been read before it was discarded. Its reply is
            written when all is read that was ready, so that a peer with many circuits is woken once for all replies.
        :param unsent: called with what the socket did not take of a reply.
        """
        if self._poller is None:
            self._poller = select.epoll()
            self._reactor = connection.reactor
            self._reactor.addReader(self)
        connection.stopReading()
        descriptor = connection.fileno()
        self._poller.register(descriptor, _EVENTS)
        handle = connection.socket
        self._circuits[descriptor] = handle.recv, received, handle.send, unsent, connection
        self._descriptors[connection] = descriptor

    def discard(self, connection: Connection) -> None:
        """Read no more for it; nobody does then. It may be closed already, but only in this turn of the reactor.

        What was read in this turn is still told.
        """
        descriptor = self._descriptors.pop(connection, None)
        if descriptor is None:
            return
        del self._circuits[descriptor]
        with suppress(OSError):
            self._poller.unregister(descriptor)
        if not self._circuits:
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
        """Read what there is, and what comes meanwhile."""
        end = perf_counter() + TURN
        ready = self._poller.poll(0, AT_ONCE)
        while ready:
            for circuit, reply in self._answers(self._read(ready)):
                send = circuit[2]
                # As write_at_once does it, but for what is bound already: a twentieth of what a request costs.
                try:
                    sent = send(reply)
                except OSError:
                    # There is no room for more, or the circuit is lost: its transport will find that, too.
                    sent = 0
                if sent < len(reply):
                    self._left_over(circuit, reply[sent:])
            if self._poller is None or perf_counter() > end:
                return
            ready = self._poller.poll(0, AT_ONCE) or self._look_again()

    def _read(self, ready: Sequence[tuple[int, int]]) -> list[tuple[_Circuit, bytes]]:
        """What is there, at most so much of each."""
        circuits = self._circuits
        all_read = []
        for descriptor, events in ready:
            circuit = circuits.get(descriptor)
            if circuit is None:
                continue  # discarded since
            receive = circuit[0]
            try:
                data = receive(SHORT)
                if len(data) == SHORT:
                    data += _rest(receive)
            except BlockingIOError:
                continue
            except OSError:
                self._lost(circuit[-1])
                continue
            if not data:
                self._ends(circuit[-1])
                continue
            all_read.append((circuit, data))
            if events != _READABLE or len(data) >= READ_BYTES:
                # Only what comes anew is told without being asked for. (Who sends urgent data has it read up to there,
                # and the rest with the next bytes.)
                self._poller.modify(descriptor, _EVENTS)
        return all_read

    def _answers(self, all_read: list[tuple[_Circuit, bytes]]) -> list[tuple[_Circuit, bytes]]:
        """The replies to what was read."""
        replies = []
        for circuit, data in all_read:
            received = circuit[1]
            try:
                reply = received(data)
            except Exception:  # noqa: BLE001 - one protocol's fault must not end the others' reading
                self._broken(circuit[-1])
                continue
            if reply is not None:
                replies.append((circuit, reply))
        return replies

    def _ends(self, connection: Connection) -> None:
        """No more will come: its reactor finds the same and ends it in its own way."""
        self.discard(connection)
        connection.startReading()

    def _lost(self, connection: Connection) -> None:
        self.discard(connection)
        try:
            connection.connectionLost(Failure(CONNECTION_LOST))
        except Exception:  # noqa: BLE001 - the others were read already, and have to be answered
            self.log.failure("connection.broken")

    def _left_over(self, circuit: _Circuit, data: bytes) -> None:
        """What a socket did not take is its protocol's to keep."""
        unsent = circuit[3]
        try:
            unsent(data)
        except Exception:  # noqa: BLE001 - the others wait for their replies
            self._broken(circuit[-1])

    def _broken(self, connection: Connection) -> None:
        """A fault of its protocol."""
        self.log.failure("connection.broken")
        self.discard(connection)
        connection.abortConnection()

    def _look_again(self) -> Sequence[tuple[int, int]]:
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
            ready: Sequence[tuple[int, int]] = poll(0, AT_ONCE)
            if ready:
                self._looks = self._most
                return ready
        self._looks //= 2
        self._rest = REST
        return ()


def _rest(receive: Callable[[int], bytes]) -> bytes:
    """What follows a beginning; an end or a failure is told with the next event."""
    try:
        return receive(READ_BYTES)
    except OSError:
        return b""
