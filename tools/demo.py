"""``make demo``: start a server, submit the sample job over the socket, show its monitor and its output."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

BIN = Path(sys.executable).parent


def main() -> int:
    """Run the demo; gives the exit code of ``pfserver submit``."""
    folder = Path(tempfile.mkdtemp(prefix="pfserver-demo-"))
    projects, state = folder / "projects", folder / "state"
    run("pfserver", "init", str(projects))
    command = [str(BIN / "twistd"), "--nodaemon", "--pidfile=", "pfserver", "--state", str(state)]
    command += ["--projects", str(projects), "--pageflex", "tcp:0:interface=127.0.0.1", "--omi", "off", "--http", "off"]
    say(" ".join(["twistd", *command[1:]]))
    server = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
    try:
        address = wait_for_port(server)
        result = run("pfserver", "--server", address, "submit", "Sample Project.pf", "Job 1", "--watch", check=False)
    finally:
        server.terminate()
        server.communicate(timeout=60)
    output = sorted((state / "output").rglob("*.pdf"))
    say("the documents:")
    for path in output:
        sys.stdout.write(f"  {path}\n")
    if output and os.environ.get("DISPLAY") and os.environ.get("CI") != "true":
        subprocess.run(["xdg-open", str(output[0])], check=False)
    return result if output else 1


def wait_for_port(server: subprocess.Popen[str]) -> str:
    """Read the server's log until it listens."""
    assert server.stdout is not None
    for line in server.stdout:
        sys.stdout.write(f"  {line}")
        if found := re.search(r"pageflex listening on (\S+)", line):
            return found[1]
    raise SystemExit("the server did not start")


def run(*command: str, check: bool = True) -> int:
    """Show a command, then run it."""
    say(" ".join(word if " " not in word else f"'{word}'" for word in command))
    return subprocess.run([str(BIN / command[0]), *command[1:]], check=check).returncode


def say(text: str) -> None:
    """A line that stands out."""
    sys.stdout.write(f"\n$ {text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
