"""``jobs.poll`` and ``jobs.finish``: what an Officeshots factory calls."""

from __future__ import annotations

import os
import shutil
from collections.abc import Hashable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any
from uuid import UUID, uuid5

from attrs import evolve, frozen
from twisted.internet.defer import DeferredLock
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from pfserver.documents.checks import MEDIA_TYPES, format_of, odf_suffix, page_count
from pfserver.documents.names import fitting_name
from pfserver.documents.request import FORMATS, conversion_of
from pfserver.documents.sources import Sources
from pfserver.errors import BadProject, JobFailed, LeaseLost, NotAllowed, PFServerError, StoreUnavailable
from pfserver.frontends.http.choice import FairChoice, worker_for
from pfserver.frontends.http.deliveries import Deliveries
from pfserver.frontends.http.exchange import FileSource, Upload
from pfserver.frontends.http.identity import Caller
from pfserver.frontends.http.methods import Context, Delivery, Idle, Registry
from pfserver.interfaces import IEngine, IFactories
from pfserver.model import Artifact, Job, Outcome, Progress, State
from pfserver.numbers import Number
from pfserver.remote import WORK, Factory, Worker
from pfserver.wire.xmlrpc import Code, Fault, Value

#: Jobs whose document cannot be read any more that one poll gets out of the way at most.
BROKEN_JOBS = 20


@frozen(kw_only=True)
class LeaseOptions:
    """How jobs are handed out."""

    seconds: float = 300.0
    """How long a factory may work on a job before another one may have it."""
    backends: tuple[str, ...] = ("factory",)
    """Whose jobs are handed out."""


