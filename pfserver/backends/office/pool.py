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

from pfserver.backends.office.listener import Launch, Listener, ListenerHung, ListenerLost, ListenerNotStarted
from pfserver.backends.office.programs import Programs, make_profile
from pfserver.errors import PFServerError

#: A listener that was idle for so many seconds is asked for a sign of life before it is used.
PING_AFTER = 30.0
PING_TIMEOUT = 3.0


@frozen(kw_only=True)
class PoolOptions:
    """What the configuration says."""

    size: int
    timeout: float = 60.0
    """Seconds that one conversion may take."""
    max_conversions: int = 300
    """A listener is replaced after so many."""
    max_memory: int = 768 * 1024 * 1024
    """And when it holds more bytes than this."""
    warm: bool = True
    """Listening LibreOffices; False: one is started for each document."""


class Pool:
    """Hands requests to listeners, starts them when they are first needed and replaces them when they are spent.

    :param folder: holds a profile for each listener; nobody else may use it.
    """

    log = Logger()

    def __init__(self, reactor: Any, clock: Any, programs: Programs, folder: Path, options: PoolOptions) -> None:
        self._reactor = reactor
        self._clock = clock
        self._programs = programs
        self._folder = folder
        self._options = options
        self._slots = deque(range(options.size))
        self._waiters: deque[Deferred[int]] = deque()
        self._idle: dict[int, Listener] = {}
        self._all: set[Listener] = set()
        self._python: tuple[str, bool] | None = None
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
        """Have the slot's listener do it, a second time where LibreOffice dies of it or was dead; frees the slot.

        Raises ``ListenerHung`` after the time-out (not tried again, so that it ends in time), ``ListenerNotStarted``
        and ``ListenerLost``.
        """
        try:
            try:
                return await self._once(slot, message)
            except ListenerNotStarted:
                raise
            except ListenerLost:
                self.log.info("office.again")
                return await self._once(slot, message)
        finally:
            self._release(slot)

    async def restart(self) -> None:
        """Replace all listeners; conversions that run now are lost and tried again."""
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

    async def _once(self, slot: int, message: Mapping[str, Any]) -> Mapping[str, Any]:
        listener = await self._listener(slot)
        try:
            answer = await listener.request({"do": "convert", **message}, self._options.timeout)
        except (CancelledError, PFServerError):
            listener.kill()
            await listener.when_ended()
            raise
        if "lost" in answer:
            listener.kill()
            await listener.when_ended()
            raise ListenerLost(str(answer["lost"]))
        listener.conversions += 1
        if listener.conversions >= self._options.max_conversions or listener.memory > self._options.max_memory:
            self.log.info("office.spent", conversions=listener.conversions, memory=listener.memory)
            await listener.stop()
        else:
            self._idle[slot] = listener
        return answer

    async def _listener(self, slot: int) -> Listener:
        """The slot's listener if it answers, else a fresh one."""
        listener = self._idle.pop(slot, None)
        if listener is not None and listener.alive:
            if self._clock.seconds() - listener.last_used < PING_AFTER:
                return listener
            try:
                await listener.request({"do": "ping"}, PING_TIMEOUT)
            except (ListenerLost, ListenerHung):
                self.log.warn("office.unwell", conversions=listener.conversions)
                await listener.when_ended()
            else:
                return listener
        return await self._start(slot)

    async def _start(self, slot: int) -> Listener:
        """Start a listener, with the first Python that has the ``uno`` module; without any, a cold one."""
        if self._python is not None:
            return await self._launch(slot, *self._python)
        for python in self._programs.pythons if self._options.warm else ():
            try:
                listener = await self._launch(slot, python, True)
            except ListenerNotStarted:
                continue
            self._python = (python, True)
            return listener
        if self._options.warm:
            self.log.warn("office.cold: no Python with the uno module (Debian: python3-uno); conversions are slow")
        self._python = (sys.executable, False)
        return await self._launch(slot, *self._python)

    async def _launch(self, slot: int, python: str, warm: bool) -> Listener:
        profile = self._folder / f"profile-{slot}"
        await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), make_profile, profile)
        launch = Launch(
            python=python,
            soffice=self._programs.soffice,
            pdftoppm=self._programs.pdftoppm,
            profile=profile,
            warm=warm,
        )
        listener = Listener(self._reactor, self._clock, launch, self._all.discard)
        self._all.add(listener)
        self.started += 1
        try:
            return await listener.ready
        except CancelledError:
            listener.kill()
            raise
