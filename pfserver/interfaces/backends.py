"""What produces jobs, and what it is given; where records come from."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from zope.interface import Attribute, Interface

from pfserver.model import Artifact, JobRequest, Outcome, Progress


class IReporter(Interface):
    """How a backend tells the engine about the one job that it works on, and hears that it should stop."""

    job = Attribute("Job: the job as it was when it was claimed")
    folder = Attribute(
        "pathlib.Path: the staging folder, made at its first use (may raise OutputUnavailable); what lies there when"
        " the backend returns is the job's output"
    )
    cancelled = Attribute("bool: whether the job was cancelled: finish the current document and return CANCELLED")

    def when_cancelled() -> Awaitable[None]:
        """Fires once the job is cancelled; never otherwise."""

    def message(number: int, text: str) -> None:
        """Add a message to the job's log; it may have several lines."""

    def progress(progress: Progress) -> None:
        """Replace the job's counts."""

    def artifact(artifact: Artifact) -> None:
        """Announce a file in :attr:`folder`."""

    def flush() -> Awaitable[None]:
        """Wait until all that was reported is stored. Await this now and then: it is the back-pressure."""


class IBackend(Interface):
    """Something that produces jobs."""

    name = Attribute("str: stored with each job; must not change between versions")
    local = Attribute("bool: whether the engine runs its jobs; False for jobs that only a remote worker leases")

    def takes(request: JobRequest) -> bool:
        """Whether this backend is the one for the request; decided by its names alone, without I/O."""

    def check(request: JobRequest) -> Awaitable[JobRequest]:
        """Check everything that can be known before the job is accepted; returns the request, perhaps completed.

        Raises ``NoSuchProject``, ``NoSuchProjectJob``, ``BadProject``, ``OutsideRoot``, ``BadVariable``,
        ``MissingVariable``, ``NotAllowed``. Must be quick: the submitter waits.
        """

    def run(reporter: IReporter) -> Awaitable[Outcome]:
        """Produce the job's output in ``reporter.folder``.

        Raises ``JobFailed`` for what is wrong with the job (outcome failed), ``OutputUnavailable`` for what may go away
        (the job is tried again); anything else is a fault of the backend and logged. May be cancelled by
        ``Deferred.cancel`` when the server stops or has lost the job: clean up and let the cancellation pass.
        """

    def restart() -> Awaitable[None]:
        """Stop and start again whatever is kept between jobs (processes, connections)."""

    def stop() -> Awaitable[None]:
        """Stop for good; no job runs any more."""


class IWorkers(Interface):
    """CPU-bound work on a ``concurrent.futures.Executor``: a process pool, threads, or a cluster."""

    size = Attribute("int: how many calls run at once")

    def run(function: Callable[..., Any], *arguments: Any, timeout: float | None = None) -> Awaitable[Any]:
        """Call a picklable function in a worker, for at most so many seconds where that can be enforced.

        Raises what it raises, or ``WorkerLost`` when its process died or took too long.
        """

    def restart() -> Awaitable[None]:
        """Replace all workers; calls that run now raise ``WorkerLost``."""

    def stop() -> Awaitable[None]:
        """End all workers."""


class IBackendServices(Interface):
    """What a backend may use; handed to :meth:`IBackendPlugin.build`."""

    reactor = Attribute("the reactor: clock, threads, processes, connections")
    clock = Attribute("IReactorTime: time for time-outs")
    workers = Attribute("IWorkers: where CPU-bound work runs")
    projects_root = Attribute("pathlib.Path: the folder that all projects lie in")
    state = Attribute("pathlib.Path: the state folder; a backend keeps what it must in backends/<name> there")
    home = Attribute("str: JobRequest.home of jobs that only this server can do; empty where no other has the jobs")
    data_sources = Attribute("Sequence[IDataSourcePlugin]: all that were found")


class IBackendPlugin(Interface):
    """A Twisted plugin that adds a backend."""

    name = Attribute("str: also the name of its table in the configuration, [backends.<name>]")

    def build(services: IBackendServices, options: Mapping[str, Any]) -> IBackend | None:
        """Make the backend from its table in the configuration; None where it is not available on this machine.

        Raises ``ConfigurationError`` for an option that cannot be used.
        """


class IDataSourcePlugin(Interface):
    """A Twisted plugin that reads records from a kind of source."""

    name = Attribute("str: for messages and the documentation")

    def takes(source: str) -> bool:
        """Whether it reads this source: decided by the suffix of a file name or the scheme of a URL."""

    def open(
        source: str, root: Path, options: Mapping[str, Any]
    ) -> AbstractContextManager[Iterator[Mapping[str, Any]]]:
        """A context manager around the records, each a mapping of column to value, read lazily.

        ``source`` is a file's absolute path (already checked to lie inside ``root``) or a URL; ``options`` is the
        project's ``[data]`` table. Runs in a thread and may block. Raises ``JobFailed`` with the number
        ``DATA_SOURCE_BROKEN`` and a text that names file, line and column where known.
        A record that cannot be read, where those behind it can, is given as an ``Unreadable`` (see
        :mod:`pfserver.projects.sources.common`): it fails alone.
        """

    def count(source: str, root: Path, options: Mapping[str, Any]) -> int | None:
        """The number of records where it can be had at little cost, else None. Runs in a thread."""
