"""The Twisted client of OMI: calls that are made at the same time travel together."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice, takewhile
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, fail
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

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
from pfserver.client.omi_conversation import BUNCH, Answer, OMIConversation, Packed, in_order, packed
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
    OMIError,
    Operation,
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
    reactor, go out as one message where the server knows bunches; their order is kept. Gets
    whose values are too long for one reply all together are asked again, one by one, and find what was there when they
    were called; their answers may come later than those of calls behind them. What the server refuses fails
    with ``ServerRefused`` (its ``number`` is OMI's error type), a lost circuit with ``NoServer``.
    """

    def __init__(self, login: Login, protocol: _AgentProtocol) -> None:
        self.login = login
        self._protocol = protocol

    @classmethod
    async def connect(
        cls, endpoint: IStreamClientEndpoint, login: Login | None = None, *, reactor: Any = None, seconds: float = 30.0
    ) -> OMIClient:
        """A session, with the first of the login's versions that the server speaks.

        Raises ``NoServer``, and ``ServerRefused`` where the agent is not let in.
        """
        login = login or Login()
        clock = _reactor(reactor)
        for version in login.versions[:-1]:
            try:
                return cls(login, await _open(endpoint, login, version, clock, seconds))
            except ServerRefused as error:
                if error.number != ErrorType.VERSION:
                    raise
        return cls(login, await _open(endpoint, login, login.versions[-1], clock, seconds))

    @classmethod
    async def at(cls, host: str, port: int = 8009, login: Login | None = None, *, reactor: Any = None) -> OMIClient:
        """A session with the server at a host and port."""
        return await cls.connect(HostnameEndpoint(_reactor(reactor), host, port), login, reactor=reactor)

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


@define(eq=False)
class _Call:
    request: Packed
    is_alone: bool = False
    answered: Deferred[Answer] = field(factory=Deferred)


class _AgentProtocol(Protocol):
    """Keeps one message outstanding, as agents have to; what is asked meanwhile waits for the next."""

    def __init__(self, conversation: OMIConversation, clock: Any) -> None:
        self.conversation = conversation
        self.connecting: Deferred[None] = Deferred()
        self.closed: Deferred[None] = Deferred()
        self.messages = 0
        """How many have been sent."""
        self._clock = clock
        self._waiting: deque[_Call] = deque()
        self._sent: list[_Call] = []
        self._is_lost = False
        self._is_scheduled = False

    def ask(self, request: Request) -> Deferred[Answer]:
        if self._is_lost:
            return fail(NoServer("the circuit is closed"))
        try:
            call = _Call(packed(request))
        except OMIError as error:
            return fail(error)
        self._waiting.append(call)
        if not self._sent and not self._is_scheduled:
            self._is_scheduled = True
            self._clock.callLater(0, self._send)
        return call.answered

    def connectionMade(self) -> None:
        if self.transport is not None:
            transport: Any = self.transport
            if hasattr(transport, "setTcpNoDelay"):
                transport.setTcpNoDelay(True)
            self.transport.write(self.conversation.hello())

    def dataReceived(self, data: bytes) -> None:
        try:
            messages = self.conversation.feed(data)
        except NoServer as error:
            self._fail_all(error)
            self.abort()
            return
        for answers in messages:
            if not self.connecting.called:
                self._connected(answers[0])
            else:
                self._tell(answers)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._fail_all(NoServer("the server has closed the circuit"))
        self.closed.callback(None)

    def abort(self) -> None:
        transport: Any = self.transport
        if transport is not None:
            transport.abortConnection()

    def _connected(self, answer: Answer) -> None:
        if answer.error is not None:
            self.connecting.errback(answer.error)
            self.abort()
        else:
            self.connecting.callback(None)

    def _send(self) -> None:
        self._is_scheduled = False
        if self._sent or not self._waiting or self._is_lost:
            return
        together = takewhile(lambda call: not call.is_alone, islice(self._waiting, BUNCH))
        count = self.conversation.fitting(in_order([call.request for call in together]))
        self._sent = [self._waiting.popleft() for _ in range(count)]
        try:
            data = self.conversation.message([call.request for call in self._sent])
        except OMIError as error:
            # Alone in its message, and too long even so.
            [failed] = self._sent
            self._sent = []
            failed.answered.errback(error)
            self._send()
            return
        self.messages += 1
        if self.transport is not None:
            self.transport.write(data)

    def _tell(self, answers: Sequence[Answer]) -> None:
        sent, self._sent = self._sent, []
        again: list[_Call] = []
        for call, answer in zip(sent, answers, strict=True):
            error = answer.error
            if error is None:
                call.answered.callback(answer)
            elif error.number == ErrorType.VALUE_TOO_LONG and len(sent) > 1 and call.request[0] is Operation.GET:
                # Perhaps the values were only too long all together.
                call.is_alone = True
                again.append(call)
            else:
                call.answered.errback(error)
        # Before all that was called later, as it was.
        self._waiting.extendleft(reversed(again))
        self._send()

    def _fail_all(self, error: NoServer) -> None:
        self._is_lost = True
        failed = [*self._sent, *self._waiting]
        self._sent = []
        self._waiting.clear()
        if not self.connecting.called:
            self.connecting.errback(error)
        for call in failed:
            call.answered.errback(error)


async def _open(
    endpoint: IStreamClientEndpoint, login: Login, version: int, clock: Any, seconds: float
) -> _AgentProtocol:
    protocol = _AgentProtocol(OMIConversation(login.connect(version)), clock)
    try:
        await connectProtocol(endpoint, protocol)
    except (ConnectError, DNSLookupError, OSError) as error:
        raise NoServer(f"no server answers: {error}") from error
    timer = clock.callLater(seconds, protocol.abort)
    try:
        await protocol.connecting
    finally:
        if timer.active():
            timer.cancel()
    return protocol


def _reactor(reactor: Any) -> Any:
    if reactor is not None:
        return reactor
    from twisted.internet import reactor as global_reactor

    return global_reactor
