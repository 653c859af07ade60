"""A file system of little room, for what happens when it is full."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from pathlib import Path
from unittest import SkipTest, TestCase

_SUDO = [] if os.geteuid() == 0 else ["sudo", "-n"]


class SmallDisk:
    """A tmpfs below a test's folder, unmounted when the test ends. Skips the test where none can be mounted.

    :param path: the mount point, which is made.
    :param size: its room, as mount has it, e.g. ``"8m"``.
    """

    def __init__(self, test: TestCase, path: Path, size: str) -> None:
        self.path = path
        self._filler = path / "filler"
        path.mkdir(parents=True)
        try:
            _mount("-t", "tmpfs", "-o", f"size={size},mode=777", "tmpfs", str(path))
        except (OSError, subprocess.CalledProcessError) as error:
            reason = getattr(error, "stderr", b"") or str(error).encode()
            raise SkipTest(f"a file system is to be mounted: run as root where mount is allowed: {reason!r}") from error
        test.addCleanup(subprocess.run, [*_SUDO, "umount", "--lazy", str(path)], check=True)

    def resize(self, size: str) -> None:
        """Give it another size."""
        _mount("-o", f"remount,size={size}", str(self.path))

    def fill(self, leave: int = 0) -> None:
        """Leave so many bytes of room."""
        with self._filler.open("ab", buffering=0) as file:
            try:
                while (room := shutil.disk_usage(self.path).free - leave) > 0:
                    file.write(bytes(min(room, 1 << 20)))
            except OSError as error:
                # Somebody else took the last of it meanwhile.
                if error.errno != errno.ENOSPC:
                    raise

    def free(self) -> None:
        """Make room again."""
        self._filler.unlink()


def _mount(*arguments: str) -> None:
    subprocess.run([*_SUDO, "mount", *arguments], capture_output=True, check=True)
