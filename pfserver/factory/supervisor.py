"""Runs one program of the user's, and ends it and all that it has started as soon as the factory is gone.

A program of its own that needs nothing of pfserver: its arguments are the command; the factory holds its standard
input open. It leads a process group, and ends with the command's status.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading


def watch() -> None:
    """End the whole group once nobody holds standard input open any more."""
    while os.read(0, 1024):
        pass
    os.killpg(0, signal.SIGKILL)


def main() -> None:
    """Run the command."""
    process = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
    threading.Thread(target=watch, daemon=True).start()
    status = process.wait()
    # A daemon thread in a read cannot end in order; nothing here has to.
    os._exit(128 - status if status < 0 else status)


if __name__ == "__main__":
    main()