class JobMethods:
    """The methods of the reference.

    :param reactor: for threads, since files are moved and synchronised.
    :param clock: for deliveries.
    """

    log = Logger()

    def __init__(
        self,
        engine: IEngine,
        factories: IFactories,
        sources: Sources,
        options: LeaseOptions,
        reactor: Any,
        clock: Any,
    ) -> None:
        self._engine = engine
        self._factories = factories
        self._sources = sources
        self._options = options
        self._reactor = reactor
        self._choice = FairChoice()
        self._deliveries = Deliveries(engine, clock, options.seconds)
        self._finishing: dict[int, DeferredLock] = {}

    def register(self, registry: Registry) -> None:
        """Add the methods."""
        registry.add("jobs.poll", ("struct", "string"), self.poll)
        registry.add("jobs.finish", ("string", "string", "string", "string", "document"), self.finish, (3,), WORK)

    async def factory(self, caller: Caller, name: str) -> Factory:
        """The factory that a caller speaks for. Raises ``NoSuchFactory``, ``NotAllowed``."""
        caller.expect(WORK)
        factory = await self._factories.factory(name)
        if not caller.owns(factory.account):
            raise NotAllowed(f"{name!r} is not a factory of {caller.account}")
        return factory

    # -- poll --------

    async def poll(self, context: Context, factory_name: str) -> Value | Delivery | Idle:
        """Find a job that matches any of the applications of a factory and lock it.

        factory_name is the name of the factory that polls.

        Returns a struct of nine: job (the job's UUID), application, version, pageStart, pageEnd (0: to the end),
        format (pdf, png or odf; empty: the factory decides), filename, doctype and document (base64). Where no job
        matches, an empty struct. The job is locked for five minutes; pfserver.renew makes it longer.

        Faults: 1 unknown factory, 2 not authorized.
        """
        changes = self._factories.changes
        factory = await self.factory(context.caller, factory_name)
        if self._deliveries.pauses(factory.name):
            return {}
        # All that can_do looks at.
        kind = (factory.account, factory.own_only, factory.workers)
        for _ in range(BROKEN_JOBS):
            job = await self._engine.lease(
                factory.name,
                self._choice.chooser(factory),
                backends=self._options.backends,
                seconds=self._options.seconds,
                kind=kind,
            )
            self._factories.seen(factory, leased=1 if job is not None else 0)
            if job is None:
                return Idle(partial(self._still_idle, factory, kind, changes))
            self._choice.chosen(job)
            try:
                # In the state folder: less work than to ask a thread for it. A projects folder may be far away.
                uploaded = Sources.is_upload(job.request)
                source = self._open(job) if uploaded else await self._in_thread(self._open, job)
            except PFServerError as error:
                await self._give_up(factory, job, str(error))
                continue
            try:
                name = await self._factories.hand_out(job.id)
            except Exception:
                # Nobody has it: the next who asks shall not wait until the lease runs out.
                source.close()
                with suppress(PFServerError):
                    await self._deliveries.begin(job, factory.name).give_back("the job could not be handed out")
                raise
            self.log.info("factory.leased", transaction=job.transaction_id, factory=factory.name)
            return self._delivery(factory, job, name, source)
        return {}

    def _still_idle(self, factory: Factory, kind: Hashable, changes: int) -> bool:
        """Whether a poll would find nothing again; counts it then."""
        if changes != self._factories.changes or not self._engine.idle(self._options.backends, kind):
            return False
        self._factories.seen(factory)
        return True

    def _open(self, job: Job) -> FileSource:
        try:
            return FileSource(self._sources.path(job.request))
        except OSError as error:
            raise BadProject(f"the document cannot be read: {error.strerror or type(error).__name__}") from error

    async def _give_up(self, factory: Factory, job: Job, reason: str) -> None:
        """The document is gone: no factory can do the job."""
        messages = [(Number.DOCUMENT_BROKEN, reason)]
        counts = Progress(failures=1, total=1)
        await self._engine.finish_lease(job.id, factory.name, Outcome.FAILED, progress=counts, messages=messages)

    def _delivery(self, factory: Factory, job: Job, name: str, source: FileSource) -> Delivery:
        wanted = conversion_of(job.request)
        # What was not asked for in particular is the worker's: a factory finds its program by these names.
        worker = worker_for(factory, job) or Worker(application=wanted.application, version=wanted.version)
        way = self._deliveries.begin(job, factory.name)
        value: dict[str, Value] = {
            "job": name,
            "application": worker.application,
            "version": worker.version,
            "pageStart": wanted.first,
            "pageEnd": wanted.last,
            "format": wanted.format,
            "filename": file_name(job),
            "doctype": wanted.doctype,
            "document": source,
        }
        return Delivery(value, source.close, way.progressed, way.delivered, way.undelivered)

    # -- finish --------

    async def finish(
        self, context: Context, factory_name: str, job: str, output_format: str, document: Upload
    ) -> Value:
        """Upload the result of a job.

        factory_name is the factory that has polled the job, job its UUID, output_format pdf, png or odf, document the
        result as base64.

        Returns the UUID of the result; the same one if the same result is sent again, e.g. because a connection was
        lost before the answer. Late is good as long as nobody else has the job.

        Faults: 1 unknown factory, 2 not authorized, 3 no such job, 4 the lock was lost, 5 a format that was not asked
        for, 6 the document is not valid, 7 it is too large.
        """
        factory = await self.factory(context.caller, factory_name)
        job_id = await self._factories.job_of(job)
        lock = self._finishing.setdefault(job_id, DeferredLock())
        await lock.acquire()
        try:
            await self._finish(factory, job_id, output_format.strip().lower(), document)
        finally:
            lock.release()
            if not lock.locked:
                self._finishing.pop(job_id, None)
        return str(uuid5(UUID(job), f"{factory.name}:{document.sha256}"))

    async def _finish(self, factory: Factory, job_id: int, output_format: str, document: Upload) -> None:
        job = await self._engine.job(job_id)
        wanted = conversion_of(job.request)
        if job.node != factory.name:
            raise LeaseLost("the job belongs to another factory now")
        if job.state is State.DONE:
            await self._expect_same(job, document)
            return
        if output_format not in FORMATS or wanted.format not in ("", output_format):
            raise Fault(Code.FORMAT_NOT_ASKED_FOR, f"the job is for {wanted.format or ', '.join(FORMATS)}")
        cancelled = job.state is State.CANCELLING

        def publish(folder: Path) -> Sequence[Artifact]:
            try:
                artifact = _accept(job, document, output_format)
            except OSError as error:
                raise StoreUnavailable("the document could not be read; try again later") from error
            # A copy, since this may be asked for again where the disk is full.
            link_or_copy(document.path, folder / artifact.name)
            return [artifact]

        outcome = Outcome.CANCELLED if cancelled else Outcome.COMPLETED
        try:
            await self._engine.finish_lease(job_id, factory.name, outcome, publish=publish)
        except JobFailed as error:
            # Its output folder cannot be made: no result of any factory could ever be kept.
            outcome = Outcome.CANCELLED if cancelled else Outcome.FAILED
            counts, messages = Progress(failures=1, total=1), [(error.number, error.text)]
            await self._engine.finish_lease(job_id, factory.name, outcome, progress=counts, messages=messages)
            raise
        self._factories.seen(factory, finished=1)
        self.log.info("factory.finished", transaction=job.transaction_id, factory=factory.name)

    async def _expect_same(self, job: Job, document: Upload) -> None:
        """A resent call changes nothing; another result is too late."""
        artifacts = await self._engine.artifacts(job.id)
        if not any(artifact.sha256 == document.sha256 for artifact in artifacts):
            raise LeaseLost("the job is finished")

    async def _in_thread(self, function: Any, *arguments: Any) -> Any:
        return await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), function, *arguments)


def file_name(job: Job) -> str:
    """The document's name without its folders."""
    return PurePosixPath(job.request.project.replace("\\", "/")).name


def link_or_copy(source: Path, target: Path) -> None:
    """A second name for a file; a copy where the folders lie on different disks."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _accept(job: Job, document: Upload, output_format: str) -> Artifact:
    """What a result is. Raises ``Fault`` where it is not what it should be."""
    if not document.size or format_of(document.path) != output_format:
        raise Fault(Code.NOT_VALID, f"the document is not {output_format}")
    suffix = odf_suffix(document.path) if output_format == "odf" else f".{output_format}"
    if not suffix:
        raise Fault(Code.NOT_VALID, "the document is a zip, but no OpenDocument file")
    stem = PurePosixPath(file_name(job)).stem or "document"
    artifact = Artifact(
        name=fitting_name(stem, suffix),
        media_type=MEDIA_TYPES[suffix],
        size=document.size,
        sha256=document.sha256,
    )
    return evolve(artifact, pages=page_count(document.path, suffix))
