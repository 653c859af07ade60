"""fis-gtm's OMI server, ``gtcm_server``, on a database of its own; and a plain circuit to any OMI server."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

from pfserver.wire.omi import Connect, FrameReader, Request, RequestHeader, bunch, message, split_bunch
from tests.peers.mumps import MSystem
from tests.support.process import PATIENCE


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class GtcmServer:
    """Started by a test and stopped by it.

    V7.0-005 dies of every order, next and reverse order over names of globals (of get and define of a name, too, where
    replies are wide, as these tell the next name), and of large values: :meth:`restart` it, or better do not ask so.
    """

    def __init__(self, folder: Path) -> None:
        self.system = MSystem(folder)
        self.environment = str(self.system.directory).encode()
        self.port = 0
        self._pid = 0
        self.start()

    def start(self) -> None:
        """Start it and wait until it listens."""
        self.port = free_port()
        # It makes a process of its own and tells its number.
        told = subprocess.run(
            [str(self.system.distribution / "gtcm_server"), "-service", str(self.port), "-log", "gtcm.log"],
            cwd=self.system.folder,
            env=self.system.environment,
            stdin=subprocess.DEVNULL,
            stdout=(out := (self.system.folder / "gtcm.out").open("wb")),
            stderr=subprocess.STDOUT,
            timeout=PATIENCE,
            check=False,
        )
        out.close()
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            text = "".join(path.read_text("latin-1") for path in self.system.folder.glob("gtcm.*") if path.exists())
            if found := re.findall(r"GTCM_SERVER pid : (\d+)", text):
                self._pid = int(found[-1])
                if self._listens():
                    return
            time.sleep(0.02)
        raise AssertionError(f"gtcm_server did not start: {told}")

    @property
    def is_alive(self) -> bool:
        """Whether it still runs."""
        try:
            os.kill(self._pid, 0)
            state = Path(f"/proc/{self._pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except (ProcessLookupError, FileNotFoundError):
            return False
        return state != "Z"

    def stop(self) -> None:
        """Stop it and remove the shared memory that it may have left."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            deadline = time.monotonic() + 5
            if self.is_alive:
                os.kill(self._pid, number)
            while self.is_alive and time.monotonic() < deadline:
                time.sleep(0.02)
        self.system.call("mupip", "rundown", "-region", "*")

    def restart(self) -> None:
        """Stop and start it."""
        self.stop()
        self.start()

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), PATIENCE).close()
        except OSError:
            return False
        return True


class Circuit:
    """Bytes to an OMI server and back, one message at a time."""

    def __init__(self, port: int, connect: Connect | None = None) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._frames = FrameReader()
        self._sequence = 0
        self.is_bunched = False
        if connect is not None:
            [reply] = self.exchange([self.packed(connect)])
            assert reply[2:4] == b"\0\0", reply
            self.is_bunched = connect.major >= 2 or 1 in connect.extensions

    def packed(self, request: Request) -> bytes:
        """A request with the next sequence number."""
        self._sequence += 1
        header = RequestHeader(request.operation, sequence=self._sequence, request_id=7)
        return header.pack() + request.pack()

    def exchange(self, parts: list[bytes]) -> list[bytes]:
        """The responses to requests in one message; several only where bunches were agreed on.

        Raises ``ConnectionError`` where the server closes instead.
        """
        content = self.talk(bunch(parts) if self.is_bunched else message(parts[0]))
        return split_bunch(content) if self.is_bunched else [content]

    def talk(self, data: bytes) -> bytes:
        """Send bytes and give the next message's content. Raises ``ConnectionError``."""
        self._socket.sendall(data)
        while received := self._socket.recv(65536):
            for content in self._frames.feed(received):
                return content
        raise ConnectionResetError("closed by the server")

    def ends(self) -> bool:
        """Wait for the server to close."""
        try:
            return not self._socket.recv(65536)
        except ConnectionError:
            return True

    def close(self) -> None:
        """Close."""
        self._socket.close()
