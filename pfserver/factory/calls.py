"""XML-RPC calls by treq: documents go from and to files piece by piece, connections are kept and used again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from OpenSSL.SSL import Error as SSLError
from service_identity import VerificationError
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.error import ConnectError, ConnectionClosed, DNSLookupError, TimeoutError
from twisted.internet.interfaces import IConsumer, IDelayedCall
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import CooperativeTask, TaskStopped, cooperate
from twisted.python.failure import Failure
from twisted.web.client import (
    Agent,
    HTTPConnectionPool,
    RequestGenerationFailed,
    RequestTransmissionFailed,
    ResponseDone,
    ResponseFailed,
)
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from pfserver.factory.errors import Refused, ServerAway
from pfserver.wire.xmlrpc import Body, Call, Fault, Limits, Reader, Response, Sink, Value, encode_call

#: Where a document stands in the answer to a call.
ANSWERED_DOCUMENT = ("", 0, "document")

#: Seconds in which a connection has to be made, and seconds without a byte after which an answer is given up.
CONNECT_TIMEOUT, PATIENCE = 15.0, 120.0

#: Bytes of a call that is sent at once; a longer one piece by piece. With its headers it has to be less than what a
#: transport buffers before it asks who writes to pause (64 KiB): who has written all cannot be asked to go on.
SMALL = 48 * 1024

#: HTTP statuses that asking again does not change.
_REFUSALS = {400, 401, 403, 404, 405, 410, 411, 413, 414, 415, 431, 451, 501, 505}

#: What can go wrong with a connection.
_PROBLEMS = (
    ConnectError,
    ConnectionClosed,
    DNSLookupError,
    TimeoutError,
    RequestGenerationFailed,
    RequestTransmissionFailed,
    ResponseFailed,
    SSLError,
    VerificationError,
    OSError,
)


class Calls:
    """Calls the methods of one server.

    :param url: the address of its API.
    :param policy: TLS for ``https``, an ``IPolicyForHTTPS``.
    :param token: an access token, "" for none.
    """

    def __init__(
        self, reactor: Any, url: str, *, policy: Any, token: str = "", limits: Limits, patience: float = PATIENCE
    ) -> None:
        self._clock = reactor
        self._url = url
        self._limits = limits
        self._patience = patience
        self._pool = HTTPConnectionPool(reactor)
        # A connection that the server has closed meanwhile is noticed by us and tried again where that is harmless.
        self._pool.retryAutomatically = False
        self._pool.cachedConnectionTimeout = 30
        self._client = HTTPClient(_Unpacked(Agent(reactor, policy, connectTimeout=CONNECT_TIMEOUT, pool=self._pool)))
        self._headers = Headers({"Content-Type": ["text/xml"], "User-Agent": ["pfserver-factory"]})
        if token:
            self._headers.setRawHeaders("Authorization", [f"Bearer {token}"])

    async def call(self, method: str, *params: Value, open_sink: Callable[[], Sink] | None = None) -> Value:
        """The value that a method returns; a document in it goes to a sink.

        Raises ``Fault`` (the server's), ``ServerAway`` and ``Refused``.
        """
        reader = Reader([ANSWERED_DOCUMENT], open_sink, self._limits)
        watch = _Watch(self._clock, self._patience)
        talking = Deferred.fromCoroutine(self._talk(encode_call(method, *params), reader, watch))
        watch.start(talking.cancel)
        try:
            message = await talking
        except CancelledError as error:
            if watch.expired:
                raise ServerAway("the server did not answer in time") from error
            raise
        except Fault as error:
            raise ServerAway(f"the server's answer is no XML-RPC: {error}") from error
        except _PROBLEMS as error:
            raise ServerAway(_reason(error)) from error
        finally:
            watch.stop()
        if isinstance(message, Fault):
            raise message
        if not isinstance(message, Response):
            raise ServerAway("the server's answer is no response")
        return message.value

    async def _talk(self, body: Body, reader: Reader, watch: _Watch) -> Call | Response | Fault:
        data = _Whole(bytes(body)) if body.length <= SMALL else _Sending(body, watch.moved)
        response = await self._client.post(
            self._url, headers=self._headers, data=data, unbuffered=True, allow_redirects=False
        )
        watch.moved()
        answer = _Answer(reader if response.code == 200 else None, watch.moved)
        response.deliverBody(answer)
        await answer.complete
        if response.code != 200:
            text = f"the server answers with HTTP status {response.code}"
            if response.code in _REFUSALS or response.code < 400:
                raise Refused(text, final=response.code == 413)
            raise ServerAway(text)
        return reader.close()

    def close(self) -> Deferred[Any]:
        """Close the connections that wait to be used again."""
        return cast("Deferred[Any]", self._pool.closeCachedConnections())


@implementer(IAgent)
class _Unpacked:
    """Asks for answers that are not packed, and has none unpacked.

    treq says that it takes gzip, and gives on whatever a piece of it becomes, a thousand times as much and more.
    """

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def request(
        self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: IBodyProducer | None = None
    ) -> Deferred[IResponse]:
        """See ``IAgent``."""
        headers = Headers() if headers is None else headers.copy()
        headers.setRawHeaders("Accept-Encoding", ["identity"])
        return self._agent.request(method, uri, headers, bodyProducer).addCallback(_as_it_comes)


def _as_it_comes(response: Any) -> Any:
    # What is packed all the same is no XML then.
    response.headers.removeHeader("Content-Encoding")
    return response


class _Watch:
    """Ends a call whose connection has come to a standstill."""

    def __init__(self, clock: Any, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._timer: IDelayedCall | None = None
        self.expired = False

    def start(self, give_up: Callable[[], object]) -> None:
        def expire() -> None:
            self._timer = None
            self.expired = True
            give_up()

        self._timer = self._clock.callLater(self._seconds, expire)

    def moved(self) -> None:
        if self._timer is not None:
            self._timer.reset(self._seconds)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


@implementer(IBodyProducer)
class _Whole:
    """A short call: it goes out with the request's headers, in one piece."""

    def __init__(self, data: bytes) -> None:
        self.length = len(data)
        self._data = data

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """See ``IBodyProducer``."""
        consumer.write(self._data)
        return succeed(None)

    def pauseProducing(self) -> None:
        """See ``IBodyProducer``; all is written."""

    def resumeProducing(self) -> None:
        """See ``IBodyProducer``."""

    def stopProducing(self) -> None:
        """See ``IBodyProducer``."""


@implementer(IBodyProducer)
class _Sending:
    """A call on its way out, as fast as the server takes it."""

    def __init__(self, body: Body, moved: Callable[[], None]) -> None:
        self.length = body.length
        self._chunks = body.chunks()
        self._moved = moved
        self._task: CooperativeTask[Iterator[None]] | None = None

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """See ``IBodyProducer``."""
        self._task = cooperate(self._write(consumer))
        sent: Deferred[None] = self._task.whenDone().addCallbacks(_nothing, _unless_stopped)
        return sent

    def _write(self, consumer: IConsumer) -> Iterator[None]:
        for chunk in self._chunks:
            consumer.write(chunk)
            self._moved()
            yield

    def pauseProducing(self) -> None:
        """See ``IBodyProducer``."""
        assert self._task is not None
        self._task.pause()

    def resumeProducing(self) -> None:
        """See ``IBodyProducer``."""
        assert self._task is not None
        self._task.resume()

    def stopProducing(self) -> None:
        """See ``IBodyProducer``."""
        assert self._task is not None
        self._task.stop()


def _nothing(_: object) -> None:
    return


def _unless_stopped(failure: Failure) -> Deferred[None]:
    failure.trap(TaskStopped)
    return Deferred()  # who has stopped it waits for nothing


class _Answer(Protocol):
    """Feeds the answer to the reader as it comes; without a reader it is thrown away."""

    def __init__(self, reader: Reader | None, moved: Callable[[], None]) -> None:
        self.complete: Deferred[None] = Deferred(lambda _: self._abort())
        self._reader = reader
        self._moved = moved

    def dataReceived(self, data: bytes) -> None:
        self._moved()
        if self._reader is None or self.complete.called:
            return
        try:
            self._reader.feed(data)
        except (Fault, OSError) as error:
            self.complete.errback(error)
            self._abort()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.complete.called:
            return
        if reason.check(ResponseDone, PotentialDataLoss):
            self.complete.callback(None)
        else:
            self.complete.errback(reason)

    def _abort(self) -> None:
        transport: Any = self.transport
        if transport is not None:
            transport.loseConnection()


def _reason(error: Exception) -> str:
    """What went wrong with a connection, for people."""
    reasons = getattr(error, "reasons", None)
    if reasons:
        return _reason(reasons[0].value)
    if isinstance(error, VerificationError):
        return "the server's certificate is for another name"
    if isinstance(error, SSLError) and error.args and error.args[0]:
        return f"no TLS with the server: {error.args[0][-1][-1]}"
    strerror = getattr(error, "strerror", None) or getattr(getattr(error, "osError", None), "strerror", None)
    return f"the server cannot be reached: {strerror or str(error) or type(error).__name__}"


def mapping(value: Value) -> Mapping[str, Any]:
    """A struct; an empty one for whatever else a server may call "nothing"."""
    return value if isinstance(value, Mapping) else {}
