"""``make demo``: start a server, submit the sample job over the socket, show its monitor and its output."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BIN = Path(sys.executable).parent

#: Seconds that even a busy machine needs to start the server, and the server to stop.
PATIENCE = 60


def main() -> int:
    """Run the demo; gives the exit code of ``pfserver submit``."""
    folder = Path(tempfile.mkdtemp(prefix="pfserver-demo-"))
    projects, state = folder / "projects", folder / "state"
    run("pfserver", "init", str(projects))
    with running_server(projects, state) as address:
        result = run("pfserver", "--server", address, "submit", "Sample Project.pf", "Job 1", "--watch")
    documents = sorted((state / "output").rglob("*.pdf"))
    if not documents:
        return result or 1
    say(f"The server is stopped. Its documents stay in {documents[0].parent}:")
    say("  " + " ".join(path.name for path in documents))
    if os.environ.get("DISPLAY") and not os.environ.get("CI"):
        subprocess.run(["xdg-open", str(documents[0])], check=False)
    return result


@contextmanager
def running_server(projects: Path, state: Path) -> Iterator[str]:
    """A server on a free port; gives its address, and stops it afterwards."""
    command = ["twistd", "--nodaemon", "--pidfile=", "pfserver", "--projects", str(projects), "--state", str(state)]
    command += ["--pageflex", "tcp:0:interface=127.0.0.1", "--omi", "off", "--http", "off"]
    say(f"\n$ {shlex.join(command)} &")
    environment = {name: value for name, value in os.environ.items() if name != "PFSERVER_CONFIG"}
    server = subprocess.Popen(
        [str(BIN / command[0]), *command[1:]],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )
    try:
        yield _address(server)
    finally:
        server.terminate()
        try:
            server.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            server.kill()
            server.communicate()


def _address(server: subprocess.Popen[str]) -> str:
    """Read the server's log until it listens."""
    assert server.stdout is not None
    watchdog = threading.Timer(PATIENCE, server.kill)
    watchdog.start()
    seen = []
    for line in server.stdout:
        seen.append(line)
        if found := re.search(r"pageflex listening on (\S+)", line):
            watchdog.cancel()
            say(f"pageflex listening on {found[1]}")
            return found[1]
    watchdog.cancel()
    raise SystemExit("the server did not start; it said:\n" + "".join(seen))


def run(*command: str) -> int:
    """Show a command, then run it; gives its exit code."""
    say(f"\n$ {shlex.join(command)}")
    return subprocess.run([str(BIN / command[0]), *command[1:]], check=False).returncode


def say(text: str) -> None:
    """A line for whoever watches."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
