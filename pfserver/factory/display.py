"""Shows what a factory does: a status line under the events on a terminal, plain lines in a pipe, JSON if wanted."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

from pfserver.factory.events import PROBLEMS, Event, Status


def printable(text: str) -> str:
    """A server's text without what could steer a terminal."""
    return "".join(c if c.isprintable() else "\ufffd" for c in text)


class Lines:
    """One line an event."""

    def __init__(self, out: TextIO, *, as_json: bool, clock: Callable[[], float] = time.time) -> None:
        self._out = out
        self._as_json = as_json
        self._clock = clock

    def tell(self, event: Event) -> None:
        """Print an event."""
        if self._as_json:
            values = {"event": event.kind, "job": event.job, "text": event.text, "time": self._clock()}
            if event.seconds is not None:
                values["seconds"] = event.seconds
            line = json.dumps(values)
        else:
            job = f"{event.job}  " if event.job else ""
            line = f"{event.kind:8}  {printable(job + event.text)}"
        self._out.write(f"{line}\n")
        self._out.flush()

    def refresh(self) -> None:
        """Nothing moves here."""

    def close(self) -> None:
        """Nothing to clear."""


class Live:
    """Events, and below them the status, which is always the last line."""

    def __init__(self, title: str, status: Callable[[], Status]) -> None:
        from rich.console import Console
        from rich.live import Live as RichLive

        self._title = title
        self._status = status
        self._live = RichLive(console=Console(file=sys.stdout), auto_refresh=False, transient=True)
        self._live.start()

    def tell(self, event: Event) -> None:
        """Print an event."""
        from rich.text import Text

        style = "red" if event.kind in PROBLEMS else "green" if event.kind == "finished" else ""
        moment = time.strftime("%H:%M:%S")
        self._live.console.print(Text(f"{moment}  {event.kind:8}  {printable(event.text)}", style=style))
        self.refresh()

    def refresh(self) -> None:
        """Show the status as it is now."""
        from rich.text import Text

        self._live.update(Text(f"{self._title}: {printable(self._status().line())}", style="bold"), refresh=True)

    def close(self) -> None:
        """Clear the status line."""
        self._live.stop()


def display(title: str, status: Callable[[], Status], *, as_json: bool) -> Any:
    """What fits where standard output goes."""
    if sys.stdout.isatty() and not as_json:
        return Live(title, status)
    return Lines(sys.stdout, as_json=as_json)
