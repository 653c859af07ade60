"""A TCP forwarder between a client and a server that may go away, come back elsewhere, and lose answers on the way."""

from __future__ import annotations

import socket
import threading


class Forwarder:
    """Listens on a port of its own that never changes.

    :param target: the server's host and port; None while it is away: connections are closed at once.
    """

    def __init__(self, target: tuple[str, int] | None = None) -> None:
        self.target = target
        self.lost = 0
        """Answers that were lost so far."""
        self._lose: dict[bytes, int] = {}
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """Its address, for HTTP."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._listener.getsockname()[1])

    def lose_answers(self, method: str, count: int) -> None:
        """Lose the answers to the next so many calls of an XML-RPC method; see :meth:`lose_answers_to`."""
        self.lose_answers_to(f"<methodName>{method}<".encode(), count)

    def lose_answers_to(self, part: bytes, count: int) -> None:
        """Lose the answers to the next so many requests with this in them: the server has done them, nobody hears."""
        self._lose[part] = count

    def cut(self) -> None:
        """The server is away: close everything."""
        self.target = None
        with self._lock:
            for one in list(self._open):
                _shut(one)

    def close(self) -> None:
        """End it."""
        _shut(self._listener)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        target = self.target
        try:
            server = socket.create_connection(target, 5) if target is not None else None
        except OSError:
            server = None
        if server is None:
            client.close()
            return
        server.settimeout(None)
        with self._lock:
            self._open |= {client, server}
        doomed = threading.Event()
        back = threading.Thread(target=self._back, args=(client, server, doomed), daemon=True)
        back.start()
        tail = b""
        try:
            while data := client.recv(65536):
                window = tail + data
                for name, left in self._lose.items():
                    if left and name in window:
                        self._lose[name] -= 1
                        doomed.set()
                        window = b""
                tail = window[-100:]
                server.sendall(data)
        except OSError:
            pass
        finally:
            _shut(server)
            _shut(client)
            back.join()
            with self._lock:
                self._open -= {client, server}
            client.close()
            server.close()

    def _back(self, client: socket.socket, server: socket.socket, doomed: threading.Event) -> None:
        try:
            while data := server.recv(65536):
                if doomed.is_set():
                    self.lost += 1
                    break
                client.sendall(data)
        except OSError:
            pass
        finally:
            _shut(client)
            _shut(server)


def _shut(one: socket.socket) -> None:
    try:
        one.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
