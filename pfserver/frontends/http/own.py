"""``pfserver.*``: what the reference lacks. To ask for conversions and follow them, to keep leases or give them up."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from secrets import token_hex
from typing import Any

from attrs import evolve
from twisted.internet.threads import deferToThreadPool

from pfserver.documents import request as names
from pfserver.errors import NoSuchJob
from pfserver.frontends.http.exchange import FileSource, Upload
from pfserver.frontends.http.identity import Caller
from pfserver.frontends.http.jobs import JobMethods, LeaseOptions
from pfserver.frontends.http.methods import Context, Delivery, Registry, expect_members, member
from pfserver.interfaces import IEngine, IFactories
from pfserver.model import DEFAULT_QUEUE, Job, JobRequest, job_id_of
from pfserver.remote import SUBMIT
from pfserver.wire.xmlrpc import BAD_PARAMS, Fault, Value

#: The least and the most urgent priority, as the socket API has them.
PRIORITIES = range(-1_000_000, 1_000_001)

#: Messages of a job that one call of ``pfserver.status`` tells at most.
MESSAGES = 500

#: Applications that one request may name.
APPLICATIONS = 50

_TEXTS: Mapping[str, str] = {
    "format": names.OUTPUT_FORMAT,
    "pages": names.PAGES,
    "pdf_standard": names.PDF_STANDARD,
    "password": names.PASSWORD,
}
_OTHERS = ("resolution", "applications", "own_factories", "remote", "queue", "priority")
_MEMBERS = ("filename", "document", *_TEXTS, *_OTHERS)


class OwnMethods:
    """Our own methods about jobs."""

    def __init__(
        self, engine: IEngine, factories: IFactories, jobs: JobMethods, options: LeaseOptions, reactor: Any
    ) -> None:
        self._engine = engine
        self._factories = factories
        self._jobs = jobs
        self._options = options
        self._reactor = reactor

    def register(self, registry: Registry) -> None:
        """Add the methods."""
        registry.add("pfserver.submit", ("array", "struct"), self.submit, (0, "document"), SUBMIT)
        registry.add("pfserver.status", ("struct", "string", "int"), self.status)
        registry.add("pfserver.fetch", ("struct", "string", "string"), self.fetch)
        registry.add("pfserver.cancel", ("boolean", "string"), self.cancel)
        registry.add("pfserver.renew", ("boolean", "string", "string"), self.renew)
        registry.add("pfserver.release", ("boolean", "string", "string", "string"), self.release)

    # -- for those who want something converted --------

    async def submit(self, context: Context, request: Mapping[str, Any]) -> Value:
        """Ask for a conversion.

        request is a struct: filename, and document (base64) unless the file lies under the projects root; and if
        wanted format (pdf, png, odf), pages ("2-4", "3", "2-"), pdf_standard ("a-1b", "a-2b", "a-3b"), resolution (of
        png), password, queue, priority; applications, an array of structs with application and version, which makes
        one job for each, done by factories; own_factories (only those of the caller); remote (by a factory, whatever
        its application). A factory cannot be told a password, a pdf_standard or a resolution: that is refused.

        Returns an array of the jobs' names, "T0000042".
        """
        context.caller.expect(SUBMIT)
        expect_members(request, _MEMBERS)
        upload = request.get("document")
        base = _request_of(request, context.caller)
        if upload is not None:
            if not isinstance(upload, Upload):
                raise Fault(BAD_PARAMS, "document has the wrong type")
            # The job that is stored next names it: it must be as safe as the job is.
            await self._in_thread(upload.settle)
            base = evolve(base, variables={**base.variables, names.UPLOAD: upload.name})
        jobs = await self._engine.submit_group(_one_for_each_application(base, request))
        if isinstance(upload, Upload):
            context.exchange.keep(upload)
        return [job.transaction_id for job in jobs]

    async def status(self, context: Context, job: str, after: int) -> Value:
        """How far a job is.

        job is its name, after the sequence number of the last message that is known (0 for all).

        Returns a struct: job, state (queued, running, leased, cancelling, done), outcome (SUCCESS, PARTIAL, FAILED,
        CANCELLED; empty before), application, version, group (jobs of one request), documents, pages, failures,
        messages (structs with sequence, number and text; call again for more) and artifacts (structs with name,
        media_type, size and pages).
        """
        found = await self._job(context.caller, job)
        messages = await self._engine.messages(found.id, after=after, limit=MESSAGES)
        artifacts = await self._engine.artifacts(found.id)
        return {
            "job": found.transaction_id,
            "state": found.state.value,
            "outcome": found.outcome.status if found.outcome else "",
            "application": found.request.variables.get(names.APPLICATION, ""),
            "version": found.request.variables.get(names.VERSION, ""),
            "group": found.request.group,
            "documents": found.documents,
            "pages": found.pages,
            "failures": found.failures,
            "messages": [{"sequence": one.sequence, "number": one.number, "text": one.text} for one in messages],
            "artifacts": [
                {"name": one.name, "media_type": one.media_type, "size": float(one.size), "pages": one.pages}
                for one in artifacts
            ],
        }

    async def fetch(self, context: Context, job: str, name: str) -> Value | Delivery:
        """A file that a job has produced.

        job is its name, name that of the artifact.

        Returns a struct: filename and document (base64).
        """
        found = await self._job(context.caller, job)
        if not any(artifact.name == name for artifact in await self._engine.artifacts(found.id)):
            raise NoSuchJob(f"{found.transaction_id} has no file {name[:100]!r}")
        path = self._engine.output_folder(found) / name
        source = await self._in_thread(_open, path, found)
        return Delivery({"filename": name, "document": source}, source.close)

    async def cancel(self, context: Context, job: str) -> Value:
        """Cancel a job. Returns true."""
        found = await self._job(context.caller, job)
        await self._engine.cancel(found.id)
        return True

    # -- for factories --------

    async def renew(self, context: Context, factory_name: str, job: str) -> Value:
        """Keep the lock of a job for another five minutes from now.

        factory_name is the factory that has polled the job, job its UUID. Returns true.

        Faults: 1 unknown factory, 2 not authorized, 3 no such job, 4 the lock was lost.
        """
        factory = await self._jobs.factory(context.caller, factory_name)
        job_id = await self._factories.job_of(job)
        await self._engine.renew(job_id, factory.name, seconds=self._options.seconds)
        return True

    async def release(self, context: Context, factory_name: str, job: str, reason: str) -> Value:
        """Give a job back that the factory cannot do now; the reason is told to those who wait for it.

        factory_name is the factory that has polled the job, job its UUID. Returns true. The try counts: after three of
        them the job fails.

        Faults: 1 unknown factory, 2 not authorized, 3 no such job, 4 the lock was lost.
        """
        factory = await self._jobs.factory(context.caller, factory_name)
        job_id = await self._factories.job_of(job)
        await self._engine.release(job_id, factory.name, f"{factory.name}: {reason[:500]}")
        return True

    async def _job(self, caller: Caller, name: str) -> Job:
        """A job that the caller may see. Raises ``NoSuchJob``."""
        caller.expect(SUBMIT)
        found = await self._engine.job(job_id_of(name))
        if not caller.owns(found.request.account):
            raise NoSuchJob("there is no such job")
        return found

    async def _in_thread(self, function: Any, *arguments: Any) -> Any:
        return await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), function, *arguments)


def _request_of(request: Mapping[str, Any], caller: Caller) -> JobRequest:
    """What all jobs of a request have in common."""
    variables = {variable: member(request, name, str) for name, variable in _TEXTS.items() if name in request}
    if "resolution" in request:
        variables[names.RESOLUTION] = str(member(request, "resolution", int))
    if member(request, "own_factories", bool, False):
        variables[names.OWN_FACTORIES] = "TRUE"
    priority = member(request, "priority", int, 0)
    if priority not in PRIORITIES:
        raise Fault(BAD_PARAMS, f"priority is not a whole number from {PRIORITIES[0]} to {PRIORITIES[-1]}")
    return JobRequest(
        project=member(request, "filename", str),
        variables=variables,
        queue=member(request, "queue", str, DEFAULT_QUEUE),
        priority=priority,
        backend="factory" if member(request, "remote", bool, False) else "",
        account=caller.account,
    )


def _one_for_each_application(base: JobRequest, request: Mapping[str, Any]) -> list[JobRequest]:
    applications = member(request, "applications", list, [])
    if not applications:
        return [base]
    if len(applications) > APPLICATIONS:
        raise Fault(BAD_PARAMS, f"more than {APPLICATIONS} applications")
    group = new_group()
    requests = []
    for one in applications:
        if not isinstance(one, Mapping):
            raise Fault(BAD_PARAMS, "applications holds structs with application and version")
        variables = {
            **base.variables,
            names.APPLICATION: member(one, "application", str, ""),
            names.VERSION: member(one, "version", str, ""),
        }
        requests.append(evolve(base, variables=variables, group=group))
    return requests


def new_group() -> str:
    """A name for jobs that belong together."""
    return token_hex(8)


def _open(path: Path, job: Job) -> FileSource:
    try:
        return FileSource(path)
    except OSError as error:
        raise NoSuchJob(f"the output of {job.transaction_id} is gone") from error
