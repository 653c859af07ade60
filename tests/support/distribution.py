"""pfserver as it is given away: source archive and wheel, built from a copy of this checkout once a run."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from attrs import frozen

from tests.support.process import ROOT

#: Seconds for a build or an installation, which may have to fetch packages.
LONG = 600

_LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv", "build", "dist", "_build", "_trial*", "__pycache__", "*.egg-info", "pfserver-state", ".*_cache"
)


@frozen
class Distribution:
    """What was built."""

    folder: Path
    """Holds both files; pip finds them there with ``PIP_FIND_LINKS``."""
    sdist: Path
    wheel: Path


@cache
def distribution() -> Distribution:
    """Build the source archive, and the wheel from it. Raises ``AssertionError`` with what was printed."""
    scratch = Path(tempfile.mkdtemp(prefix="pfserver-distribution-"))
    atexit.register(shutil.rmtree, scratch, ignore_errors=True)
    source, folder = scratch / "source", scratch / "dist"
    shutil.copytree(ROOT, source, ignore=_LEFT_OUT, symlinks=True)
    command(sys.executable, "-m", "build", "--outdir", str(folder), str(source), cwd=scratch)
    return Distribution(folder, next(folder.glob("*.tar.gz")), next(folder.glob("*.whl")))


def command(*words: str, cwd: Path) -> str:
    """Run a command without this checkout in its path; gives what it prints. Raises ``AssertionError``."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, timeout=LONG)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(words)} ended with exit code {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout
