"""The Twisted client of OMI: calls that are made at the same time travel together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IStreamClientEndpoint

from pfserver.client.errors import NoServer, ServerRefused
from pfserver.client.omi_calls import (
    JobState,
    Login,
    Text,
    as_bytes,
    define_of,
    found_of,
    granted_of,
    job_of,
    no_result,
    reference,
    start_job,
    subscript_of,
    sum_of,
    value_of,
)
from pfserver.client.omi_circuit import AgentProtocol, open_circuit
from pfserver.client.omi_conversation import Answer
from pfserver.wire.omi import (
    CancelJob,
    Define,
    Disconnect,
    ErrorType,
    Get,
    Increment,
    JobStatus,
    Kill,
    Lock,
    Order,
    Query,
    Reference,
    Request,
    ReverseOrder,
    ReverseQuery,
    Set,
    Unlock,
    UnlockClient,
)


class OMIClient:
    """One session with an OMI server; make it with :meth:`connect`.

    Every call returns a Deferred. Calls made while an earlier message is not answered yet, or in the same turn of the
    reactor, go out as one message where the server knows bunches; their order is kept. Fetches whose answers are too
    long for one reply all together are asked again, one by one, and find what was there when they were called; their
    answers may come later than those of calls behind them.

    What the server refuses fails with ``ServerRefused`` (its ``number`` is OMI's error type), what is too long to be
    sent with ``OMIError``, a lost circuit with ``NoServer``; so does all that waits where a message is not answered in
    time, and the circuit is closed.
    """

    def __init__(self, login: Login, protocol: AgentProtocol) -> None:
        self.login = login
        self._protocol = protocol

    @classmethod
    async def connect(
        cls,
        endpoint: IStreamClientEndpoint,
        login: Login | None = None,
        *,
        reactor: Any = None,
        seconds: float | None = 30.0,
    ) -> OMIClient:
        """A session, with the first of the login's versions that the server speaks.

        ``seconds`` is how long the server may be silent while an answer is due, None for ever. Raises
        ``NoServer``, and ``ServerRefused`` where the agent is not let in.
        """
        login = login or Login()
        clock = _reactor(reactor)
        for version in login.versions[:-1]:
            try:
                return cls(login, await open_circuit(endpoint, login, version, clock, seconds))
            except ServerRefused as error:
                if error.number != ErrorType.VERSION:
                    raise
        return cls(login, await open_circuit(endpoint, login, login.versions[-1], clock, seconds))

    @classmethod
    async def at(
        cls,
        host: str,
        port: int = 8009,
        login: Login | None = None,
        *,
        reactor: Any = None,
        seconds: float | None = 30.0,
    ) -> OMIClient:
        """A session with the server at a host and port."""
        endpoint = HostnameEndpoint(_reactor(reactor), host, port)
        return await cls.connect(endpoint, login, reactor=reactor, seconds=seconds)

    @property
    def version(self) -> int:
        """OMI's major version that was agreed on."""
        connected = self._protocol.conversation.connected
        return connected.major if connected is not None else 0

    def ask(self, request: Request) -> Deferred[Answer]:
        """Any request of :mod:`pfserver.wire.omi`."""
        return self._protocol.ask(request)

    def disconnect(self) -> Deferred[None]:
        """End the session; fires when the circuit is closed."""
        self._protocol.ask(Disconnect()).addErrback(lambda failure: failure.trap(NoServer, ServerRefused) and None)
        return self._protocol.closed

    def get(self, name: Text, *subscripts: Text) -> Deferred[bytes | None]:
        """The node's value, None where it has none."""
        return self.ask(Get(reference(self.login, name, subscripts))).addCallback(value_of)

    def set(self, value: Text, name: Text, *subscripts: Text) -> Deferred[None]:
        """Give a node its value; the value comes first, since there may be any number of subscripts."""
        return self.ask(Set(reference(self.login, name, subscripts), as_bytes(value))).addCallback(no_result)

    def kill(self, name: Text, *subscripts: Text) -> Deferred[None]:
        """Remove a node's value and all its descendants."""
        return self.ask(Kill(reference(self.login, name, subscripts))).addCallback(no_result)

    def define(self, name: Text, *subscripts: Text) -> Deferred[int]:
        """$Data: 0, 1, 10 or 11."""
        return self.ask(Define(reference(self.login, name, subscripts))).addCallback(define_of)

    def increment(self, amount: Text, name: Text, *subscripts: Text) -> Deferred[bytes]:
        """Add to a node's value; gives the new one."""
        return self.ask(Increment(reference(self.login, name, subscripts), as_bytes(amount))).addCallback(sum_of)

    def order(self, name: Text, *subscripts: Text) -> Deferred[bytes]:
        """The next subscript, or the next global's name with its caret; empty at the end."""
        return self.ask(Order(reference(self.login, name, subscripts))).addCallback(subscript_of)

    def reverse_order(self, name: Text, *subscripts: Text) -> Deferred[bytes]:
        """The subscript before."""
        return self.ask(ReverseOrder(reference(self.login, name, subscripts))).addCallback(subscript_of)

    def query(self, name: Text, *subscripts: Text) -> Deferred[Reference | None]:
        """The next node that has a value; None at the end."""
        return self.ask(Query(reference(self.login, name, subscripts))).addCallback(found_of)

    def reverse_query(self, name: Text, *subscripts: Text) -> Deferred[Reference | None]:
        """The node before that has a value."""
        return self.ask(ReverseQuery(reference(self.login, name, subscripts))).addCallback(found_of)

    def lock(self, name: Text, *subscripts: Text) -> Deferred[bool]:
        """Lock a name, once more if this client has it already; False where somebody else's lock is in the way."""
        return self.ask(Lock(reference(self.login, name, subscripts), self.login.job)).addCallback(granted_of)

    def unlock(self, name: Text, *subscripts: Text) -> Deferred[None]:
        """Undo one lock."""
        return self.ask(Unlock(reference(self.login, name, subscripts), self.login.job)).addCallback(no_result)

    def unlock_client(self) -> Deferred[None]:
        """Release all locks of this client."""
        return self.ask(UnlockClient(self.login.job)).addCallback(no_result)

    def start_job(
        self,
        routine: Text,
        arguments: Sequence[Text] | None = None,
        *,
        label: Text = "",
        offset: int = 0,
        timeout: float | None = None,
    ) -> Deferred[JobState]:
        """Start what the server's routine table says about a routine; ``timeout`` in seconds."""
        return self.ask(start_job(self.login, routine, arguments, label, offset, timeout)).addCallback(job_of)

    def job_status(self, number: int) -> Deferred[JobState]:
        """Whether a job has begun; the server forgets the number once it has told that."""
        return self.ask(JobStatus(number)).addCallback(job_of)

    def cancel_job(self, number: int) -> Deferred[None]:
        """Cancel a job and forget its number."""
        return self.ask(CancelJob(number)).addCallback(no_result)


def _reactor(reactor: Any) -> Any:
    if reactor is not None:
        return reactor
    from twisted.internet import reactor as global_reactor

    return global_reactor
