"""The pool: as many listening LibreOffices as there are cores, each used by one conversion at a time.

Measured: two on two cores do 1.93 times the work of one, a third gains nothing, and neither do several clients at one.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from pfserver.backends.office.listener import (
    START_TIMEOUT,
    Launch,
    Listener,
    ListenerHung,
    ListenerLost,
    ListenerNotStarted,
)
from pfserver.backends.office.programs import Programs, font_folders, make_profile
from pfserver.errors import PFServerError

#: A listener that was idle for so many seconds is asked for a sign of life before it is used.
PING_AFTER = 30.0
PING_TIMEOUT = 3.0

#: Seconds in which a document has to be closed.
REST_TIMEOUT = 10.0

#: Seconds after a bad start in which LibreOffices are cold, until a warm one is tried again: at first, and at most.
COLD_FIRST, COLD_MOST = 60.0, 3600.0


@frozen(kw_only=True)
class PoolOptions:
    """What the configuration says."""

    size: int
    timeout: float = 60.0
    """Seconds that one conversion may take, with the start of its LibreOffice and a second try."""
    max_conversions: int = 300
    """A listener is replaced after so many."""
    max_memory: int = 768 * 1024 * 1024
    """And when it holds more bytes than this."""
    confine: bool = True
    """Whether LibreOffice sees nothing but programs, fonts, its profile and its documents."""
    readable: tuple[Path, ...] = ()
    """What it sees besides."""
    warm: bool = True
    """Listening LibreOffices; False: one is started for each document."""


class Pool:
    """Hands requests to listeners, starts them when they are first needed and replaces them when they are spent.

    :param folder: holds a profile for each listener; nobody else may use it.
    :param work: holds the folders of all conversions: where the kernel can see to it, LibreOffice sees no others.
    """

    log = Logger()

    def __init__(
        self, reactor: Any, clock: Any, programs: Programs, folder: Path, work: Path, options: PoolOptions
    ) -> None:
        self._reactor = reactor
        self._clock = clock
        self._programs = programs
        self._folder = folder
        self._work = work
        self._options = options
        self._slots = deque(range(options.size))
        self._waiters: deque[Deferred[int]] = deque()
        self._idle: dict[int, Listener] = {}
        self._all: set[Listener] = set()
        self._python = ""
        """The one that has the ``uno`` module, once that is known."""
        self._warm_again = 0.0
        self._cold_for = 0.0
        self._told_open = not options.confine
        self._fonts: tuple[Path, ...] | None = None
        self.started = 0
        """How many listeners were started so far."""

    @property
    def listeners(self) -> frozenset[Listener]:
        """Those that live now."""
        return frozenset(self._all)

    def slot(self) -> Deferred[int]:
        """The right to use one listener, once one is free; it must be given to :meth:`convert`. May be cancelled."""
        waiter: Deferred[int] = Deferred(self._waiters.remove)
        if self._slots:
            # The one used last: its LibreOffice is warm, and few jobs keep few of them.
            waiter.callback(self._slots.pop())
        else:
            self._waiters.append(waiter)
        return waiter

    async def convert(self, slot: int, message: Mapping[str, Any]) -> Mapping[str, Any]:
        """Have the slot's listener do it, a second time where LibreOffice dies of it or was dead.

        The slot is free again as soon as LibreOffice has closed the document. Raises ``ListenerHung`` after the
        time-out (not tried again, so that it ends in time), ``ListenerNotStarted`` and ``ListenerLost``.
        """
        deadline = self._clock.seconds() + self._options.timeout
        try:
            try:
                listener, answer = await self._once(slot, message, deadline)
            except ListenerNotStarted:
                raise
            except ListenerLost:
                self.log.info("office.again")
                listener, answer = await self._once(slot, message, deadline)
        except BaseException:
            self._release(slot)
            raise
        Deferred.fromCoroutine(self._rest(slot, listener))
        return answer

    async def restart(self) -> None:
        """Replace all listeners; conversions that run now are lost and tried again. Warm ones are tried at once."""
        self._warm_again = 0.0
        await gatherResults([listener.stop() for listener in self._all], consumeErrors=True)

    async def stop(self) -> None:
        """End all listeners."""
        for waiter in list(self._waiters):
            waiter.cancel()
        await self.restart()

    def _release(self, slot: int) -> None:
        if self._waiters:
            self._waiters.popleft().callback(slot)
        else:
            self._slots.append(slot)

    # -- one conversion --------

    def _left(self, deadline: float) -> float:
        return max(deadline - float(self._clock.seconds()), 0.0)

    async def _once(self, slot: int, message: Mapping[str, Any], deadline: float) -> tuple[Listener, Mapping[str, Any]]:
        listener = await self._listener(slot, deadline)
        try:
            answer = await listener.request({"do": "convert", **message}, self._left(deadline))
        except (CancelledError, PFServerError):
            listener.kill()
            await listener.when_ended()
            raise
        if "lost" in answer:
            listener.kill()
            await listener.when_ended()
            raise ListenerLost(str(answer["lost"]))
        return listener, answer

    async def _rest(self, slot: int, listener: Listener) -> None:
        """Wait until a listener can have the next document, then free its slot; whoever waits for its result has it."""
        try:
            await listener.rest(REST_TIMEOUT)
        except (ListenerLost, ListenerHung):
            self.log.warn("office.unwell", conversions=listener.conversions)
        else:
            listener.conversions += 1
            if listener.stopping:
                await listener.when_ended()
            elif listener.conversions >= self._options.max_conversions or listener.memory > self._options.max_memory:
                self.log.info("office.spent", conversions=listener.conversions, memory=listener.memory)
                await listener.stop()
            else:
                self._idle[slot] = listener
        finally:
            self._release(slot)

    async def _listener(self, slot: int, deadline: float) -> Listener:
        """The slot's listener if it answers, else a fresh one."""
        listener = self._idle.pop(slot, None)
        if listener is not None and not listener.launch.warm and self._tries_warm():
            await listener.stop()
        if listener is not None and listener.alive:
            if self._clock.seconds() - listener.last_used < PING_AFTER:
                return listener
            try:
                await listener.request({"do": "ping"}, min(PING_TIMEOUT, self._left(deadline)))
            except (ListenerLost, ListenerHung):
                self.log.warn("office.unwell", conversions=listener.conversions)
                await listener.when_ended()
            else:
                return listener
        return await self._start(slot, deadline)

    def _tries_warm(self) -> bool:
        return self._options.warm and self._clock.seconds() >= self._warm_again

    async def _start(self, slot: int, deadline: float) -> Listener:
        """Start a listener, with the first Python that has the ``uno`` module; without any, a cold one."""
        if self._tries_warm():
            for python in (self._python,) if self._python else self._programs.pythons:
                try:
                    listener = await self._launch(slot, python, deadline, warm=True)
                except ListenerNotStarted:
                    if self._left(deadline):
                        continue
                    # Too late for this job; the next one shall not wait in vain, too.
                    self._go_cold()
                    raise
                if self._cold_for:
                    self.log.info("office.warm: a LibreOffice listens again")
                self._python, self._cold_for = python, 0.0
                return listener
            self._go_cold()
        return await self._launch(slot, sys.executable, deadline, warm=False)

    def _go_cold(self) -> None:
        """Do without warm listeners for a while, the longer the more often they did not start."""
        if not self._tries_warm():
            return  # another slot was as unlucky
        self._cold_for = min(max(2 * self._cold_for, COLD_FIRST), COLD_MOST)
        self._warm_again = self._clock.seconds() + self._cold_for
        cause = "no LibreOffice listens" if self._python else "no Python with the uno module (Debian: python3-uno)"
        self.log.warn("office.cold: {cause}; conversions are slow", cause=cause, again_in=self._cold_for)
        self._python = ""

    async def _launch(self, slot: int, python: str, deadline: float, *, warm: bool) -> Listener:
        profile = self._folder / f"profile-{slot}"
        await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), self._make_folders, profile)
        launch = Launch(
            python=python,
            soffice=self._programs.soffice,
            pdftoppm=self._programs.pdftoppm,
            profile=profile,
            work=self._work,
            confine=self._options.confine,
            readable=(*self._options.readable, *(self._fonts or ())),
            warm=warm,
        )
        listener = Listener(
            self._reactor, self._clock, launch, self._all.discard, min(START_TIMEOUT, self._left(deadline))
        )
        self._all.add(listener)
        self.started += 1
        try:
            await listener.ready
        except CancelledError:
            listener.kill()
            raise
        if not listener.confined and not self._told_open:
            self._told_open = True
            self.log.warn(
                "office.open: no Landlock in this kernel; documents may show pictures from this machine's files"
            )
        return listener

    def _make_folders(self, profile: Path) -> None:
        make_profile(profile)
        if self._fonts is None and self._options.confine:
            self._fonts = font_folders()
        # What does not exist yet cannot be shown.
        self._work.mkdir(parents=True, exist_ok=True)
