"""HTTP for peers that may be slow, wrong or hostile: twisted.web with streamed bodies and limits on time and size."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, datetimeToString
from twisted.web.resource import IResource
from twisted.web.server import Request as WebRequest
from twisted.web.server import Site as WebSite

from pfserver.frontends.http.limits import LINGER, HTTPLimits
from pfserver.host.sockets import send_now, write_at_once
from pfserver.wire.xmlrpc import Body

if TYPE_CHECKING:
    from pfserver.frontends.http.api import XMLRPC
    from pfserver.frontends.http.exchange import Exchange
    from pfserver.frontends.http.identity import Caller

#: The address of the API, with and without a slash at its end.
API_PATHS = (b"/xmlrpc", b"/xmlrpc/")

#: Bytes of a request that is compared with the one before.
WHOLE = 4096

#: What stands before the path in the absolute form of a request's target.
_ABSOLUTE = re.compile(rb"\Ahttps?://[^/?#]*/?", re.IGNORECASE)


@frozen
class Repeatable:
    """An answer that stays the same as long as ``still`` says so."""

    media_type: bytes
    body: bytes
    still: Callable[[], bool]


class Request(WebRequest):
    """A request whose body, if it is a call, is parsed as it arrives."""

    exchange: Exchange | None = None
    caller: Deferred[Caller | None]
    """Who calls; None where the call was refused."""
    channel: Channel
    _received = 0
    """Bytes of a body that is no call."""

    def gotLength(self, length: int | None) -> None:
        """The headers are complete."""
        channel = self.channel
        if channel.method == b"POST" and channel.path in API_PATHS:
            self._parsePOSTFormSubmission = False
            channel.site.api.begin(self, length)
        elif length is not None and length > channel.site.limits.other_body:
            channel.refuse(413, b"text/plain", b"too large\n")
        if self.content is None and not channel.refused:
            super().gotLength(length)

    def handleContentChunk(self, data: bytes) -> None:
        """More of the body."""
        if self.channel.refused or self.content is None:
            return
        if self.exchange is None:
            # In chunks it came without a length.
            self._received += len(data)
            if self._received > self.channel.site.limits.other_body:
                self.channel.refuse(413, b"text/plain", b"too large\n")
                return
        super().handleContentChunk(data)

    def setHeader(self, name: Any, value: Any) -> None:
        """Set a header; the server's is not for others to know."""
        super().setHeader(name, b"pfserver" if name.lower() == b"server" else value)

    def connectionLost(self, reason: Any) -> None:
        """The peer is gone."""
        # Not every transport tells its producer: a document that was not sent must be known as that.
        self.channel.stopProducing()
        super().connectionLost(reason)
        self.close_exchange()

    def close_exchange(self) -> None:
        """The call is over: remove what it has left."""
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.close()

    def answer(self, body: bytes, media_type: bytes) -> None:
        """Send a complete answer and end the request."""
        self.setHeader(b"content-type", media_type)
        self.setHeader(b"content-length", b"%d" % len(body))
        transport = self.channel.transport
        self.write(body)
        self.finish()
        send_now(transport)


