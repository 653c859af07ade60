"""A web server on the loopback interface that behaves as a test says."""

from __future__ import annotations

import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Web:
    """Serves ``pages``: bytes, ``(bytes, type, headers)``, ``(status, headers)``, None (without end), ... (silence).

    :param tls: its certificate and key; None for plain HTTP.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._scheme = "http" if tls is None else "https"
        self.pages: dict[str, Any] = {}
        self._closed = threading.Event()
        self._stop = threading.Event()
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web._answer(self)

            def log_message(self, *_: object) -> None:
                """Tests are quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        # A client that does not trust it, or hangs up, is what a test wants.
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        if tls is not None:
            # The handshake is made in the connection's thread: one that fails is no matter of the others.
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self) -> Web:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def url(self, path: str) -> str:
        """Where a page is."""
        return f"{self._scheme}://127.0.0.1:{self._server.server_port}{path}"

    def until_closed(self, seconds: float = 60) -> bool:
        """Wait until a client has hung up on an answer without end."""
        return self._closed.wait(seconds)

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        page = self.pages.get(request.path, (404, {}))
        if page is None:
            self._without_end(request)
        elif page is ...:
            self._stop.wait(60)
        elif isinstance(page, tuple) and isinstance(page[0], int):
            self._send(request, page[0], page[1], b"")
        else:
            body, kind, headers = (*page, {})[:3] if isinstance(page, tuple) else (page, "text/csv", {})
            self._send(request, 200, {"Content-Type": kind, "Content-Length": str(len(body)), **headers}, body)

    def _send(self, request: BaseHTTPRequestHandler, status: int, headers: dict[str, str], body: bytes) -> None:
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body)

    def _without_end(self, request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        try:
            while not self._stop.is_set():
                request.wfile.write(b"x\n" * 4096)
        except OSError:
            self._closed.set()
