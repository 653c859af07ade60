"""A real factory: a ``pfserver factory`` process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

from tests.support.process import BIN, PATIENCE, ROOT


class FactoryProcess:
    """Start it, listen to it, stop it; whoever starts one stops it.

    :param folder: where its state lies; may have been used by an earlier one.
    """

    def __init__(self, folder: Path, url: str, name: str, *options: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.events: list[dict[str, Any]] = []
        self.output: list[str] = []
        command = [str(BIN / "pfserver"), "factory", url, "--name", name, "--state", str(folder.absolute()), "--json"]
        command += ["--poll", "0.2", "--retry", "0.5", *options]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        self._heard = threading.Condition()
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def wait_for(self, kind: str, count: int = 1) -> list[dict[str, Any]]:
        """Block until so many events of a kind were told; gives them. ``AssertionError`` if it ends before."""
        deadline = time.monotonic() + PATIENCE
        with self._heard:
            while len(self.of(kind)) < count:
                if not self._heard.wait(0.2) and (self.process.poll() is not None or time.monotonic() > deadline):
                    raise AssertionError(f"no {count} events {kind!r}:\n" + "".join(self.output))
        return self.of(kind)

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The events of a kind so far."""
        return [event for event in self.events if event["event"] == kind]

    def terminate(self) -> int:
        """SIGTERM; gives the exit code."""
        self.process.terminate()
        return self.join()

    def join(self) -> int:
        """Wait for its end; gives the exit code."""
        code = self.process.wait(PATIENCE)
        self._reading.join(PATIENCE)
        return code

    def kill(self) -> None:
        """``kill -9``."""
        self.process.kill()
        self.join()

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
                with self._heard:
                    self.output.append(line)
                    if line.startswith("{"):
                        self.events.append(json.loads(line))
                    self._heard.notify_all()
        except ValueError:
            # Closed meanwhile.
            return
        with self._heard:
            self._heard.notify_all()
