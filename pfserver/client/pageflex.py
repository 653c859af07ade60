"""The Twisted client of the Pageflex Server socket API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.error import ConnectError, ConnectionClosed, DNSLookupError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from pfserver.client.conversation import Conversation, Submission, command_packet, outcome_of
from pfserver.client.errors import NoServer
from pfserver.errors import PFServerError
from pfserver.model import Outcome
from pfserver.wire.pageflex import Line

OnMessage = Callable[[Line], object]


class PageflexClient:
    """Talks to a server; each call is a connection of its own, so that any number may run at once.

    :param endpoint: where the server listens; see :meth:`at` for host and port.
    :param seconds: how long an answer may take; a monitor may take any time once the server has replied.
    """

    def __init__(self, endpoint: IStreamClientEndpoint, reactor: Any, seconds: float = 30.0) -> None:
        self._endpoint = endpoint
        self._reactor = reactor
        self._seconds = seconds

    @classmethod
    def at(cls, host: str, port: int = 8008, *, reactor: Any = None, seconds: float = 30.0) -> PageflexClient:
        """A client of the server at a host and port; with the global reactor unless given one."""
        if reactor is None:
            from twisted.internet import reactor as global_reactor

            reactor = global_reactor
        return cls(HostnameEndpoint(reactor, host, port, timeout=seconds), reactor, seconds)

    async def submit(self, submission: Submission) -> str:
        """Submit a job and give its transaction id. Raises ``ServerRefused``, ``NoServer``."""
        return (await self._talk(submission.packet(monitor=False))).text

    async def submit_and_watch(
        self, submission: Submission, on_message: OnMessage, on_accepted: Callable[[str], object] | None = None
    ) -> Outcome:
        """Submit a job with its monitor and give its outcome; ``on_message`` hears every message.

        Raises ``NoServer`` where the connection is lost before the outcome: the job may well go on.
        """
        outcome: list[Outcome] = []

        def hear(line: Line) -> None:
            found = outcome_of(line)
            if found is not None:
                outcome.append(found)
            on_message(line)

        await self._talk(submission.packet(monitor=True), hear, on_accepted)
        if not outcome:
            raise NoServer("the server closed before the job's outcome was known")
        return outcome[-1]

    async def cancel(self, transaction: str) -> str:
        """Cancel a job; gives its id."""
        return await self.command("CancelJob", _sys_TransactionID=transaction)

    async def status(self, transaction: str) -> str:
        """``Job Status = …`` of a job."""
        return await self.command("GetJobStatus", _sys_TransactionID=transaction)

    async def task_log(self, transaction: str) -> list[Line]:
        """The messages of a job so far."""
        lines: list[Line] = []
        await self._talk(command_packet("GetTaskLog", _sys_TransactionID=transaction), lines.append)
        return lines

    async def queue_length(self, queue: str = "") -> int:
        """How many jobs wait."""
        text = await self.command("GetJobQueueLen", **({"_sys_QueueName": queue} if queue else {}))
        return int(text.split(" ")[0])

    async def build_string(self) -> str:
        """What the server is."""
        return await self.command("GetBuildString")

    async def restart_server(self) -> str:
        """Restart the server's executors and backends."""
        return await self.command("RestartServer")

    async def command(self, command: str, **variables: str) -> str:
        """Send any command and give the result of its reply. Raises ``ServerRefused``, ``NoServer``."""
        return (await self._talk(command_packet(command, **variables))).text

    async def _talk(
        self,
        packet: bytes,
        on_message: OnMessage = lambda line: None,
        on_accepted: Callable[[str], object] | None = None,
    ) -> Line:
        protocol = _ClientProtocol(packet, on_message, on_accepted)
        try:
            await connectProtocol(self._endpoint, protocol)
        except (ConnectError, DNSLookupError, OSError) as error:
            raise NoServer(f"no server answers: {error}") from error
        timer = self._reactor.callLater(self._seconds, protocol.give_up)
        protocol.replied.addBoth(lambda _: timer.active() and timer.cancel())
        return await protocol.done


class _ClientProtocol(Protocol):
    """Sends a packet and listens until the server closes. Never half-closes: vendor's servers need not know it."""

    def __init__(self, packet: bytes, on_message: OnMessage, on_accepted: Callable[[str], object] | None) -> None:
        self.done: Deferred[Line] = Deferred(lambda _: self._abort())
        self.replied: Deferred[None] = Deferred()
        self._packet = packet
        self._on_message = on_message
        self._on_accepted = on_accepted
        self._conversation = Conversation()

    def connectionMade(self) -> None:
        if self.transport is not None:
            self.transport.write(self._packet)

    def dataReceived(self, data: bytes) -> None:
        try:
            lines = self._conversation.feed(data)
        except PFServerError as error:
            self._fail(error)
            return
        reply = self._conversation.reply
        if reply is not None and not self.replied.called:
            self.replied.callback(None)
            if self._on_accepted is not None:
                self._on_accepted(reply.text)
        for line in lines:
            self._on_message(line)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.done.called:
            return
        try:
            if not isinstance(reason.value, ConnectionClosed):
                raise NoServer(f"the connection was lost: {reason.getErrorMessage()}")
            reply = self._conversation.close()
        except PFServerError as error:
            self._fail(error)
        else:
            self.done.callback(reply)

    def give_up(self) -> None:
        """The answer took too long."""
        self._fail(NoServer("the server did not answer in time"))

    def _fail(self, error: PFServerError) -> None:
        if not self.replied.called:
            self.replied.callback(None)
        if not self.done.called:
            self.done.errback(error)
        self._abort()

    def _abort(self) -> None:
        transport: Any = self.transport
        if transport is not None:
            transport.abortConnection()
