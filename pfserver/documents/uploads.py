"""What peers have sent and jobs still need: uploaded documents, and passwords that shall not stand in the job database.

Each is a file in the state folder under a name that nobody can guess; the job holds the name. What still arrives lies
apart: it may take as long as it takes, and nobody takes it for what is left of a job. All methods block.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection
from pathlib import Path
from secrets import token_hex

from pfserver.errors import BadVariable
from pfserver.host.disk import sync

_NAME = re.compile(r"[0-9a-f]{32}")


class Uploads:
    """The folder of uploads.

    :param state: the state folder.
    """

    def __init__(self, state: Path) -> None:
        self._folder = state / "uploads"
        # On the same disk, wherever that is.
        self._incoming = self._folder / "incoming"

    def create(self) -> tuple[str, Path]:
        """A fresh name and where its file goes while it arrives; the folder exists."""
        self._incoming.mkdir(parents=True, exist_ok=True, mode=0o700)
        name = token_hex(16)
        return name, self._incoming / name

    def settle(self, name: str) -> Path:
        """A file is complete and a job will need it: from now on it survives a power cut. Gives where it lies."""
        if not self._folder.is_dir():
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            sync(self._folder.parent)
        path = self._folder / name
        sync(self._incoming / name)
        (self._incoming / name).rename(path)
        sync(self._folder)
        return path

    def forget_incoming(self) -> None:
        """Remove what an earlier life of the server did not receive to its end."""
        shutil.rmtree(self._incoming, ignore_errors=True)

    def path(self, name: str) -> Path:
        """The file of a name. Raises ``BadVariable`` for what is not such a name, or where its file is gone."""
        if not self.has(name):
            raise BadVariable("there is no such upload")
        return self._folder / name

    def keep(self, text: str) -> str:
        """Keep a short text, e.g. a password; gives its name."""
        name, path = self.create()
        try:
            path.touch(mode=0o600)
            path.write_text(text, encoding="utf-8")
            self.settle(name)
        except OSError:
            path.unlink(missing_ok=True)
            raise
        return name

    def has(self, name: str) -> bool:
        """Whether there is a file of this name."""
        return _NAME.fullmatch(name) is not None and (self._folder / name).is_file()

    def text(self, name: str) -> str:
        """What :meth:`keep` has kept. Raises ``BadVariable``."""
        return self.path(name).read_text(encoding="utf-8")

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        if _NAME.fullmatch(name) is not None:
            (self._folder / name).unlink(missing_ok=True)

    def names(self) -> list[str]:
        """Names of all files."""
        found = [path.name for path in self._folder.iterdir()] if self._folder.is_dir() else []
        return [name for name in found if _NAME.fullmatch(name)]

    def sweep(self, candidates: Collection[str], used: Collection[str]) -> int:
        """Remove those candidates that nobody uses; gives how many."""
        unused = set(candidates) - set(used)
        for name in unused:
            self.remove(name)
        return len(unused)
