"""The state folder: who may work on it, and the name of this server in the job database."""

from __future__ import annotations

import fcntl
import os
import uuid
from pathlib import Path

from pfserver.errors import ConfigurationError, PFServerError, StateInUse
from pfserver.host.disk import sync


class StateFolder:
    """A state folder that belongs to this process (and to what it forks) until it ends.

    :raises StateInUse: when another server works on it.
    :raises ConfigurationError: when it cannot be made or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        what = f"the state folder {path}"
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unusable(what, error) from error
        self._locks = [_lock(path / "lock", what)]

    def add(self, file: Path, kind: str) -> None:
        """Have a file for this process alone, wherever it lies; its lock stands beside it. ``kind`` says what it is.

        :raises: as for the folder, which is let go then.
        """
        # A link is another name of the same file.
        file = file.resolve()
        try:
            self._locks.append(_lock(file.with_name(file.name + ".lock"), f"the {kind} {file}"))
        except PFServerError:
            self.release()
            raise

    def node(self, host: str) -> str:
        """The name under which this server claims jobs: begins with its first host's, and no other state has it.

        It stays the same over restarts even where the host is named anew, as containers are: jobs that were at work
        are found by it.
        """
        path = self.path / "node"
        name = path.read_text(encoding="utf-8").strip() if path.exists() else ""
        if "/" not in name:
            # Nothing yet, or what earlier servers wrote: the part behind the slash.
            name = f"{host}/{name or uuid.uuid4().hex}"
            draft = path.with_name("node.new")
            draft.write_text(name, encoding="utf-8")
            sync(draft)
            draft.rename(path)
            sync(self.path)
        return name

    def release(self) -> None:
        """Let others have it."""
        while self._locks:
            os.close(self._locks.pop())


def _lock(path: Path, what: str) -> int:
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unusable(what, error) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise StateInUse(f"another server works on {what}") from error
    return lock


def _unusable(what: str, error: OSError) -> ConfigurationError:
    return ConfigurationError(f"{what} cannot be used: {error.strerror}")
