"""fis-gtm on this machine: a database of its own in a folder, and M programs run on it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from twisted.trial.unittest import SkipTest

INSTALL = "apt-get install fis-gtm"


def distribution() -> Path:
    """Where fis-gtm is. Without it: a failure where CI is set, else the test is skipped."""
    found = sorted(Path("/usr/lib").glob("*/fis-gtm/*/mumps"))
    if found:
        return found[-1].parent
    if os.environ.get("CI"):
        raise AssertionError(f"fis-gtm is not installed: {INSTALL}")
    raise SkipTest(f"fis-gtm is not installed: {INSTALL}")


class MSystem:
    """A global directory, a database and routines in a folder.

    :param folder: made where it does not exist; its path may not be long, for M's sake.
    """

    def __init__(self, folder: Path) -> None:
        self.distribution = distribution()
        self.folder = folder.absolute()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.directory = self.folder / "m.gld"
        self.environment = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(self.folder),
            "gtm_dist": str(self.distribution),
            "gtmgbldir": str(self.directory),
            "gtmroutines": f"{self.folder} {self.distribution}/libgtmutil.so {self.distribution}",
        }
        layout = [
            f"change -segment DEFAULT -file={self.folder}/m.dat",
            "change -region DEFAULT -key_size=1019 -record_size=32767 -null_subscripts=never",
            "exit",
        ]
        self.call("mumps", "-run", "GDE", data="\n".join(layout) + "\n")
        self.call("mupip", "create")

    def call(self, program: str, *arguments: str, data: str = "") -> str:
        """Run a program of the distribution in the folder; gives what it prints. Raises ``AssertionError``."""
        ended = subprocess.run(
            [str(self.distribution / program), *arguments],
            cwd=self.folder,
            env=self.environment,
            input=data.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=60,
            check=False,
        )
        printed = ended.stdout.decode("latin-1")
        if ended.returncode:
            raise AssertionError(f"{program} {' '.join(arguments)} ended with {ended.returncode}: {printed}")
        return printed

    def run(self, name: str, source: str) -> str:
        """Write a routine and run it; gives what it prints."""
        (self.folder / f"{name}.m").write_text(source, encoding="latin-1")
        return self.call("mumps", "-run", name)
