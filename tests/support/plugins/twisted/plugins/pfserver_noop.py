"""A backend for tests and benchmarks: takes projects named ``noop…`` and does what their name says.

``noop`` does nothing; ``noop-output`` writes one small file; ``noop-slow`` waits until it is cancelled or stopped, at
most two seconds, and ``noop-stuck`` without end; ``noop-chatty`` tells as many notes as the variable ``Notes`` says,
each as wide as ``Width`` says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.plugin import IPlugin
from zope.interface import implementer

from pfserver.interfaces import IBackend, IBackendPlugin, IBackendServices, IReporter
from pfserver.model import Artifact, JobRequest, Outcome, Progress


@implementer(IBackend)
class NoopBackend:
    name = "noop"
    local = True

    def __init__(self, services: IBackendServices) -> None:
        self._clock = services.clock

    def takes(self, request: JobRequest) -> bool:
        return request.project.startswith("noop")

    async def check(self, request: JobRequest) -> JobRequest:
        return request

    async def run(self, reporter: IReporter) -> Outcome:
        kind = reporter.job.request.project
        if kind == "noop-output":
            data = reporter.job.transaction_id.encode() * 1000
            (reporter.folder / "001.txt").write_bytes(data)
            reporter.artifact(Artifact(name="001.txt", media_type="text/plain", size=len(data), pages=1))
            reporter.progress(Progress(documents=1, pages=1, total=1))
        elif kind == "noop-slow":
            pause: Deferred[None] = Deferred(lambda _: timer.cancel())
            timer = self._clock.callLater(2, lambda: pause.called or pause.callback(None))
            reporter.when_cancelled().addCallback(lambda _: timer.active() and timer.reset(0))
            await pause
        elif kind == "noop-stuck":
            await reporter.when_cancelled()
        elif kind == "noop-chatty":
            width = int(reporter.job.request.variables.get("Width", "0"))
            for n in range(int(reporter.job.request.variables["Notes"])):
                reporter.message(114, f"note {n}".ljust(width))
                if n % 1000 == 999:
                    await reporter.flush()
        return Outcome.CANCELLED if reporter.cancelled else Outcome.COMPLETED

    async def restart(self) -> None:
        pass

    async def stop(self) -> None:
        pass


@implementer(IPlugin, IBackendPlugin)
class NoopPlugin:
    name = "noop"

    def build(self, services: IBackendServices, options: Mapping[str, Any]) -> NoopBackend:
        return NoopBackend(services)


noop = NoopPlugin()