class Channel(HTTPChannel):
    """A connection."""

    log = Logger()
    refused = False
    site: Site
    transport: Any
    _header_timer: IDelayedCall | None = None
    _read_timer: IDelayedCall | None = None
    _whole: bytes | None = None
    """The request that comes in, as long as it is short."""
    _repeated: tuple[bytes, Repeatable] | None = None
    """A request, and its answer if it comes again: idle factories send the same bytes all day."""
    _held = b""
    """The beginning of what may become the same request again."""
    _body_began: float | None = None
    _body_received = 0

    @property
    def method(self) -> bytes:
        """The method of the request that comes in."""
        command: bytes = self._command
        return command

    @property
    def path(self) -> bytes:
        """Its path, without the query."""
        path: bytes = self._path
        return path.partition(b"?")[0]

    def connectionMade(self) -> None:
        """A peer has connected."""
        super().connectionMade()
        if not self.site.admit(self):
            self.log.warn("http.too-many-connections")
            self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The peer is gone."""
        self.site.forget(self)
        self._stop_header_timer()
        self._stop_read_timer()
        super().connectionLost(reason)

    def dataReceived(self, data: bytes) -> None:
        """More bytes."""
        if self.refused:
            return
        at_rest = self._at_rest()
        if self._repeated is not None and (at_rest or self._held):
            data, self._held, at_rest = self._held + data, b"", True
            if self._is_repeated(data):
                return
        if at_rest:
            self._whole = data
        elif self._whole is not None:
            self._whole = self._whole + data if len(self._whole) < WHOLE else None
        self._take(data)

    def _at_rest(self) -> bool:
        """Whether a request begins with the next byte."""
        return not self._handlingRequest and self._body_began is None and self._header_timer is None

    def _is_repeated(self, data: bytes) -> bool:
        """Answer a request that came before without reading it again; hold what may become one."""
        assert self._repeated is not None
        request, answer = self._repeated
        if data == request:
            if not answer.still():
                return False
            self._stop_header_timer()
            self.resetTimeout()
            head = b"HTTP/1.1 200 OK\r\nServer: pfserver\r\nDate: %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n"
            head %= (self.site.date(), answer.media_type, len(answer.body))
            write_at_once(self.transport, head + answer.body)
            return True
        if not request.startswith(data):
            return False
        self._held = data
        if self._header_timer is None:
            self._header_timer = self.callLater(self.site.limits.header_time, self._headers_late)
        return True

    def remember(self, answer: Repeatable) -> None:
        """The answer to the request that is handled now may be given again."""
        alone = not self._buffer and not any(self._dataBuffer)
        if self._whole is not None and alone and self.persistent and len(self.requests) == 1:
            self._repeated = self._whole, answer

    def _take(self, data: bytes) -> None:
        if self._body_began is not None:
            self._body_received += len(data)
            if self._too_slow():
                self.log.info("http.slow-body")
                self.transport.abortConnection()
                return
        elif not self._handlingRequest and self._header_timer is None:
            self._header_timer = self.callLater(self.site.limits.header_time, self._headers_late)
        super().dataReceived(data)

    def allHeadersReceived(self) -> None:
        """The headers are complete, a body may follow."""
        self._stop_header_timer()
        if not self._path.startswith(b"/"):
            # The absolute form, which a proxy may send (RFC 9112, 3.2.2).
            self._path = _ABSOLUTE.sub(b"/", self._path)
        self._body_began, self._body_received = self.site.clock.seconds(), 0
        super().allHeadersReceived()

    def allContentReceived(self) -> None:
        """The request is complete."""
        self._body_began = None
        if not self.refused:
            super().allContentReceived()

    def _send100Continue(self) -> None:
        # Who expects this sends no body before it: the beginning of such a request must not be held until it is whole.
        self._whole = None
        if not self.refused:
            super()._send100Continue()

    def _too_slow(self) -> bool:
        assert self._body_began is not None
        limits = self.site.limits
        spent = self.site.clock.seconds() - self._body_began - limits.body_grace
        return bool(spent > 0 and self._body_received < spent * limits.body_rate)

    def _headers_late(self) -> None:
        self._header_timer = None
        if b"\r\n\r\n" in self._held:
            # They are all here, and only the body is slow: from now on it is held against what a body may take.
            self._whole, self._held = self._held, b""
            self._take(self._whole)
            return
        self.log.info("http.slow-headers")
        self.transport.abortConnection()

    def pauseProducing(self) -> None:
        """The peer takes no more for now."""
        super().pauseProducing()
        if self._read_timer is None:
            self._read_timer = self.callLater(self.site.limits.read_time, self._not_read)

    def resumeProducing(self) -> None:
        """The peer takes more."""
        self._stop_read_timer()
        super().resumeProducing()

    def _not_read(self) -> None:
        self._read_timer = None
        self.log.info("http.answer-not-read")
        self.transport.abortConnection()

    def _stop_read_timer(self) -> None:
        if self._read_timer is not None and self._read_timer.active():
            self._read_timer.cancel()
        self._read_timer = None

    def _stop_header_timer(self) -> None:
        if self._header_timer is not None and self._header_timer.active():
            self._header_timer.cancel()
        self._header_timer = None

    def refuse(self, status: int, media_type: bytes, body: bytes) -> None:
        """Answer before the request is complete; what else the peer sends is thrown away, for a while."""
        self.refused = True
        self._stop_header_timer()
        self.setTimeout(None)
        phrase = {200: b"OK", 413: b"Content Too Large"}[status]
        head = b"HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
        self.transport.write(head % (status, phrase, media_type, len(body)) + body)
        self._abortingCall = self.callLater(LINGER, self.forceAbortClient)
        for request in self.requests:
            request.close_exchange()

    def refuse_call(self, body: Body) -> None:
        """The same for a call: a fault is an HTTP success."""
        self.refuse(200, b"text/xml", bytes(body))


class Site(WebSite):
    """The server side of all connections.

    :param api: takes calls.
    """

    requestFactory = Request
    displayTracebacks = False
    noisy = False

    def __init__(self, root: IResource, api: XMLRPC, limits: HTTPLimits, clock: Any) -> None:
        super().__init__(root, timeout=limits.idle, reactor=clock)
        self.protocol = Channel  # type: ignore[assignment]
        self.api = api
        self.limits = limits
        self.clock = clock
        self._open: set[Channel] = set()
        self._dated, self._date = 0, b""

    def acceptableProtocols(self) -> list[bytes]:
        """What TLS may negotiate."""
        return [b"http/1.1"]

    def startFactory(self) -> None:
        """Nothing to open: there is no access log."""

    def stopFactory(self) -> None:
        """Nothing to close."""

    def date(self) -> bytes:
        """The time of day, as HTTP has it."""
        now = int(time.time())
        if now != self._dated:
            self._dated, self._date = now, datetimeToString(now)
        return self._date

    def log(self, request: Any) -> None:
        """No access log: what matters is logged as an event."""

    def admit(self, channel: Channel) -> bool:
        """Whether one more connection is allowed; it is known until :meth:`forget`, refused or not."""
        self._open.add(channel)
        return len(self._open) <= self.limits.connections

    def forget(self, channel: Channel) -> None:
        """A connection is gone."""
        self._open.discard(channel)

    def close(self) -> None:
        """End all connections."""
        for channel in list(self._open):
            channel.transport.abortConnection()
