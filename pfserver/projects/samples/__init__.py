"""The project that ``pfserver init`` writes: the reference's ``Sample Project.pf`` with ``Job 1``."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

_HERE = Path(__file__).parent

#: What :func:`write` writes: the project file and the folder with its resources.
NAMES = ("Sample Project.pf", "Sample Project")


def write(directory: Path) -> Sequence[Path]:
    """Write the sample project into a folder, which is made if needed; gives what was written.

    :raises FileExistsError: where something of it is there already; then nothing is written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        if (directory / name).exists():
            raise FileExistsError(f"{name} is already there")
    for name in NAMES:
        source = _HERE / name
        if source.is_dir():
            shutil.copytree(source, directory / name)
        else:
            shutil.copyfile(source, directory / name)
    return [directory / name for name in NAMES]
