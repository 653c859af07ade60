"""The sample project as it comes with the package; ``examples/projects`` shows the same one and more."""

from __future__ import annotations

import errno
from pathlib import Path

_HERE = Path(__file__).parent
_FILES = (
    "Sample Project.pf",
    "sample/customers.csv",
    "sample/letter.typ",
    "sample/rules.js",
)


def write(directory: Path) -> Path:
    """Write the sample project into a folder and give the path of its project file.

    Raises ``FileExistsError`` where one of its files exists; then nothing was written.
    """
    for name in _FILES:
        if (directory / name).exists():
            raise FileExistsError(errno.EEXIST, "exists", str(directory / name))
    for name in _FILES:
        target = directory / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((_HERE / name).read_bytes())
    return directory / _FILES[0]
