"""What can keep a factory from its work."""

from __future__ import annotations

from pfserver.errors import PFServerError
from pfserver.factory.tasks import Task


class ServerAway(PFServerError):
    """The server cannot be reached now, or does not answer as a server does: it is asked again later."""


class Refused(PFServerError):
    """The server does not want this factory, or what it sends: somebody has to do something about it.

    :param final: whether the same call will never be accepted.
    """

    def __init__(self, text: str, *, final: bool = False) -> None:
        super().__init__(text)
        self.final = final


class NotRendered(PFServerError):
    """The document cannot be rendered; the text says why."""


class NotKept(PFServerError):
    """A job came that this machine's disk did not take.

    :param task: it has to be given back.
    """

    def __init__(self, task: Task, error: OSError) -> None:
        super().__init__(disk_problem(error))
        self.task = task


def disk_problem(error: OSError) -> str:
    """What is wrong with the disk, for people."""
    return f"the factory's disk cannot be used: {error.strerror or error}"


class RendererBroken(PFServerError):
    """Nothing can be rendered on this machine now, whatever the document."""
