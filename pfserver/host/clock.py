"""A clock that looks like the time of day and never jumps.

Twisted's reactor reads the wall clock, so that setting the clock forward would end every lease and time-out at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable


def steady_clock(
    wall: Callable[[], float] = time.time,
    since_boot: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
) -> Callable[[], float]:
    """A function that gives seconds since the epoch, read once from the wall clock and counted on from there."""
    offset = wall() - since_boot()
    return lambda: offset + since_boot()
