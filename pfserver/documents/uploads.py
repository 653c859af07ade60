"""What peers have sent and jobs still need: uploaded documents, and passwords that shall not stand in the job database.

Each is a file in the state folder under a name that nobody can guess; the job holds the name. All methods block.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from secrets import token_hex

from pfserver.errors import BadVariable

_NAME = re.compile(r"[0-9a-f]{32}")


class Uploads:
    """The folder of uploads.

    :param state: the state folder.
    """

    def __init__(self, state: Path) -> None:
        self._folder = state / "uploads"

    def create(self) -> tuple[str, Path]:
        """A fresh name and where its file goes; the folder exists."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        name = token_hex(16)
        return name, self._folder / name

    def path(self, name: str) -> Path:
        """The file of a name. Raises ``BadVariable`` for what is not such a name, or where its file is gone."""
        path = self._folder / name
        if _NAME.fullmatch(name) is None or not path.is_file():
            raise BadVariable("there is no such upload")
        return path

    def keep(self, text: str) -> str:
        """Keep a short text, e.g. a password; gives its name."""
        name, path = self.create()
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")
        return name

    def text(self, name: str) -> str:
        """What :meth:`keep` has kept. Raises ``BadVariable``."""
        return self.path(name).read_text(encoding="utf-8")

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        if _NAME.fullmatch(name) is not None:
            (self._folder / name).unlink(missing_ok=True)

    def names(self) -> list[str]:
        """Names of all files."""
        return [path.name for path in self._folder.iterdir()] if self._folder.is_dir() else []

    def sweep(self, candidates: Collection[str], used: Collection[str]) -> int:
        """Remove those candidates that nobody uses; gives how many."""
        unused = set(candidates) - set(used)
        for name in unused:
            self.remove(name)
        return len(unused)
