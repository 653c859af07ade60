"""Names that peers send to paths that stay inside a root."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from pfserver.errors import OutsideRoot

_DRIVE = re.compile(r"([A-Za-z]:|//[^/]+/[^/]+)(?=/|$)")


def inside(root: Path, name: str, drives: Mapping[str, str] | None = None) -> Path:
    """The real path of ``name`` below ``root``; it need not exist.

    :param name: relative, with ``/`` or ``\\``; links are followed.
    :param drives: from a drive letter (``C:``) or UNC prefix (``//server/share``) to a folder below the root.
    :raises OutsideRoot: for whatever leaves the root, an absolute path, or a drive that is not mapped.
    """
    if "\0" in name:
        raise OutsideRoot("the name holds a zero byte")
    relative = _without_drive(name.replace("\\", "/"), drives or {})
    if relative.startswith("/"):
        raise OutsideRoot("the name is an absolute path; it must be relative to the projects folder")
    base = root.resolve()
    try:
        path = Path(os.path.realpath(base / relative))
    except (OSError, ValueError) as error:
        raise OutsideRoot("the name cannot be followed") from error
    if not path.is_relative_to(base):
        raise OutsideRoot("the name leads out of the projects folder")
    return path


def is_file(path: Path) -> bool:
    """Whether there is a file; names that no file system takes, such as too long ones, are just not there."""
    try:
        return path.is_file()
    except OSError:
        return False


def _without_drive(name: str, drives: Mapping[str, str]) -> str:
    match = _DRIVE.match(name)
    if match is None:
        return name
    for drive, folder in drives.items():
        if drive.replace("\\", "/").lower() == match[1].lower():
            return f"{folder}/{name[match.end() :].lstrip('/')}"
    raise OutsideRoot(f"{match[1]} is not mapped to a folder of this server")


def has_links_out(folder: Path, limit: int = 500_000) -> bool:
    """Whether a link below ``folder`` leads out of it; looks at ``limit`` entries at most, then says so, too."""
    base = folder.resolve()
    seen = 0
    work = [str(base)]
    while work:
        with os.scandir(work.pop()) as entries:
            for entry in entries:
                seen += 1
                if seen > limit:
                    return True
                if entry.is_symlink():
                    if not Path(os.path.realpath(entry.path)).is_relative_to(base):
                        return True
                elif entry.is_dir(follow_symlinks=False):
                    work.append(entry.path)
    return False
