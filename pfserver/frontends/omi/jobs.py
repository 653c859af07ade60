"""Job requests of one session: started, asked for until their outcome has been told once, cancelled (OMI 5.4.31-33)."""

from __future__ import annotations

import re
from collections.abc import Awaitable

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from pfserver.errors import NoSuchJob, PFServerError
from pfserver.frontends.omi.agents import JOB, Agent
from pfserver.frontends.omi.errors import omi_error
from pfserver.frontends.omi.routines import RoutineTable
from pfserver.interfaces import IEngine
from pfserver.model import Job, State
from pfserver.wire.omi import CancelReply, ErrorType, JobReply, OMIError, StartJob

#: Numbers are LI; 0 is left out so that it can mean "none" to an agent.
LAST_NUMBER = 65_535

#: The modifier of a response that tells that the process is not started yet (OMI 5.4.32).
PENDING = 1

#: So many requests whose status is lost are remembered in a session at most: a bound on memory. Beyond it the oldest
#: one's client may start another although it has not begun.
LOST = 10_000

_TIMEOUT = re.compile(rb"[0-9]{0,9}(?:\.[0-9]{0,9})?")


@define(eq=False)
class Started:
    """A job request whose outcome has not been told yet."""

    number: int
    client: bytes
    job_id: int
    timer: IDelayedCall | None = field(default=None)
    is_late: bool = False
    """Whether its time is over; that it had not begun by then is known when the store says so."""
    timed_out: bool = False


class JobRequests:
    """The job requests of one session.

    :param first: the number that the first one gets.
    """

    log = Logger()

    def __init__(
        self, engine: IEngine, routines: RoutineTable, clock: IReactorTime, agent: Agent, first: int = 1
    ) -> None:
        self._engine = engine
        self._routines = routines
        self._clock = clock
        self._agent = agent
        self._next = first
        self._kept: dict[int, Started] = {}
        self._last: dict[bytes, Started] = {}
        # Clients' last ones whose status is lost, the oldest first.
        self._lost: dict[bytes, Started] = {}
        self._timed: set[Started] = set()

    async def start(self, request: StartJob) -> tuple[int, JobReply]:
        """Start a job; gives the response's modifier and its fields.

        Raises ``OMIError``: also where the client's last request is not complete; its status is lost then.
        """
        if not self._agent.may(JOB, request.routine.environment or request.environment):
            raise OMIError(ErrorType.NOT_AUTHORIZED)
        seconds = read_timeout(request.timeout)
        last = self._last.get(request.client) or self._lost.get(request.client)
        if last is not None:
            if await self._is_pending(last):
                self._lose(last)
                raise OMIError(ErrorType.OVERLAPPING_JOBS)
            self._lost.pop(request.client, None)
        number = self._free_number()
        try:
            job = await self._engine.submit(self._routines.request(request, self._agent.name))
        except PFServerError as error:
            raise omi_error(error) from error
        started = Started(number, request.client, job.id)
        self._kept[number] = self._last[request.client] = started
        if seconds is not None:
            started.timer = self._clock.callLater(seconds, self._time_out, started)
            self._timed.add(started)
        return self._told(started, job)

    async def status(self, number: int) -> tuple[int, JobReply]:
        """Whether the process has been started; once it is told that it has, or why not, the number is forgotten."""
        started = self._known(number)
        job = None if started.timed_out else await self._job(started)
        if started.timed_out or (job is not None and _never_began(job)):
            self._forget(started)
            if started.is_late:
                raise OMIError(ErrorType.JOB_TIMED_OUT)
            self._stop_timer(started)
            raise OMIError(ErrorType.UNRECOVERABLE, "the job was cancelled before it began")
        return self._told(started, job)

    async def cancel(self, number: int) -> CancelReply:
        """Cancel the job of a request, and forget the request."""
        started = self._known(number)
        self._forget(started)
        try:
            await self._engine.cancel(started.job_id)
        except NoSuchJob:
            # Removed after its time: what was to be stopped has ended long ago.
            pass
        except PFServerError as error:
            raise omi_error(error) from error
        self._stop_timer(started)
        return CancelReply(number)

    def stop(self) -> None:
        """The server stops: time-outs end, the jobs stay."""
        for started in list(self._timed):
            self._stop_timer(started)

    def _told(self, started: Started, job: Job | None) -> tuple[int, JobReply]:
        reply = JobReply(started.number, b"%d" % started.job_id)
        if job is not None and job.state is State.QUEUED and not job.attempts:
            return PENDING, reply
        self._forget(started)
        self._stop_timer(started)
        return 0, reply

    async def _is_pending(self, started: Started) -> bool:
        if started.timed_out:
            return False
        job = await self._job(started)
        return job is not None and job.state is State.QUEUED and not job.attempts

    def _job(self, started: Started) -> Awaitable[Job | None]:
        async def find() -> Job | None:
            try:
                return await self._engine.job(started.job_id)
            except NoSuchJob:
                # Done and removed after its time.
                return None
            except PFServerError as error:
                raise omi_error(error) from error

        return find()

    def _known(self, number: int) -> Started:
        started = self._kept.get(number)
        if started is None:
            raise OMIError(ErrorType.UNKNOWN_JOB)
        return started

    def _free_number(self) -> int:
        for _ in range(LAST_NUMBER):
            number = self._next
            self._next = number % LAST_NUMBER + 1
            if number not in self._kept:
                return number
        raise OMIError(ErrorType.SUSPENDED, "no job request number is free: ask for the status of earlier ones")

    def _forget(self, started: Started) -> None:
        """Its number means nothing any more. A time-out still runs: the job must not begin after it."""
        if self._kept.get(started.number) is started:
            del self._kept[started.number]
        if self._last.get(started.client) is started:
            del self._last[started.client]

    def _lose(self, started: Started) -> None:
        """Another request overlaps with it: its status is lost, but until it has begun further ones overlap, too."""
        self._forget(started)
        self._lost[started.client] = started
        if len(self._lost) > LOST:
            del self._lost[next(iter(self._lost))]

    # -- time-outs --------

    def _time_out(self, started: Started) -> None:
        started.timer = None
        started.is_late = True
        self._timed.discard(started)
        stopping = Deferred.fromCoroutine(self._stop_late(started))
        stopping.addErrback(lambda failure: self.log.failure("job.timeout.failed", failure, job=started.job_id))

    async def _stop_late(self, started: Started) -> None:
        try:
            # One step: what is told to have begun meanwhile is not cancelled.
            job = await self._engine.cancel(started.job_id, unless_begun=True)
        except NoSuchJob:
            # Done and removed after its time.
            return
        started.timed_out = _never_began(job)

    def _stop_timer(self, started: Started) -> None:
        timer, started.timer = started.timer, None
        self._timed.discard(started)
        if timer is not None and timer.active():
            timer.cancel()


def _never_began(job: Job) -> bool:
    """Whether it was cancelled before."""
    return job.state is State.DONE and not job.attempts


def read_timeout(data: bytes) -> float | None:
    """Seconds of a time-out field, None for none. Raises ``OMIError`` for what is no decimal number."""
    if not data:
        return None
    if _TIMEOUT.fullmatch(data) is None or data == b".":
        raise OMIError(ErrorType.MESSAGE_FORMAT, "a time-out is decimal seconds")
    return float(data)
