"""One session: what was agreed, and how the requests of a message are carried out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from pfserver.errors import PFServerError
from pfserver.frontends.omi import live
from pfserver.frontends.omi.agents import READ, Agent
from pfserver.frontends.omi.data import Data, Step
from pfserver.frontends.omi.errors import omi_error
from pfserver.frontends.omi.jobs import JobRequests
from pfserver.frontends.omi.keys import Keys, LiveReference
from pfserver.frontends.omi.limits import Agreement
from pfserver.frontends.omi.quick import PREFIX, Quick, joined, run_steps
from pfserver.frontends.omi.responses import error_response, fine_response
from pfserver.frontends.omi.trees import JobTree, LockTree
from pfserver.interfaces import IGlobals, ILocks
from pfserver.model import HeldLock
from pfserver.wire.omi import (
    CancelJob,
    Disconnect,
    ErrorType,
    JobStatus,
    Lock,
    OMIError,
    Operation,
    Reference,
    StartJob,
    Status,
    Unlock,
    UnlockAll,
    UnlockClient,
    parse_request,
)

#: After so many fetches from live globals a message lets others have their turn: they take a millisecond or two, and
#: some 25 where each writes the longest of references.
FETCHES = 25


@frozen(kw_only=True)
class Rooms:
    """What all sessions share."""

    globals: IGlobals
    keys: Keys
    locks: ILocks
    job_tree: JobTree
    clock: IReactorTime
    cancel_operation: int = int(Operation.CANCEL_JOB)


class Session:
    """Carries out messages, one at a time.

    :param number: of the session, for locks and logs.
    :param requests: its job requests.
    """

    log = Logger()

    def __init__(self, rooms: Rooms, number: int, agent: Agent, agreement: Agreement, requests: JobRequests) -> None:
        self.number = number
        self.agent = agent
        self.agreement = agreement
        self.closing = False
        self.ended = False
        self._rooms = rooms
        self._requests = requests
        data = Data(rooms.keys, agent, agreement)
        self.quick = Quick(rooms.globals, data, agreement.limits.message, self.refuse)

    def end(self) -> None:
        """The session is over: its locks are free, and a message that is still at work takes no more."""
        self.ended = True
        self._rooms.locks.release(self.number)

    def answer(self, parts: Sequence[bytes]) -> list[bytes] | Deferred[list[bytes]] | None:
        """The responses to the requests of one message, in order; None where one has no short header of class 1.

        Every part has 12 bytes at least. What is on stored globals alone is done as ``quick`` does it; this can do all.
        """
        if any(part[:3] != PREFIX for part in parts):
            return None
        answered = self.quick.responses(*joined(parts))
        if answered is not None:
            return answered
        return Deferred.fromCoroutine(_Mixed(self, self._rooms, parts).answer())

    def refuse(self, failure: Any, parts: Sequence[bytes]) -> list[bytes]:
        """The responses where nothing of a message could be kept."""
        error = omi_error(failure.value)
        if failure.check(PFServerError) is None:
            self.log.failure("globals.failed", failure, session=self.number)
        return [error_response(error, part[8:12]) for part in parts]

    # -- what is not on globals --------

    def lock_of(self, reference: Reference, client: bytes) -> HeldLock:
        """The lock that a request means. Raises ``OMIError``: it is only allowed where the agent may read."""
        if not self._rooms.keys.is_environment(reference.environment):
            raise OMIError(ErrorType.NO_SUCH_ENVIRONMENT)
        if not self.agent.may(READ, reference.environment):
            raise OMIError(ErrorType.NOT_AUTHORIZED)
        if b"" in reference.subscripts:
            # As gtcm_server answers it, though for globals it is one of content.
            raise OMIError(ErrorType.REFERENCE_FORMAT)
        self.agreement.limits.check(reference)
        place = reference.environment, reference.name, reference.subscripts
        return HeldLock(*place, self.number, client, self.agent.name, 1)

    def lock_tree(self) -> LockTree:
        """What ``^%PFLOCK`` shows to this session now: the locks in environments that the agent may read."""
        return LockTree(self._rooms.locks, partial(self.agent.may, READ))

    async def live(self, operation: int, reference: Reference, tree: live.Tree) -> bytes:
        """The reply's fields to a fetch from a live global."""
        agreement = self.agreement
        return await live.answer(operation, reference, tree, limits=agreement.limits, wide=agreement.is_wide)

    async def job_request(self, request: StartJob | JobStatus | CancelJob) -> tuple[int, bytes]:
        """The modifier and the reply's fields to an operation on jobs."""
        if isinstance(request, StartJob):
            environments = {request.environment, request.routine.environment}
            # Where a job says none, it means none of the globals'.
            if not all(self._rooms.keys.is_environment(one) for one in environments if one):
                raise OMIError(ErrorType.NO_SUCH_ENVIRONMENT)
            modifier, reply = await self._requests.start(request)
            return modifier, reply.pack()
        if isinstance(request, JobStatus):
            modifier, reply = await self._requests.status(request.number)
            return modifier, reply.pack()
        return 0, (await self._requests.cancel(request.number)).pack()


