"""What is left of conversions that are over: uploads, passwords, and the names under which jobs went out."""

from __future__ import annotations

from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from pfserver.documents import request as names
from pfserver.documents.uploads import Uploads
from pfserver.interfaces import IEngine, IFactories

#: Seconds between two sweeps, and how long a complete upload was seen before it is touched: its job may not be stored
#: yet.
SWEEP_INTERVAL, SWEEP_AGE = 60.0, 300.0


class Sweeper(Service):
    """Removes it from time to time, whichever front ends are there.

    :param reactor: its clock says when, its threads wait for the disk.
    """

    log = Logger()

    def __init__(self, engine: IEngine, factories: IFactories, uploads: Uploads, reactor: Any) -> None:
        self._engine = engine
        self._factories = factories
        self._uploads = uploads
        self._reactor = reactor
        # When each upload was first seen: the files' own times are those of a clock that may be set.
        self._seen: dict[str, float] = {}
        self._sweeping = LoopingCall(self._sweep_guarded)
        self._sweeping.clock = reactor

    def startService(self) -> None:
        """Begin."""
        super().startService()
        # Before any front end listens: nothing of this life arrives yet.
        self._uploads.forget_incoming()
        self._sweeping.start(SWEEP_INTERVAL, now=False)

    def stopService(self) -> None:
        """End."""
        super().stopService()
        if self._sweeping.running:
            self._sweeping.stop()

    async def sweep(self) -> None:
        """Remove uploads and passwords that no unfinished job needs, and the names of jobs that are gone."""
        now = self._reactor.seconds()
        self._seen = {name: self._seen.get(name, now) for name in await self._in_thread(self._uploads.names)}
        old = [name for name, since in self._seen.items() if now - since >= SWEEP_AGE]
        if old:
            used: set[str] = set()
            after = 0
            while jobs := await self._engine.jobs(after=after, limit=500, unfinished=True):
                after = jobs[-1].id
                for job in jobs:
                    variables = job.request.variables
                    used |= {variables.get(names.UPLOAD, ""), variables.get(names.SECRET, "")}
            await self._in_thread(self._uploads.sweep, old, used)
        await self._factories.forget_handouts()

    def _sweep_guarded(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.sweep()).addErrback(self._not_swept)

    def _not_swept(self, failure: Failure) -> None:
        self.log.warn("uploads.not-swept", reason=failure.getErrorMessage())

    async def _in_thread(self, function: Any, *arguments: Any) -> Any:
        return await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), function, *arguments)
