"""One exception per thing that a caller can get wrong, or that can go wrong for a caller.

A front end maps these to its own codes in one table; nothing else about an error reaches a peer. The text of each is
meant for people: what was wrong, where, and what to do. It never holds a path of the server, a traceback or a version.
"""

from __future__ import annotations

import errno


class PFServerError(Exception):
    """The base of everything that pfserver raises on purpose."""


# -- what a submitter can get wrong --------


class MissingVariable(PFServerError):
    """A variable that the command needs is missing or empty."""


class BadVariable(PFServerError):
    """A variable's value cannot be used."""


class UnknownCommand(PFServerError):
    """The command does not exist."""


class NotAllowed(PFServerError):
    """The caller is not allowed to do this."""


class NotSupported(PFServerError):
    """No backend of this server takes such a job."""


class OutsideRoot(PFServerError):
    """A path leaves the folder that it must stay in."""


class NoSuchProject(PFServerError):
    """There is no such project under the projects root."""


class NoSuchProjectJob(PFServerError):
    """The project has no job of that name."""


class BadProject(PFServerError):
    """The project file, or a file that it names, cannot be used."""


class NoSuchQueue(PFServerError):
    """There is no queue of that name."""


class ReferenceTooLong(PFServerError):
    """The name and the subscripts of a node of a global are longer than can be kept."""


# -- what a follower or an operator can get wrong --------


class NoSuchJob(PFServerError):
    """There is no job with that number."""


class WrongState(PFServerError):
    """The job's state does not allow this step of its life cycle."""


class LeaseLost(PFServerError):
    """The lease of a job ran out and somebody else holds it now."""


# -- what can go wrong for everybody --------


class StoreUnavailable(PFServerError):
    """Nothing could be stored, e.g. because the disk is full; what was asked for did not happen."""


class StateInUse(PFServerError):
    """Another server already works on this state folder."""


class ServerStopping(PFServerError):
    """The server is stopping and takes no new jobs."""


class ServerBusy(PFServerError):
    """The server has as many waiting jobs or connections as it is allowed to have."""


class WorkerLost(PFServerError):
    """The process that did a piece of work died before it was done."""


class ConfigurationError(PFServerError):
    """An option or the configuration file cannot be used."""


# -- what ends a job --------


class JobFailed(PFServerError):
    """Raised by a backend: the job cannot be produced. ``number`` is told by the monitor with the text."""

    def __init__(self, number: int, text: str) -> None:
        super().__init__(text)
        self.number = number
        self.text = text

    def __reduce__(self) -> tuple[type[JobFailed], tuple[int, str]]:
        """Raised in worker processes: pickled with both arguments."""
        return type(self), (self.number, self.text)


class OutputUnavailable(PFServerError):
    """What a job writes could not be written, e.g. because the disk is full; the job is tried again later."""


def unwritten(error: OSError, what: str = "the output could not be written") -> Exception:
    """A full or broken disk is no fault of the job: it is tried again. Any other error stays what it is."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EFBIG):
        return OutputUnavailable(f"{what}: {error.strerror}")
    return error
