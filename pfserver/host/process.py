"""What a server does with its process: its garbage, its descriptors, its end."""

from __future__ import annotations

import gc
import os
import resource
import sys
from contextlib import suppress
from typing import Any

from twisted.internet.error import ReactorNotRunning


def collect_seldom() -> None:
    """Look for garbage in cycles less often: jobs in hand are many objects and none, and looking through them is slow.

    A submission costs an eighth less by it.
    """
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


def allow_many_connections() -> None:
    """Each connection is a file descriptor; the usual soft limit of 1,024 is for programs that use select()."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def stop(reactor: Any) -> None:
    """Stop the reactor, unless that was asked for before."""
    with suppress(ReactorNotRunning):
        reactor.stop()


def exit_with_failure() -> None:
    """End the process with exit code 1, when all else is done."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)
