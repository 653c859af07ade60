"""Stand-ins for what the engine gives to a backend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from zope.interface import implementer

from pfserver.interfaces import IBackendServices, IReporter
from pfserver.model import Artifact, Job, JobRequest, Progress


@implementer(IBackendServices)
@define(kw_only=True)
class FakeServices:
    """What a backend may use, on the real reactor."""

    reactor: Any
    projects_root: Path
    state: Path
    clock: Any = None
    workers: Any = None
    data_sources: Any = ()
    home: str = ""


@implementer(IReporter)
class FakeReporter:
    """Remembers what it is told."""

    def __init__(self, request: JobRequest, folder: Path, job_id: int = 1) -> None:
        self.job = Job(id=job_id, request=request)
        self.folder = folder
        self.cancelled = False
        self.artifacts: list[Artifact] = []
        self.counts = Progress()
        self.messages: list[tuple[int, str]] = []
        self._waiters: list[Deferred[None]] = []

    def cancel(self) -> None:
        """As if somebody had cancelled the job."""
        self.cancelled = True
        for waiter in self._waiters:
            if not waiter.called:
                waiter.callback(None)

    def when_cancelled(self) -> Deferred[None]:
        waiter: Deferred[None] = Deferred()
        self._waiters.append(waiter)
        return waiter

    def message(self, number: int, text: str) -> None:
        self.messages.append((number, text))

    def progress(self, progress: Progress) -> None:
        self.counts = progress

    def artifact(self, artifact: Artifact) -> None:
        self.artifacts.append(artifact)

    async def flush(self) -> None:
        return


__all__ = ["FakeReporter", "FakeServices", "field"]
