"""A running M program: a process group whose output goes into a file."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

#: Seconds that a program gets to end by itself: M gives its database back on SIGTERM, and after SIGKILL it cannot.
GRACE = 5.0

#: The process makes a group of its own, then becomes the program.
_LEADER = "import os, sys; os.setsid(); os.execv(sys.argv[1], sys.argv[1:])"

#: Bytes of the end of the output that are kept at hand: an error is told there.
_TAIL = 4096


@frozen(kw_only=True)
class Ended:
    """How a program ended."""

    code: int | None
    """The exit code; None where a signal ended it."""
    tail: bytes
    """The last of its output."""
    size: int
    is_too_long: bool
    """Whether it was ended since it wrote more than it may."""


class MProcess(ProcessProtocol):
    """Starts a program at once.

    :param output: what it prints goes here, standard error as well.
    :param limit: bytes of output after which it is ended.
    """

    def __init__(
        self,
        reactor: Any,
        command: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        output: BinaryIO,
        limit: int,
    ) -> None:
        self.ended: Deferred[Ended] = Deferred()
        self.error: OSError | None = None
        """Why its output could not be kept."""
        self._reactor = reactor
        self._output = output
        self._limit = limit
        self._size = 0
        self._tail = b""
        self._is_too_long = False
        self._killing: IDelayedCall | None = None
        self._leaving: IDelayedCall | None = None
        arguments = [sys.executable, "-I", "-S", "-c", _LEADER, *command]
        self._process = reactor.spawnProcess(
            self,
            sys.executable,
            arguments,
            env=dict(environment),
            path=str(folder),
            childFDs={0: "w", 1: "r", 2: "r"},
        )
        self._group: int = self._process.pid

    def connectionMade(self) -> None:
        """Nobody types: its standard input is at its end."""
        assert self.transport is not None
        self.transport.closeChildFD(0)

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """What it prints."""
        if self._is_too_long or self.error is not None:
            return
        if self._size + len(data) > self._limit:
            data = data[: self._limit - self._size]
            self._is_too_long = True
            self.stop()
        self._size += len(data)
        self._tail = (self._tail + data)[-_TAIL:]
        try:
            self._output.write(data)
        except OSError as error:
            self.error = error
            self.stop()

    def stop(self) -> None:
        """Ask the group to end, and end it after a while."""
        if self._killing is None and not self.ended.called:
            self._signal(signal.SIGTERM)
            self._killing = self._reactor.callLater(GRACE, self._kill)

    def processExited(self, reason: Failure) -> None:
        """It is gone; what it left behind in its group has a while to pass on what it still has, then it goes, too."""
        self._leaving = self._reactor.callLater(GRACE, self.stop)

    def processEnded(self, reason: Failure) -> None:
        """Nobody holds its output any more, and all of it was read; what hid from that in its group goes at once."""
        for timer in (self._leaving, self._killing):
            if timer is not None and timer.active():
                timer.cancel()
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._group, signal.SIGKILL)
        code = 0 if reason.check(ProcessDone) else getattr(reason.value, "exitCode", None)
        self.ended.callback(Ended(code=code, tail=self._tail, size=self._size, is_too_long=self._is_too_long))

    def _kill(self) -> None:
        self._signal(signal.SIGKILL)
        # Whoever left the group lives on, but not as what the job waits for.
        assert self.transport is not None
        self.transport.loseConnection()

    def _signal(self, number: int) -> None:
        try:
            os.killpg(self._group, number)
        except (ProcessLookupError, PermissionError):
            # It has no group yet: it is alone. Or it is gone already.
            with suppress(ProcessExitedAlready):
                self._process.signalProcess(number)
