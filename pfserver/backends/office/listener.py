"""One LibreOffice, as the server sees it: a process group that answers one request after the other."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import Any
from urllib.parse import quote

from attrs import frozen
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from pfserver.errors import PFServerError

#: Bytes of one answer; the longest lists a few thousand names.
ANSWER_LIMIT = 1024 * 1024

#: Seconds in which a fresh LibreOffice has to be ready; a cold disk needs the longer part of it.
START_TIMEOUT = 40.0

#: Seconds that an ended group gets to vanish: the kernel has a few hundred MiB to free. Then between two looks.
GROUP_TIMEOUT, GROUP_INTERVAL = 5.0, 0.01

_WORKER = str(Path(__file__).with_name("unoworker.py"))


class ListenerLost(PFServerError):
    """LibreOffice ended."""


class ListenerNotStarted(ListenerLost):
    """LibreOffice could not be started."""


class ListenerHung(PFServerError):
    """LibreOffice did not answer in time; it was ended."""


@frozen(kw_only=True)
class Launch:
    """How to start one."""

    python: str
    soffice: str
    pdftoppm: str
    profile: Path
    work: Path
    """Holds the folders of all conversions; LibreOffice sees no other documents."""
    confine: bool
    readable: tuple[Path, ...]
    """What it sees besides programs, its profile and ``work``."""
    warm: bool


class Listener(ProcessProtocol):
    """A running worker program (see ``unoworker``) and the LibreOffice that it drives.

    :param on_end: called with this listener once its process is gone.
    :param patience: seconds in which it has to be ready.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        clock: Any,
        launch: Launch,
        on_end: Callable[[Listener], None],
        patience: float = START_TIMEOUT,
    ) -> None:
        self.launch = launch
        self.conversions = 0
        self.memory = 0
        self.confined = False
        """Whether it sees nothing but programs, its profile and its documents."""
        self.last_used = clock.seconds()
        self.alive = True
        self.stopping = False
        self.ready: Deferred[Listener] = Deferred()
        self._ending: list[Deferred[None]] = []
        self._clock = clock
        self._on_end = on_end
        self._buffer = bytearray()
        self._waiting: Deferred[Mapping[str, Any]] | None = None
        self._resting: Deferred[None] | None = None
        self._rested = True
        self._timer: IDelayedCall | None = clock.callLater(patience, self._hung)
        self._timed_out = False
        self._started = False
        self._pipe = f"pfserver-{token_hex(12)}"
        options = {
            "warm": launch.warm,
            "soffice": launch.soffice,
            "pdftoppm": launch.pdftoppm,
            "profile": str(launch.profile),
            "work": str(launch.work),
            "confine": launch.confine,
            "readable": [str(path) for path in launch.readable],
            "pipe": self._pipe,
        }
        # -E -s -B: this server's environment and its virtual one are none of that Python's business.
        arguments = [launch.python, "-E", "-s", "-B", _WORKER, json.dumps(options)]
        self._process = reactor.spawnProcess(self, launch.python, arguments, env=_environment(), childFDs=_pipes())
        self.group: int = self._process.pid
        """The process group's id."""

    def request(self, message: Mapping[str, Any], timeout: float) -> Deferred[Mapping[str, Any]]:
        """Ask for something; one request at a time.

        Fails with ``ListenerLost``, or with ``ListenerHung`` after ``timeout`` seconds; the process is ended then.
        """
        assert self._waiting is None, "one request at a time"
        answer: Deferred[Mapping[str, Any]] = Deferred()
        if not self.alive:
            answer.errback(ListenerLost("LibreOffice is gone"))
            return answer
        self._waiting = answer
        self._rested = message["do"] != "convert"
        self._timer = self._clock.callLater(timeout, self._hung)
        self.last_used = self._clock.seconds()
        self._send(message)
        return answer

    def rest(self, timeout: float) -> Deferred[None]:
        """After the answer to a conversion, wait until the document is closed; fails as :meth:`request` does."""
        if self._rested:
            return succeed(None)
        if not self.alive:
            return fail(ListenerLost("LibreOffice is gone"))
        self._resting = Deferred()
        self._timer = self._clock.callLater(timeout, self._hung)
        return self._resting

    def stop(self) -> Deferred[None]:
        """Ask it to end; fires once it is gone. Ended by force if that takes too long."""
        gone = self.when_ended()
        self.stopping = True
        self._stop_timer()
        if self.alive and self._started and self._waiting is None:
            self._timer = self._clock.callLater(3.0, self.kill)
            self._send({"do": "stop"})
        elif self.alive:
            self.kill()
        return gone

    def _send(self, message: Mapping[str, Any]) -> None:
        try:
            self._process.writeToChild(0, json.dumps(dict(message)).encode("utf-8") + b"\n")
        except KeyError:
            # Its standard input is closed: it has just died, or is about to. Whoever waits hears of it from _gone.
            self.kill()

    def when_ended(self) -> Deferred[None]:
        """Fires once the process is gone; may be asked for any number of times."""
        gone: Deferred[None] = Deferred()
        if self.alive:
            self._ending.append(gone)
        else:
            gone.callback(None)
        return gone

    def kill(self) -> None:
        """End the whole process group now."""
        if not self.alive:
            return  # the number may be somebody else's by now
        try:
            os.killpg(self.group, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            # It has not made its group yet: it is alone. Or it is gone already.
            with suppress(ProcessExitedAlready):
                self._process.signalProcess("KILL")

    # -- ProcessProtocol --------

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """An answer, or what it says to people."""
        if childFD != 1:
            self.log.debug("office.stderr", text=data.decode("utf-8", "replace").strip()[:500])
            return
        self._buffer += data
        while b"\n" in self._buffer:
            line, _, rest = self._buffer.partition(b"\n")
            self._buffer = bytearray(rest)
            self._answered(json.loads(line))
        if len(self._buffer) > ANSWER_LIMIT:
            self.kill()

    def processEnded(self, reason: Failure) -> None:
        """The worker program is gone; what it has started follows."""
        self._stop_timer()
        self.kill()
        self._wait_for_group(GROUP_TIMEOUT)

    def _wait_for_group(self, patience: float) -> None:
        """Wait until nothing of the group lives: until then it works in the profile."""
        if patience > 0 and group_lives(self.group):
            self._clock.callLater(GROUP_INTERVAL, self._wait_for_group, patience - GROUP_INTERVAL)
        else:
            self._gone()

    def _gone(self) -> None:
        self.alive = False
        self._stop_timer()
        self._sweep_up()
        lost: PFServerError = ListenerLost("LibreOffice ended")
        if self._timed_out:
            lost = ListenerHung("LibreOffice did not answer in time")
        if not self.ready.called:
            text = "LibreOffice did not start in time" if self._timed_out else "LibreOffice could not be started"
            self.ready.errback(ListenerNotStarted(text))
        unanswered = self._waiting, self._resting
        self._waiting = self._resting = None
        for one in unanswered:
            if one is not None and not one.called:
                one.errback(lost)
        self._on_end(self)
        ending, self._ending = self._ending, []
        for gone in ending:
            if not gone.called:
                gone.callback(None)

    def _answered(self, message: Mapping[str, Any]) -> None:
        if not self.stopping:
            self._stop_timer()
        self.memory = int(message.get("memory", self.memory))
        if "failed" in message:
            self.log.warn("office.not-started", python=self.launch.python, reason=str(message["failed"])[:300])
        elif not self._started:
            self._started = True
            self.confined = bool(message.get("confined"))
            self.ready.callback(self)
        elif "rested" in message:
            self._rested = True
            resting, self._resting = self._resting, None
            if resting is not None:
                resting.callback(None)
        elif self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            waiting.callback(message)

    def _hung(self) -> None:
        self._timer = None
        self._timed_out = True
        self.kill()

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def _sweep_up(self) -> None:
        """Remove the sockets that a LibreOffice leaves in /tmp when it is ended by force."""
        url = f"file://{quote(str(self.launch.profile))}"
        # LibreOffice names its socket after its profile (desktop/source/app/officeipcthread.cxx).
        digest = "".join(f"{byte:x}" for byte in hashlib.md5(url.encode("utf-16-le"), usedforsecurity=False).digest())
        for name in (self._pipe, f"SingleOfficeIPC_{digest}"):
            # Whatever is in its place, e.g. somebody else's.
            with suppress(OSError):
                Path(f"/tmp/OSL_PIPE_{os.getuid()}_{name}").unlink()


def group_lives(group: int) -> bool:
    """Whether a process of this group lives; one that is dead but not yet waited for does not."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its_group, *_ = stat.read_text().rpartition(")")[2].split()
        except (OSError, ValueError):
            continue
        if int(its_group) == group and state not in "ZX":
            return True
    return not Path("/proc/self/stat").exists()


def _environment() -> dict[str, str]:
    kept = ("PATH", "LANG", "LC_ALL", "TZ")
    return {name: value for name, value in os.environ.items() if name in kept}


def _pipes() -> dict[int, str | int]:
    return {0: "w", 1: "r", 2: "r"}
