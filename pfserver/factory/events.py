"""What a factory tells: events for those who watch it, and its state in one line."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field, frozen

from pfserver.factory.tasks import Task


@frozen
class Event:
    """Something happened. ``kind`` is one of ``KINDS``; ``job`` is the server's name of it, where it is about one."""

    kind: str
    text: str
    job: str = ""
    seconds: float | None = None
    """took: of the poll that brought it; finished: from there to the server's acknowledgement."""


#: started, took, finished, released (given back), dropped (another has it, or nobody wants it), away (no server),
#: back (it answers again), broken (nothing can be rendered), stopping, stopped.
KINDS = frozenset(
    {"started", "took", "finished", "released", "dropped", "away", "back", "broken", "stopping", "stopped"}
)

#: Those that are about something that went wrong.
PROBLEMS = frozenset({"released", "dropped", "away", "broken"})


@define
class Status:
    """The factory's state."""

    finished: int = 0
    failed: int = 0
    away: bool = False
    """Whether the server cannot be reached."""
    stopping: bool = False
    working: dict[str, str] = field(factory=dict)
    """By job, what is done with it."""

    def line(self) -> str:
        """For people."""
        if self.stopping:
            doing = "stopping"
        elif self.away:
            doing = "the server is away"
        else:
            doing = "waiting for jobs" if not self.working else "working"
        parts = [doing, f"{self.finished} finished"]
        if self.failed:
            parts.append(f"{self.failed} failed")
        parts += list(self.working.values())
        return ", ".join(parts)


@frozen
class News:
    """Tells what happens, and keeps the status.

    :param tell: hears every event.
    :param on_lost: called when the server cannot be reached.
    """

    status: Status
    tell: Callable[[Event], None]
    on_lost: Callable[[], None]

    def event(self, kind: str, text: str, task: Task | None = None, seconds: float | None = None) -> None:
        """Something happened."""
        self.tell(Event(kind, text, task.job if task is not None else "", seconds))

    def lost(self, text: str) -> None:
        """The server cannot be reached, or answers as it should not."""
        self.on_lost()
        self.status.away = True
        self.event("away", text)

    def reached(self) -> None:
        """The server has answered."""
        if self.status.away:
            self.status.away = False
            self.event("back", "the server answers again")