class _Mixed:
    """A message that is not on stored globals alone.

    Locks are taken first, then all that is on stored globals is done in one commit, then jobs and live globals follow
    in their order, and at the end locks are given back. So a lock that a message takes covers all of it, and one that
    it gives back does until the updates before it are on disk; no reply depends on anything else of this order. A lock
    that is asked for after one was given back (``LOCK ^X`` of M is both) is taken at the end too, in its order.
    """

    def __init__(self, session: Session, rooms: Rooms, parts: Sequence[bytes]) -> None:
        self._session = session
        self._rooms = rooms
        self._parts = parts
        self._answers: list[bytes] = [b""] * len(parts)
        self._steps: list[tuple[int, Step]] = []
        self._updates = False
        self._later: list[tuple[int, Callable[[], Any]]] = []
        self._at_the_end: list[Callable[[], None]] = []
        self._fetches = 0
        # None wherever others may have had their turn.
        self._lock_tree: LockTree | None = None

    async def answer(self) -> list[bytes]:
        """The responses."""
        for index, part in enumerate(self._parts):
            try:
                self._begin(index, part)
            except OMIError as error:
                self._answers[index] = error_response(error, part[8:12])
        if self._steps:
            await self._run_steps()
        for index, carry_out in self._later:
            try:
                modifier, body = await carry_out()
                self._fine(index, body, modifier)
            except PFServerError as error:
                self._answers[index] = error_response(omi_error(error), self._parts[index][8:12])
        for carry_out_last in self._at_the_end:
            carry_out_last()
        return self._answers

    def _begin(self, index: int, part: bytes) -> None:
        operation = part[3]
        if self._session.closing:
            raise OMIError(ErrorType.NO_SESSION)
        try:
            decoded = self._session.quick.decode(part)
        except LiveReference as found:
            self._later.append((index, partial(self._live, operation, found.reference)))
            return
        if decoded is not None:
            step, updates = decoded
            self._steps.append((index, step))
            self._updates = self._updates or updates
            return
        self._begin_other(index, operation, part[12:])

    def _begin_other(self, index: int, operation: int, body: bytes) -> None:
        if operation == self._rooms.cancel_operation:
            operation = Operation.CANCEL_JOB
        elif operation in (Operation.CANCEL_JOB, Operation.INCREMENT):
            raise OMIError(ErrorType.OPERATION_TYPE)
        elif operation == Operation.CONNECT:
            self._session.closing = True
            raise OMIError(ErrorType.SESSION_EXISTS)
        request = parse_request(operation, body)
        session, locks = self._session, self._rooms.locks
        answer = b""
        if isinstance(request, Lock):
            lock = session.lock_of(request.reference, request.client)
            if self._at_the_end:
                self._at_the_end.append(partial(self._take, index, lock))
                return
            answer = bytes([locks.take(lock)])
        elif isinstance(request, Unlock):
            self._at_the_end.append(partial(locks.give_back, session.lock_of(request.reference, request.client)))
        elif isinstance(request, UnlockClient):
            self._at_the_end.append(partial(locks.release, session.number, request.client))
        elif isinstance(request, UnlockAll):
            self._at_the_end.append(partial(locks.release, session.number))
        elif isinstance(request, Disconnect):
            session.closing = True
            self._at_the_end.append(session.end)
        elif isinstance(request, StartJob | JobStatus | CancelJob):
            self._later.append((index, partial(self._job_request, request)))
            return
        elif not isinstance(request, Status):
            raise OMIError(ErrorType.OPERATION_TYPE)
        self._fine(index, answer)

    def _take(self, index: int, lock: HeldLock) -> None:
        """Take a lock after those before it were given back; the locks of a session that is over are nobody's."""
        self._fine(index, bytes([not self._session.ended and self._rooms.locks.take(lock)]))

    def _fine(self, index: int, body: bytes, modifier: int = 0) -> None:
        self._answers[index] = fine_response(self._parts[index][8:12], body, modifier)

    async def _run_steps(self) -> None:
        parts = [self._parts[index] for index, _ in self._steps]
        run = partial(run_steps, *joined(parts), [step for _, step in self._steps])
        if self._updates:
            answers = await self._rooms.globals.write(run).addErrback(self._session.refuse, parts)
        else:
            answers = self._rooms.globals.read(run)
        for (index, _), answer in zip(self._steps, answers, strict=True):
            self._answers[index] = answer

    async def _job_request(self, request: StartJob | JobStatus | CancelJob) -> tuple[int, bytes]:
        self._lock_tree = None
        return await self._session.job_request(request)

    async def _live(self, operation: int, reference: Reference) -> tuple[int, bytes]:
        self._fetches += 1
        if self._fetches % FETCHES == 0:
            self._lock_tree = None
            await deferLater(self._rooms.clock, 0)
        tree: live.Tree
        if reference.name == b"%PFLOCK":
            tree = self._lock_tree = self._lock_tree or self._session.lock_tree()
        else:
            self._lock_tree, tree = None, self._rooms.job_tree
        return 0, await self._session.live(operation, reference, tree)
