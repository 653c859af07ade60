"""One session: what was agreed, and how the requests of a message are carried out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from pfserver.errors import PFServerError
from pfserver.frontends.omi import live
from pfserver.frontends.omi.agents import READ, Agent
from pfserver.frontends.omi.data import Data
from pfserver.frontends.omi.errors import omi_error
from pfserver.frontends.omi.jobs import JobRequests
from pfserver.frontends.omi.keys import Keys
from pfserver.frontends.omi.limits import Agreement
from pfserver.frontends.omi.mixed import Mixed
from pfserver.frontends.omi.quick import PREFIX, Quick, joined
from pfserver.frontends.omi.responses import error_response
from pfserver.frontends.omi.trees import JobTree, LockTree
from pfserver.interfaces import IGlobals, ILocks
from pfserver.model import HeldLock
from pfserver.wire.omi import (
    CancelJob,
    ErrorType,
    JobStatus,
    OMIError,
    Operation,
    Reference,
    StartJob,
)


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

    def answer(self, parts: Sequence[bytes], longs: int = 0) -> list[bytes] | Deferred[list[bytes]] | None:
        """The responses to the requests of one message, in order; None where one has no short header of class 1.

        Every part has 12 bytes at least. What is on stored globals alone is done as ``quick`` does it; this can do all.

        :param longs: how many of the responses will get long headers.
        """
        if any(part[:3] != PREFIX for part in parts):
            return None
        answered = self.quick.responses(*joined(parts), longs)
        if answered is not None:
            return answered
        return Deferred.fromCoroutine(Mixed(self, self._rooms, parts, longs).answer())

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
