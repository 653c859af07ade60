"""What can keep a factory from its work."""

from __future__ import annotations

from pfserver.errors import PFServerError


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


class RendererBroken(PFServerError):
    """Nothing can be rendered on this machine now, whatever the document."""
