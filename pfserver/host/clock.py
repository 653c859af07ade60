"""A clock that looks like the time of day and never jumps.

Twisted's reactor reads the wall clock, so that setting the clock forward would end every lease and time-out at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path


def since_boot() -> float:
    """Seconds since the machine was started, those in which it slept included. Nobody can set them."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """What no other start of the machine has; "" where the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def steady_clock(
    wall: Callable[[], float] = time.time,
    since_boot: Callable[[], float] = since_boot,
) -> Callable[[], float]:
    """A function that gives seconds since the epoch, read once from the wall clock and counted on from there."""
    offset = wall() - since_boot()
    return lambda: offset + since_boot()
