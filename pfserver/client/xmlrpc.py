"""XML-RPC for commands: blocking, over plain sockets or TLS; documents go from and to files piece by piece."""

from __future__ import annotations

import errno
import http.client
import selectors
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO
from urllib.parse import urlsplit

from pfserver.client.errors import NoServer, ServerRefused
from pfserver.client.identity import Identity
from pfserver.errors import BadVariable
from pfserver.wire.xmlrpc import Body, Fault, Limits, Reader, Response, Sink, Value, encode_call

MIB = 1024 * 1024

#: Bytes of an answer without a document: messages of a long job.
ANSWER_LIMIT = 8 * MIB

#: Calls that must not be made twice where it is not known whether the server has seen them: the second would do more
#: (the lock that ``release`` gives up may be a newer one), or say that there is nothing to drop.
_ONCE = {
    "pfserver.submit",
    "jobs.poll",
    "pfserver.release",
    "pfserver.factories.drop",
    "pfserver.accounts.drop_token",
}

_LOCAL_NAMES = {"localhost", "127.0.0.1", "::1"}


class FileSource:
    """A file as a source for the writer."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO = path.open("rb", buffering=0)
        self.size = path.stat().st_size

    def read(self, size: int) -> bytes:
        """See ``Source``. Raises ``OSError`` with the file's name."""
        try:
            return self._file.read(size)
        except OSError as error:
            error.filename = str(self._path)
            raise

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class _HereFailed(Exception):
    """A file on this machine cannot be read or written: nothing is wrong with the server."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error


class XMLRPCClient:
    """Calls methods of a server over one connection, made anew where the server has closed it. A context manager.

    :param url: of the server; ``/xmlrpc`` where it has no path.
    :param seconds: how long the connection may stand still.
    :raises BadVariable: for a URL or an identity that cannot be used.
    """

    def __init__(self, url: str, identity: Identity | None = None, seconds: float = 60.0) -> None:
        identity = identity or Identity()
        parts = urlsplit(url if "://" in url else f"http://{url}")
        try:
            self.host, port = parts.hostname or "", parts.port
        except ValueError:
            self.host, port = "", None
        if parts.scheme not in ("http", "https") or not self.host:
            raise BadVariable(f"{url!r} is not the address of a server: http://HOST:PORT or https://HOST:PORT")
        if parts.scheme == "https":
            self._connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                self.host, port, timeout=seconds, context=_context(identity)
            )
        else:
            if identity.token and self.host not in _LOCAL_NAMES:
                raise BadVariable("an access token may leave this machine only over https://")
            self._connection = http.client.HTTPConnection(self.host, port, timeout=seconds)
        self._path = parts.path if parts.path.strip("/") else "/xmlrpc"
        self._headers = {"Content-Type": "text/xml", "User-Agent": "pfserver"}
        if identity.token:
            self._headers["Authorization"] = f"Bearer {identity.token}"

    def __enter__(self) -> XMLRPCClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._connection.close()

    def call(self, method: str, *params: Value, open_sink: Callable[[], Sink] | None = None) -> Value:
        """The value that a method returns; a document in it goes to a sink.

        Raises ``ServerRefused``, ``NoServer``, and ``OSError`` where a source cannot be read or a sink not written.
        """
        body = encode_call(method, *params)
        limits = Limits(document=2**40, outside=ANSWER_LIMIT)
        reader = Reader([("", 0, "document")], open_sink, limits)
        try:
            with self._problems():
                response = self._send(body, once=method in _ONCE)
                if response.status != 200:
                    raise NoServer(f"no Officeshots API at {self.host}: HTTP status {response.status}")
                while data := response.read(64 * 1024):
                    with _here():
                        reader.feed(data)
                message = reader.close()
        except BaseException:
            # What is left of the answer would be taken for the next one.
            self._connection.close()
            raise
        if isinstance(message, Fault):
            raise ServerRefused(message.code, message.text)
        if not isinstance(message, Response):
            raise NoServer("the server's answer is no response")
        return message.value

    def _send(self, body: Body, *, once: bool) -> http.client.HTTPResponse:
        if self._is_stale():
            self._connection.close()
        fresh = self._connection.sock is None
        headers = {**self._headers, "Content-Length": str(body.length)}
        try:
            # A server that refuses a document early answers before it has all of it.
            with suppress(BrokenPipeError, ConnectionResetError):
                self._connection.request("POST", self._path, _chunks(body), headers)
            return self._connection.getresponse()
        except ConnectionResetError:
            self._connection.close()
            if once or fresh or any(not isinstance(piece, bytes) for piece in body.pieces):
                raise
        # It was closed just when we had something to say.
        self._connection.request("POST", self._path, _chunks(body), headers)
        return self._connection.getresponse()

    def _is_stale(self) -> bool:
        """Whether the server has closed the connection while we had nothing to say; else it would be silent."""
        if self._connection.sock is None:
            return False
        with selectors.DefaultSelector() as selector:
            selector.register(self._connection.sock, selectors.EVENT_READ)
            return bool(selector.select(0))

    @contextmanager
    def _problems(self) -> Iterator[None]:
        try:
            yield
        except _HereFailed as failed:
            raise failed.error from failed
        except TimeoutError as error:
            raise NoServer("the server did not answer in time") from error
        except ssl.SSLError as error:
            raise NoServer(f"no TLS with {self.host}: {error.reason or error}") from error
        except OSError as error:
            where = f"{self.host}:{self._connection.port}"
            raise NoServer(f"no server answers at {where}: {error.strerror or error}") from error
        except (http.client.HTTPException, Fault) as error:
            raise NoServer(f"the server's answer is no XML-RPC: {error}") from error


@contextmanager
def _here() -> Iterator[None]:
    """What fails in here fails on this machine."""
    try:
        yield
    except OSError as error:
        raise _HereFailed(error) from error
    except EOFError as error:
        raise _HereFailed(OSError(errno.EIO, "the document has become shorter while it was read")) from error


def _chunks(body: Body) -> Iterator[bytes]:
    """The bytes of a call."""
    with _here():
        yield from body.chunks()


def _context(identity: Identity) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=str(identity.ca) if identity.ca is not None else None)
        if identity.certificate is not None:
            context.load_cert_chain(identity.certificate, identity.key)
    except (OSError, ValueError) as error:
        raise BadVariable(f"the certificates cannot be used: {error}") from error
    return context
