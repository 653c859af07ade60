"""XML-RPC at ``/xmlrpc``: who calls, which method, and the answer; errors become faults by one table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPullProducer
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from pfserver import errors
from pfserver.documents.uploads import Uploads
from pfserver.frontends.http.exchange import Exchange
from pfserver.frontends.http.identity import Caller, Doorkeeper
from pfserver.frontends.http.methods import Context, Delivery, Idle, Registry
from pfserver.frontends.http.pages import index_page, method_page
from pfserver.frontends.http.site import Repeatable, Request
from pfserver.remote import NoSuchAccount, NoSuchFactory
from pfserver.wire.xmlrpc import BAD_PARAMS, INTERNAL, Body, Code, Fault, Limits, encode_fault, encode_response

#: What is told of an error; all others are internal, without a detail.
CODES: Mapping[type[errors.PFServerError], int] = {
    NoSuchFactory: Code.UNKNOWN_FACTORY,
    errors.NotAllowed: Code.NOT_AUTHORIZED,
    errors.NoSuchJob: Code.NO_SUCH_JOB,
    errors.LeaseLost: Code.LOCK_LOST,
    errors.WrongState: Code.LOCK_LOST,
    errors.BadProject: Code.NOT_VALID,
    errors.BadVariable: BAD_PARAMS,
    errors.MissingVariable: BAD_PARAMS,
    errors.NotSupported: BAD_PARAMS,
    errors.NoSuchProject: BAD_PARAMS,
    errors.NoSuchProjectJob: BAD_PARAMS,
    errors.OutsideRoot: BAD_PARAMS,
    errors.NoSuchQueue: BAD_PARAMS,
    NoSuchAccount: BAD_PARAMS,
    errors.ServerBusy: INTERNAL,
    errors.ServerStopping: INTERNAL,
    errors.StoreUnavailable: INTERNAL,
    errors.OutputUnavailable: INTERNAL,
    errors.JobFailed: INTERNAL,
}

#: What a poll hears that finds nothing: some clients fail on anything but a struct.
NOTHING = encode_response({})

#: Bytes of an answer that is given in one piece.
SMALL = 48 * 1024

log = Logger(namespace="pfserver.frontends.http.api")


def fault_of(failure: Failure) -> Fault:
    """The fault that tells of an error."""
    error = failure.value
    if isinstance(error, Fault):
        return error
    if isinstance(error, errors.PFServerError) and type(error) in CODES:
        return Fault(CODES[type(error)], str(error))
    log.failure("xmlrpc.internal", failure)
    return Fault(INTERNAL, "internal error")


class XMLRPC(Resource):
    """The resource at ``/xmlrpc`` and below it."""

    isLeaf = True

    def __init__(self, registry: Registry, doorkeeper: Doorkeeper, uploads: Uploads, limits: Limits) -> None:
        super().__init__()
        self._registry = registry
        self._doorkeeper = doorkeeper
        self._uploads = uploads
        self._limits = limits
        self._documents = registry.documents
        self.calls: dict[str, int] = {}
        self.faults = 0

    # -- a call comes in --------

    def begin(self, request: Request, length: int | None) -> None:
        """The headers of a call are here: find out who sends it, then read it."""

        def refuse(fault: Fault) -> None:
            self.faults += 1
            request.channel.refuse_call(encode_fault(fault.code, fault.text))

        known: list[Caller] = []

        def expect(method: str) -> None:
            right = self._registry.method(method).right
            try:
                for caller in known if right else ():
                    caller.expect(right)
            except errors.NotAllowed as error:
                raise Fault(Code.NOT_AUTHORIZED, str(error)) from error

        def identified(caller: Caller) -> Caller | None:
            known.append(caller)
            exchange.identified()
            return None if request.channel.refused else caller

        exchange = Exchange(self._documents, self._uploads, self._limits, length, expect, refuse)
        request.exchange = request.content = exchange
        if request.channel.refused:
            return
        caller: Deferred[Any] = Deferred.fromCoroutine(self._doorkeeper.identify(request))
        caller.addCallback(identified)
        request.caller = caller
        if not caller.called:
            # Nobody may fill the disk before we know who it is.
            transport = request.channel.transport
            transport.pauseProducing()
            caller.addBoth(_resume, transport)
        caller.addErrback(lambda failure: _refuse_later(failure, exchange))

    def render_POST(self, request: Request) -> int:
        """The call is complete."""
        exchange = request.exchange
        if exchange is None or request.postpath not in ([], [b""]):
            request.setResponseCode(405)
            request.answer(b"calls go to /xmlrpc\n", b"text/plain")
            return NOT_DONE_YET
        answering = Deferred.fromCoroutine(self._answer(request, exchange))
        answering.addErrback(lambda failure: self._send(request, _fault_body(failure, self)))
        answering.addErrback(_log)
        return NOT_DONE_YET

    async def _answer(self, request: Request, exchange: Exchange) -> None:
        caller: Caller | None = await request.caller
        if caller is None:
            return  # refused already
        call = exchange.call()
        try:
            method = self._registry.method(call.method)
            self.calls[method.name] = self.calls.get(method.name, 0) + 1
            method.check(call.params)
            result = await method.function(Context(caller, exchange), *call.params)
        finally:
            exchange.done()
        if isinstance(result, Delivery):
            self._deliver(request, result)
        elif isinstance(result, Idle):
            self._send(request, NOTHING, partial(self._still_idle, method.name, result))
        else:
            self._send(request, encode_response(result))

    def _still_idle(self, method: str, idle: Idle) -> bool:
        if not idle.still():
            return False
        self.calls[method] += 1
        return True

    def _send(self, request: Request, body: Body, still: Callable[[], bool] | None = None) -> None:
        request.close_exchange()
        if not request._disconnected:
            if still is not None:
                request.channel.remember(Repeatable(b"text/xml", bytes(body), still))
            request.answer(bytes(body), b"text/xml")

    def _deliver(self, request: Request, delivery: Delivery) -> None:
        """Send a document: a long one piece by piece, as fast as the peer takes it."""
        request.close_exchange()
        if request._disconnected:
            delivery.close()
            delivery.undelivered()
            return
        body = encode_response(delivery.value)
        if body.length <= SMALL:
            self._deliver_at_once(request, delivery, body)
            return
        request.setHeader(b"content-type", b"text/xml")
        request.setHeader(b"content-length", b"%d" % body.length)
        request.registerProducer(_Pieces(request, body.chunks(), delivery), False)

    def _deliver_at_once(self, request: Request, delivery: Delivery, body: Body) -> None:
        try:
            data = bytes(body)
        except (OSError, EOFError):
            log.failure("xmlrpc.document-not-read")
            delivery.undelivered()
            request.channel.transport.abortConnection()
            return
        finally:
            delivery.close()
        delivery.delivered()
        request.answer(data, b"text/xml")

    # -- for people --------

    def render_GET(self, request: Request) -> bytes:
        """The documentation: all methods, or the one named below ``/xmlrpc/``."""
        request.setHeader(b"content-type", b"text/html; charset=utf-8")
        request.setHeader(b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'")
        name = b"/".join(request.postpath or ()).decode("utf-8", "replace")
        if not name:
            return index_page(self._registry).encode("utf-8")
        try:
            return method_page(self._registry.method(name)).encode("utf-8")
        except Fault:
            request.setResponseCode(404)
            return index_page(self._registry).encode("utf-8")


@implementer(IPullProducer)
class _Pieces:
    """Writes a piece whenever the peer has taken the one before."""

    def __init__(self, request: Request, pieces: Iterator[bytes], delivery: Delivery) -> None:
        self._request = request
        self._pieces = pieces
        self._delivery = delivery
        self._ended = False

    def resumeProducing(self) -> None:
        """The next piece."""
        try:
            piece = next(self._pieces, None)
        except (OSError, EOFError):
            log.failure("xmlrpc.document-not-read")
            self.stopProducing()
            self._request.unregisterProducer()
            self._request.channel.transport.abortConnection()
            return
        if piece is not None:
            self._delivery.progressed()
            self._request.write(piece)
            return
        self._ended = True
        self._delivery.close()
        self._delivery.delivered()
        self._request.unregisterProducer()
        self._request.finish()

    def stopProducing(self) -> None:
        """The peer is gone; told by the transport, by the request, or by both."""
        if not self._ended:
            self._ended = True
            self._delivery.close()
            self._delivery.undelivered()


def _resume(result: object, transport: object) -> object:
    if getattr(transport, "connected", True):
        transport.resumeProducing()  # type: ignore[attr-defined]
    return result


def _refuse_later(failure: Failure, exchange: Exchange) -> None:
    exchange.fail(fault_of(failure))


def _fault_body(failure: Failure, api: XMLRPC) -> Body:
    api.faults += 1
    fault = fault_of(failure)
    return encode_fault(fault.code, fault.text)


def _log(failure: Failure) -> None:
    log.failure("xmlrpc.not-answered", failure)
