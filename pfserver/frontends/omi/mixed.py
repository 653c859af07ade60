"""A message of requests of several kinds: locks, stored and live globals, jobs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from pfserver.errors import PFServerError
from pfserver.frontends.omi import live
from pfserver.frontends.omi.data import Step
from pfserver.frontends.omi.errors import omi_error
from pfserver.frontends.omi.keys import LiveReference
from pfserver.frontends.omi.quick import joined, run_steps, update_bytes
from pfserver.frontends.omi.responses import error_response, fine_response, room_for
from pfserver.frontends.omi.trees import LockTree
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

if TYPE_CHECKING:
    from pfserver.frontends.omi.session import Rooms, Session

#: The longest fields of a reply on jobs: a number and a process id, which is that of a job in decimal.
_JOB_REPLY = 2 + 1 + 19

#: After so many fetches from live globals a message lets others have their turn: they take a millisecond or two, and
#: some 25 where each writes the longest of references.
FETCHES = 25


class Mixed:
    """A message that is not on stored globals alone.

    Locks are taken first, then all that is on stored globals is done in one commit, then jobs and live globals follow
    in their order, and at the end locks are given back. So a lock that a message takes covers all of it, and one that
    it gives back does until the updates before it are on disk; no reply depends on anything else of this order. A lock
    that is asked for after one was given back (``LOCK ^X`` of M is both) is taken at the end too, in its order.

    Where the updates are refused, all of them, no job of the message is started or cancelled: it may be about them.
    Locks stay as they were told.
    """

    def __init__(self, session: Session, rooms: Rooms, parts: Sequence[bytes], longs: int = 0) -> None:
        self._session = session
        self._rooms = rooms
        self._parts = parts
        self._answers: list[bytes] = [b""] * len(parts)
        self._steps: list[tuple[int, Step]] = []
        self._updates = False
        self._refused: OMIError | None = None
        # For the fields of what cannot be asked again; a lock is a byte.
        self._room = room_for(len(parts), longs, session.agreement.limits.message)
        self._live_bytes = 0
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
            self._room -= 1
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
        data, spans = joined(parts)
        steps = [step for _, step in self._steps]
        run = partial(run_steps, data, spans, steps, self._room, self._session.quick.values)
        if self._updates:
            answers = await self._rooms.globals.write(run).addErrback(self._refuse, parts)
        else:
            try:
                answers = run(self._rooms.globals.view())
            except PFServerError:
                answers = self._refuse(Failure(), parts)
        self._room -= update_bytes(data, spans, answers)
        for (index, _), answer in zip(self._steps, answers, strict=True):
            self._answers[index] = answer

    def _refuse(self, failure: Any, parts: Sequence[bytes]) -> list[bytes]:
        self._refused = omi_error(failure.value)
        return self._session.refuse(failure, parts)

    async def _job_request(self, request: StartJob | JobStatus | CancelJob) -> tuple[int, bytes]:
        if self._refused is not None and not isinstance(request, JobStatus):
            raise OMIError(self._refused.type, "the updates before it were refused")
        if self._room < _JOB_REPLY:
            raise OMIError(ErrorType.VALUE_TOO_LONG, "the responses are longer than a message all together")
        self._lock_tree = None
        modifier, body = await self._session.job_request(request)
        self._room -= len(body)
        return modifier, body

    async def _live(self, operation: int, reference: Reference) -> tuple[int, bytes]:
        if self._live_bytes > self._room and operation == Operation.GET:
            # There is no room for it any more, as for gets of stored globals.
            raise OMIError(ErrorType.VALUE_TOO_LONG)
        self._fetches += 1
        if self._fetches % FETCHES == 0:
            self._lock_tree = None
            await deferLater(self._rooms.clock, 0)
        tree: live.Tree
        if reference.name == b"%PFLOCK":
            tree = self._lock_tree = self._lock_tree or self._session.lock_tree()
        else:
            self._lock_tree, tree = None, self._rooms.job_tree
        body = await self._session.live(operation, reference, tree)
        self._live_bytes += len(body)
        return 0, body
