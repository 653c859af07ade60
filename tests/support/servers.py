"""Other people's servers that tests and benchmarks start for themselves, in a temporary folder, on loopback."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def free_port() -> int:
    """A TCP port that nobody uses just now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def listens(port: int) -> bool:
    """Whether something takes connections there."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def wait_for(port: int, answers: Callable[[int], bool] = listens) -> None:
    """Block until the server on that port is ready; at most a minute."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if answers(port):
            return
        time.sleep(0.05)
    raise SystemExit(f"no server is ready on port {port}")


@contextmanager
def running(*command: str, **options: object) -> Iterator[subprocess.Popen[bytes]]:
    """A process for as long as the block lasts."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)  # type: ignore[call-overload]
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


def postgresql_programs() -> Path | None:
    """The folder of the newest PostgreSQL's programs; None where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return found[-1] if found else None


@contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """A PostgreSQL server with its default durability; gives its URL."""
    folder.mkdir()
    programs = postgresql_programs()
    assert programs is not None, "install the Debian package postgresql"
    account: dict[str, object] = {}
    if os.geteuid() == 0:
        # PostgreSQL refuses to run as root.
        user = pwd.getpwnam("postgres")
        account = {"user": user.pw_uid, "group": user.pw_gid}
        for parent in (folder, *folder.parents):
            if parent.stat().st_uid == 0 and str(parent).startswith("/tmp/"):
                parent.chmod(0o755)
        shutil.chown(folder, user.pw_uid, user.pw_gid)
    data = str(folder / "data")
    quiet = {"stdout": subprocess.DEVNULL, "cwd": folder, **account}
    subprocess.run([programs / "initdb", "-D", data, "-U", "bench", "--auth=trust"], check=True, **quiet)  # type: ignore[call-overload]
    port = free_port()
    command = [str(programs / "postgres"), "-D", data, "-p", str(port), "-k", str(folder), "-h", "127.0.0.1"]
    with running(*command, "-c", "max_connections=120", cwd=folder, **account):
        # It takes connections before it has started, and refuses them then.
        is_ready = [programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
        wait_for(port, lambda _: subprocess.run(is_ready).returncode == 0)
        yield f"postgresql://bench@127.0.0.1:{port}/postgres"
