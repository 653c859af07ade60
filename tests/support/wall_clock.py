"""A time of day that a test moves, for processes that it starts: a small library which is loaded before libc."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".c")


def compiler() -> str | None:
    """The C compiler; None where there is none."""
    return shutil.which("cc")


class WallClock:
    """Build the library.

    :param folder: an existing folder for it and for the file that says how far the clock is moved.
    """

    def __init__(self, folder: Path) -> None:
        library = folder.absolute() / "wall_clock.so"
        self._file = folder.absolute() / "moved"
        self._file.write_bytes(bytes(8))
        build = ["cc", "-O2", "-fPIC", "-shared", "-o", str(library), str(SOURCE), "-ldl"]
        subprocess.run(build, check=True, timeout=60)
        self.environment = {"LD_PRELOAD": str(library), "PFSERVER_TEST_CLOCK": str(self._file)}
        """For processes that shall see this time of day."""

    def move(self, seconds: int) -> None:
        """Set it to so many seconds beyond the true time; negative: before it."""
        # In place: the processes have it mapped.
        with self._file.open("r+b") as file:
            file.write(struct.pack("q", seconds))
