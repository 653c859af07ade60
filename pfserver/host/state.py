"""The state folder: who may work on it, and the name of this server in the job database."""

from __future__ import annotations

import fcntl
import os
import uuid
from pathlib import Path

from pfserver.errors import ConfigurationError, StateInUse


class StateFolder:
    """A state folder that belongs to this process (and to what it forks) until it ends.

    :raises StateInUse: when another server works on it.
    :raises ConfigurationError: when it cannot be made or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigurationError(f"the state folder {path} cannot be used: {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._lock)
            raise StateInUse(f"another server works on the state folder {path}") from error

    def node(self, host: str) -> str:
        """The name under which this server claims jobs; stays the same over restarts, and no other state has it."""
        path = self.path / "node"
        if not path.exists():
            draft = path.with_name("node.new")
            draft.write_text(uuid.uuid4().hex, encoding="ascii")
            draft.rename(path)
        return f"{host}/{path.read_text(encoding='ascii').strip()}"

    def release(self) -> None:
        """Let others have it."""
        os.close(self._lock)
