"""A real factory: a ``pfserver factory`` process of its own."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from tests.support.child import PATIENCE, ChildProcess
from tests.support.process import BIN, ROOT


class FactoryProcess(ChildProcess):
    """Start it, listen to it, stop it; whoever starts one stops it.

    :param folder: where its state lies; may have been used by an earlier one.
    """

    def __init__(self, folder: Path, url: str, name: str, *options: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.events: list[dict[str, Any]] = []
        command = [str(BIN / "pfserver"), "factory", url, "--name", name, "--state", str(folder.absolute()), "--json"]
        command += ["--poll", "0.2", "--retry", "0.5", *options]
        super().__init__(command, {**os.environ, "PYTHONPATH": str(ROOT)})

    def wait_for(self, kind: str, count: int = 1) -> list[dict[str, Any]]:
        """Block until so many events of a kind were told; gives them. ``AssertionError`` if it ends before."""
        deadline = time.monotonic() + PATIENCE
        with self.heard:
            while len(self.of(kind)) < count:
                if not self.heard.wait(0.2) and (self.process.poll() is not None or time.monotonic() > deadline):
                    raise AssertionError(f"no {count} events {kind!r}:\n" + "".join(self.log))
        return self.of(kind)

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The events of a kind so far."""
        return [event for event in self.events if event["event"] == kind]

    def on_line(self, line: str) -> None:
        """Keep an event."""
        if line.startswith("{"):
            self.events.append(json.loads(line))
