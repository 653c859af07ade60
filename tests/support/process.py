"""A real server: a ``twistd pfserver`` process of its own, with free ports and a state folder of its own."""

from __future__ import annotations

import os
import re
import socket
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.child import PATIENCE, ChildProcess

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent

#: A folder of plugins that only tests and benchmarks use: the backend ``noop``.
PLUGINS = Path(__file__).parent / "plugins"


class ServerProcess(ChildProcess):
    """Start it, talk to it, stop it; whoever starts one stops it.

    :param folder: where its state, projects and log lie; may have been used by an earlier one.
    :param config: TOML that is added to its configuration.
    :param frontends: those that listen, each on a free port; all others are off.
    :param http: where the front end of that name listens.
    :param plugins: whether the plugins of :data:`PLUGINS` are there.
    """

    def __init__(
        self,
        folder: Path,
        *,
        config: str = "",
        frontends: Sequence[str] = ("pageflex",),
        projects: Path | None = None,
        plugins: bool = True,
        environment: Mapping[str, str] | None = None,
        http: str = "tcp:0:interface=127.0.0.1",
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder.absolute()
        self.state = self.folder / "state"
        self.projects = (projects or self.folder / "projects").absolute()
        self.projects.mkdir(exist_ok=True)
        self.addresses: dict[str, tuple[str, int]] = {}
        self._expected = len(frontends)
        self._listening = threading.Event()
        (self.folder / "pfserver.toml").write_text(config, encoding="utf-8")
        command = [str(BIN / "twistd"), "--nodaemon", "--pidfile=", "pfserver", "--config", "pfserver.toml"]
        command += ["--state", str(self.state), "--projects", str(self.projects)]
        for name in ("pageflex", "omi", "http"):
            endpoint = http if name == "http" else "tcp:0:interface=127.0.0.1"
            command += [f"--{name}", endpoint if name in frontends else "off"]
        super().__init__(
            command,
            {
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(ROOT), *([str(PLUGINS)] if plugins else [])]),
                **(environment or {}),
            },
            self.folder,
        )

    def __enter__(self) -> ServerProcess:
        return self.wait()

    def __exit__(self, *_: object) -> None:
        self.close()

    def wait(self) -> ServerProcess:
        """Block until it listens. Raises ``AssertionError`` with its log if it does not."""
        deadline = time.monotonic() + PATIENCE
        while not self._listening.wait(0.05):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.close()
                raise AssertionError("the server did not start:\n" + "".join(self.log))
        return self

    @property
    def pageflex(self) -> tuple[str, int]:
        """Host and port of the Pageflex Server socket API."""
        return self.addresses["pageflex"]

    def wait_for_log(self, text: str) -> None:
        """Block until its log says this. Raises ``AssertionError`` with the log if it does not."""
        with self.heard:
            if not self.heard.wait_for(lambda: any(text in line for line in self.log), PATIENCE):
                raise AssertionError(f"the server did not log {text!r}:\n" + "".join(self.log))

    def talk(self, data: bytes, timeout: float = PATIENCE) -> bytes:
        """Send a packet and give all that comes until the server closes."""
        with socket.create_connection(self.pageflex, timeout) as client:
            client.sendall(data)
            received = b""
            while more := client.recv(65536):
                received += more
            return received

    def on_line(self, line: str) -> None:
        """Learn where it listens."""
        if found := re.search(r" (\w+) listening on (\S+):(\d+)$", line.rstrip()):
            self.addresses[found[1]] = (found[2], int(found[3]))
            if len(self.addresses) == self._expected:
                self._listening.set()


def worker_processes(server: ServerProcess) -> list[int]:
    """The ids of a server's worker processes."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and b"spawn_main" in (entry / "cmdline").read_bytes():
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == server.process.pid:
                    found.append(int(entry.name))
        except OSError:
            continue
    return found


def ended(server: ServerProcess, id_: bytes) -> bytes:
    """Wait for the end of a job; gives its status, e.g. ``SUCCESS``, or the last one that was seen."""
    data = (
        b'<j:job_command xmlns:j="http://www.pageflex.com/schemas" name="GetJobStatus"><j:job_variables>'
        b'<j:var name="_sys_TransactionID">%s</j:var></j:job_variables></j:job_command>' % id_
    )
    deadline = time.monotonic() + PATIENCE
    while True:
        status = server.talk(data).removeprefix(b"R0000000: Job Status = ").strip()
        if not status.startswith((b"QUEUED", b"RUNNING")) or time.monotonic() > deadline:
            return status
        time.sleep(0.05)
