"""A process that a test or a benchmark starts, listens to and stops."""

from __future__ import annotations

import subprocess
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

#: Seconds within which even a busy machine starts a server.
PATIENCE = 60


class ChildProcess(ABC):
    """Whoever starts one stops it.

    ``process`` is there before its first line is; ``log`` holds what it has printed so far, ``heard`` is notified of
    each line and of the end.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], folder: Path | None = None) -> None:
        self.log: list[str] = []
        self.heard = threading.Condition()
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env=dict(environment),
        )
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    @abstractmethod
    def on_line(self, line: str) -> None:
        """It has printed this; ``heard`` is held."""

    def terminate(self) -> int:
        """SIGTERM, as a service manager would; gives the exit code."""
        self.process.terminate()
        return self.join()

    def kill(self) -> None:
        """``kill -9`` of the process alone."""
        self.process.kill()
        self.process.wait()

    def join(self) -> int:
        """Wait for its end; gives the exit code."""
        code = self.process.wait(PATIENCE)
        self._reading.join(PATIENCE)
        return code

    def close(self) -> None:
        """Make sure that nothing of it is left."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._reading.join(5)
        if self.process.stdout is not None:
            self.process.stdout.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        try:
            for line in self.process.stdout:
                with self.heard:
                    self.log.append(line)
                    self.on_line(line)
                    self.heard.notify_all()
        except ValueError:
            # Closed meanwhile.
            return
        with self.heard:
            self.heard.notify_all()
