"""Who gets which job: what a factory can do, and of that what is its turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pfserver.documents.request import RESOLUTION, SECRET, conversion_of
from pfserver.errors import PFServerError
from pfserver.model import Job
from pfserver.remote import Factory, Worker


class FairChoice:
    """Picks jobs for factories: in their order, but of several accounts the one that was served longest ago."""

    def __init__(self) -> None:
        self._served: dict[str, int] = {}
        self._count = 0

    def chooser(self, factory: Factory) -> Callable[[Sequence[Job]], Job | None]:
        """A function for ``IEngine.lease``: runs in another thread, so it looks at copies."""
        served = dict(self._served)

        def choose(jobs: Sequence[Job]) -> Job | None:
            # min() keeps the first of equals: within an account the order stays.
            able = [job for job in jobs if can_do(factory, job)]
            top = max((job.request.priority for job in able), default=0)
            urgent = [job for job in able if job.request.priority == top]
            return min(urgent, key=lambda job: served.get(job.request.account, 0), default=None)

        return choose

    def chosen(self, job: Job) -> None:
        """A job was handed out."""
        self._count += 1
        self._served[job.request.account] = self._count


def can_do(factory: Factory, job: Job) -> bool:
    """Whether a factory may take a job and has a worker that can do it."""
    return worker_for(factory, job) is not None


def worker_for(factory: Factory, job: Job) -> Worker | None:
    """The first worker of a factory that can do a job; None where there is none, or the factory may not take it."""
    try:
        wanted = conversion_of(job.request)
    except PFServerError:
        return None
    if (factory.own_only or wanted.own_factories) and job.request.account != factory.account:
        return None
    sized = wanted.format == "png" and job.request.variables.get(RESOLUTION, "") and job.request.backend != "factory"
    if wanted.pdf_standard or sized or SECRET in job.request.variables:
        # Nothing of these can be told to a factory: such a job waits for our own LibreOffice.
        return None
    asked = wanted.application, wanted.version, wanted.doctype, wanted.format
    return next((worker for worker in factory.workers if worker.can(*asked)), None)
