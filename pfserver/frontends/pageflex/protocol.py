"""One connection: bytes in, one packet, its reply and perhaps monitor lines out, close."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IHalfCloseableDescriptor,
    IHalfCloseableProtocol,
    IPushProducer,
    ISSLTransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from pfserver.errors import PFServerError, ServerBusy
from pfserver.frontends.pageflex.commands import Answer
from pfserver.frontends.pageflex.errors import number_of
from pfserver.host.sockets import is_over, keep_alive, plain_socket, write_at_once
from pfserver.interfaces import IFollower
from pfserver.model import Message
from pfserver.numbers import Number
from pfserver.wire.pageflex import (
    Packet,
    PacketError,
    PacketReader,
    command_of,
    monitor_line,
    reply_line,
    response_encoding,
)

if TYPE_CHECKING:
    from pfserver.frontends.pageflex.plugin import PageflexFactory

#: Seconds that a connection stays half open after the reply, so that a client still sending gets to read it.
LINGER = 2.0

#: Seconds between two looks whether a client that has closed its sending side is there at all.
LOOK = 60.0

#: The most characters of a refusal: what it names may be as long as a packet, and clients show it to people.
REASON = 1000

#: The encoding of replies where no packet has asked for another (Pageflex: replies).
DEFAULT_ENCODING = "cp1252"


@implementer(IHalfCloseableProtocol, IPushProducer)
class PageflexProtocol(Protocol):
    """Reads one packet, has it carried out, writes the reply, tells the monitor, closes."""

    log = Logger()
    factory: PageflexFactory

    def __init__(self) -> None:
        self._reader: PacketReader | None = None
        self._encoding = DEFAULT_ENCODING
        self._follower: IFollower | None = None
        self._paused: Deferred[None] | None = None
        self._closing = False
        # Whether the client has closed its side.
        self._ended = False
        # Whether our side is closed, and the socket with it as soon as the client has closed its own.
        self._half_closed = False
        self._lost = False

    # -- Protocol --------

    def connectionMade(self) -> None:
        """A client is there: it has so many seconds for its packet."""
        if not self.factory.admit(self):
            self._refuse(ServerBusy("the server has as many connections as it may; try again later"))
            return
        self._reader = PacketReader(self.factory.limits)
        self.factory.incomplete.add(self)

    def dataReceived(self, data: bytes) -> None:
        """Bytes of the packet; whatever follows it is ignored."""
        if self._reader is None:
            return
        try:
            packet = self._reader.feed(data)
        except PacketError as error:
            self._refuse(error)
        else:
            if packet is not None:
                self._carry_out(packet)

    def readConnectionLost(self) -> None:
        """The client has closed its sending side: the end of a packet, or nothing at all (Pageflex: monitor)."""
        if self._closing:
            self.close_fully()
        elif self._reader is not None:
            try:
                packet = self._reader.at_eof()
            except PacketError as error:
                self._refuse(error)
            else:
                self._carry_out(packet)
        self._ended = True
        if not self._lost:
            # It may only have said that it has nothing more to say, or be gone: the reactor will not tell.
            self.factory.half_closed.add(self)

    def writeConnectionLost(self) -> None:
        """Our sending side is closed; the client closes now."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone. A job goes on without its monitor."""
        self._lost = True
        self._reader = None
        if self._follower is not None:
            self._follower.stop()
        self.resumeProducing()
        self.factory.forget(self)
        if not isinstance(reason.value, ConnectionDone):
            self.log.debug("connection.lost", peer=self.peer, reason=reason.getErrorMessage())

    # -- IPushProducer: the transport says when the client does not read --------

    def pauseProducing(self) -> None:
        """The client does not keep up: the next messages stay in the store."""
        if self._paused is None:
            self._paused = Deferred()
            self.factory.stalled.add(self)

    def resumeProducing(self) -> None:
        """The client has read."""
        paused, self._paused = self._paused, None
        if paused is not None:
            self.factory.stalled.discard(self)
            paused.callback(None)

    def stopProducing(self) -> None:
        """The client is gone; ``connectionLost`` follows."""

    # -- a packet --------

    @property
    def peer(self) -> str:
        """The client's address, as far as it has one."""
        return str(getattr(self.transport.getPeer(), "host", "")) if self.transport else ""

    def _carry_out(self, packet: Packet) -> None:
        self._received()
        self._encoding = response_encoding(packet)
        Deferred.fromCoroutine(self._answer(packet)).addErrback(self._broken)

    async def _answer(self, packet: Packet) -> None:
        try:
            answer = await self.factory.commands.carry_out(command_of(packet), self.peer)
        except PFServerError as error:
            self._refuse(error)
            return
        if self._lost:
            if answer.follower is not None:
                answer.follower.stop()
            return
        reply = reply_line(Number.OK, answer.result, self._encoding)
        if answer.follower is not None or answer.log_of is not None:
            self._write(reply)
            await self._tell(answer)
            self.close()
        else:
            self.close(reply)

    async def _tell(self, answer: Answer) -> None:
        transport: Any = self.transport
        if hasattr(transport, "setTcpKeepAlive"):
            # A monitor may wait for hours: lines at once, and a client that went without a word is found out.
            transport.setTcpKeepAlive(True)
            transport.setTcpNoDelay(True)
            if (plain := plain_socket(transport)) is not None:
                keep_alive(plain)
        transport.registerProducer(self, True)
        try:
            if answer.follower is not None:
                self._follower = answer.follower
                while not self._lost and (messages := await answer.follower.next()):
                    await self._write_messages(messages)
            elif answer.log_of is not None:
                async for messages in self.factory.commands.log(answer.log_of):
                    await self._write_messages(messages)
                    if self._lost:
                        break
        finally:
            if not self._lost:
                transport.unregisterProducer()

    async def _write_messages(self, messages: Sequence[Message]) -> None:
        encoding = self._encoding
        self._write(b"".join([monitor_line(message.number, message.text, encoding) for message in messages]))
        if self._paused is not None:
            await self._paused

    # -- replies that end the connection --------

    def too_slow(self) -> None:
        """The packet is not complete in time."""
        seconds = f"{self.factory.timeout:g}"
        self._refuse(PacketError(Number.TOO_SLOW, f"the packet was not complete within {seconds} seconds"))

    def _refuse(self, error: PFServerError) -> None:
        number = number_of(error)
        self.log.info("packet.refused", peer=self.peer, number=int(number))
        text = str(error) if number is not Number.INTERNAL else "internal error; the server's log has the details"
        if len(text) > REASON:
            text = f"{text[:REASON]}…"
        if number is Number.INTERNAL:
            self.log.error("packet.failed", peer=self.peer, reason=str(error))
        self._finish_with(number, text)

    def _broken(self, failure: Failure) -> None:
        self.log.failure("packet.broken", failure, peer=self.peer)
        self._finish_with(Number.INTERNAL, "internal error; the server's log has the details")

    def _finish_with(self, number: Number, text: str) -> None:
        self._received()
        self.close(reply_line(number, text, self._encoding))

    def _received(self) -> None:
        """All of the packet is here, or nobody waits for it any more."""
        self._reader = None
        self.factory.incomplete.discard(self)

    def _write(self, data: bytes) -> None:
        if not self._lost and self.transport is not None:
            self.transport.write(data)

    def close(self, last: bytes = b"") -> None:
        """Write ``last``, say that this was all, then wait a little for the client to read it.

        Closing at once while the client still sends would throw the reply away with a reset.
        """
        if self._lost or self._closing or self.transport is None:
            return
        self._closing = True
        self.factory.lingering.add(self)
        transport: Any = self.transport
        if last and write_at_once(transport, last):
            self._half_closed = True
            with suppress(OSError):
                transport.getHandle().shutdown(socket.SHUT_WR)
            if self._ended:
                # Nobody will tell us of it again.
                self.factory.clock.callLater(0, self.close_fully)
            return
        if ISSLTransport.providedBy(self.transport) or not IHalfCloseableDescriptor.providedBy(self.transport):
            # TLS says by itself that nothing more comes, then waits for the client to say so, too.
            transport.loseConnection()
        else:
            transport.loseWriteConnection()

    def close_fully(self) -> None:
        """The client has closed its side, or did not do so for too long."""
        transport: Any = self.transport
        if transport is None or self._lost:
            return
        if self._half_closed:
            transport.connectionLost(Failure(ConnectionDone()))
            return
        # It closes when all is written; that a client never reads is no reason to keep it for ever.
        self.factory.stalled.add(self)
        below = transport.transport if ISSLTransport.providedBy(self.transport) else transport
        below.loseConnection()

    def look(self) -> None:
        """The client has closed its side a while ago: is it there?"""
        plain = plain_socket(self.transport)
        if self._lost or plain is None:
            return
        if is_over(plain):
            self.abort()
        else:
            self.factory.half_closed.add(self)

    def abort(self) -> None:
        """Close now, whatever is unsent."""
        transport: Any = self.transport
        if transport is not None:
            transport.abortConnection()
