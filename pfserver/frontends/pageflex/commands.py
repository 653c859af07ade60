"""Commands to engine calls: what each of the seven does, and the text that answers it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence

from attrs import frozen

from pfserver.errors import NotAllowed, StoreUnavailable
from pfserver.interfaces import IEngine, IFollower
from pfserver.model import Job, JobRequest, Message, State
from pfserver.numbers import Number
from pfserver.wire.pageflex import (
    CancelJob,
    Command,
    GetBuildString,
    GetJobQueueLen,
    GetJobStatus,
    GetTaskLog,
    RestartServer,
    SubmitJob,
)

#: Messages of a task log that are read at once.
LOG_PAGE = 200


@frozen
class Answer:
    """What a command gives: the result after ``R0000000: ``, then perhaps messages until they end."""

    result: str
    follower: IFollower | None = None
    log_of: Job | None = None


class Commands:
    """Carries out commands.

    :param build: answers ``GetBuildString``.
    :param restarters: the addresses from which ``RestartServer`` is allowed.
    """

    def __init__(self, engine: IEngine, build: str, restarters: Collection[str]) -> None:
        self._engine = engine
        self._build = build
        self._restarters = frozenset(restarters)

    async def carry_out(self, command: Command, peer: str) -> Answer:
        """Do what a command asks for; raises one of ``pfserver.errors``."""
        match command:
            case SubmitJob():
                return await self._submit(command)
            case CancelJob(job_id=job_id):
                return Answer((await self._engine.cancel(job_id)).transaction_id)
            case GetJobStatus(job_id=job_id):
                return Answer(status_text(await self._engine.job(job_id)))
            case GetJobQueueLen(queue=queue):
                return Answer(await self._queue_text(queue))
            case GetTaskLog(job_id=job_id):
                job = await self._engine.job(job_id)
                return Answer(job.transaction_id, log_of=job)
            case GetBuildString():
                return Answer(self._build)
            case RestartServer():
                return await self._restart(peer)
        raise AssertionError(f"unhandled command {command!r}")

    async def log(self, job: Job) -> AsyncIterator[Sequence[Message]]:
        """A job's messages as they are now, in pages."""
        position = 0
        while position < job.messages:
            page = await self._engine.messages(job.id, after=position, limit=min(LOG_PAGE, job.messages - position))
            if not page:
                return
            yield page
            position = page[-1].sequence

    async def _queue_text(self, queue: str) -> str:
        """Clients parse up to the first space; the rest is for people, and for ``pfserver jobs``."""
        waiting = await self._engine.queue_length(queue)
        youngest = await self._engine.recent_jobs(1)
        last = f"last transaction {youngest[0].transaction_id}" if youngest else "no transaction yet"
        return f"{waiting} jobs waiting{f' in queue {queue}' if queue else ''}, {last}"

    async def _submit(self, command: SubmitJob) -> Answer:
        request = JobRequest(
            project=command.project,
            job=command.job,
            variables=command.variables,
            document_variables=command.document_variables,
            queue=command.queue,
            priority=command.priority,
            output_folder=command.final_output_folder,
        )
        notes = [
            (int(Number.UNKNOWN_VARIABLE), f"{name} is not known to this server and has no effect")
            for name in command.unknown_variables
        ]
        job = await self._engine.submit(request, notes=notes)
        if not command.monitor:
            return Answer(job.transaction_id)
        try:
            return Answer(job.transaction_id, follower=await self._engine.follow(job.id))
        except StoreUnavailable:
            # The job is stored, and whoever hears otherwise submits it again.
            return Answer(job.transaction_id)

    async def _restart(self, peer: str) -> Answer:
        if peer not in self._restarters:
            raise NotAllowed("RestartServer is not allowed from this address")
        await self._engine.restart()
        return Answer("Server restarted")


def status_text(job: Job) -> str:
    """The answer to GetJobStatus (Pageflex: replies)."""
    if job.state is State.DONE and job.outcome is not None:
        return f"Job Status = {job.outcome.status}"
    if job.state is State.QUEUED:
        return "Job Status = QUEUED"
    total = "" if job.total is None else f" of {job.total}"
    return f"Job Status = RUNNING, {job.documents}{total} documents"
