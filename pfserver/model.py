"""The values that flow between the rooms, and the life cycle of a job as one table.

A job's life::

    queued ──> running ──> done(outcome)
       │          ├──────> queued        (its server or worker was lost, attempts are left)
       │          └──────> cancelling ──> done
       ├─────> leased ───> done | queued | cancelling      (a remote factory works on it)
       └─────> done(cancelled)                             (cancelled before it began)

Every step is made by the store with compare-and-set against :data:`LIFE_CYCLE`; nothing else changes a state.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum, IntEnum
from types import MappingProxyType

from attrs import field, frozen

from pfserver.errors import BadVariable

DEFAULT_QUEUE = "default"
DEFAULT_ATTEMPTS = 3


class State(Enum):
    """Where a job is in its life."""

    QUEUED = "queued"
    RUNNING = "running"
    LEASED = "leased"
    CANCELLING = "cancelling"
    DONE = "done"


LIFE_CYCLE: Mapping[State, frozenset[State]] = MappingProxyType(
    {
        State.QUEUED: frozenset({State.RUNNING, State.LEASED, State.DONE}),
        State.RUNNING: frozenset({State.DONE, State.QUEUED, State.CANCELLING}),
        State.LEASED: frozenset({State.DONE, State.QUEUED, State.CANCELLING}),
        State.CANCELLING: frozenset({State.DONE}),
        State.DONE: frozenset(),
    }
)
"""From each state, the states that may follow it."""


class Outcome(IntEnum):
    """How a job ended; the values are the completion numbers of the Pageflex monitor."""

    COMPLETED = 20
    PARTIAL = 21
    FAILED = 22
    CANCELLED = 23

    @property
    def status(self) -> str:
        """The word that clients search for after ``Job Status =`` (Pageflex: monitor)."""
        return {20: "SUCCESS", 21: "PARTIAL", 22: "FAILED", 23: "CANCELLED"}[self.value]


def _frozen_mapping(value: Mapping[str, str]) -> Mapping[str, str]:
    return MappingProxyType(dict(value))


@frozen(kw_only=True)
class JobRequest:
    """What somebody wants to have produced."""

    project: str
    """The path under the projects root of a project or a document, with ``/``."""
    job: str = ""
    """The name of the job inside the project; empty where the backend needs none."""
    variables: Mapping[str, str] = field(factory=dict, converter=_frozen_mapping)
    """Job variables that steer the production, ``_sys_…`` among them."""
    document_variables: Mapping[str, str] = field(factory=dict, converter=_frozen_mapping)
    """Values for every record; they win over the project's own."""
    queue: str = DEFAULT_QUEUE
    priority: int = 0
    """Higher runs first; equal ones by age."""
    backend: str = ""
    """The name of the backend; empty until :meth:`IEngine.submit` has found the one that takes the project."""
    account: str = ""
    """Who asked, as the front end knows them; empty for anonymous."""
    group: str = ""
    """Jobs of one request share a group (one document for several applications); empty for a job of its own."""
    output_folder: str = ""
    """Where the job's folder goes, absolute; empty for the state's own ``output``."""
    max_attempts: int = DEFAULT_ATTEMPTS
    home: str = ""
    """The only server that can do it, of several that share the jobs, since what was sent with it lies there; empty for
    any."""


@frozen(kw_only=True)
class Job:
    """A stored job: what was asked for and how far it has come. Times are seconds since the epoch, UTC."""

    id: int
    request: JobRequest
    state: State = State.QUEUED
    outcome: Outcome | None = None
    attempts: int = 0
    """How often a backend or a factory has begun with it."""
    node: str = ""
    """The server (or the factory) that works on it, or did last."""
    created_at: float = 0.0
    started_at: float | None = None
    finished_at: float | None = None
    total: int | None = None
    """Documents expected, where known."""
    documents: int = 0
    pages: int = 0
    failures: int = 0
    messages: int = 0
    """How many messages are stored; the last one's sequence number."""
    lease_until: float | None = None
    """When the lease of a remote factory ends."""

    @property
    def transaction_id(self) -> str:
        """The job as the Pageflex dialect names it: ``T`` and at least seven digits."""
        return f"T{self.id:07d}"


_TRANSACTION_ID = re.compile(r"T([0-9]{7,18})")


def job_id_of(transaction_id: str) -> int:
    """The job number of ``T0000042``; raises :class:`BadVariable` for anything else."""
    match = _TRANSACTION_ID.fullmatch(transaction_id.strip())
    if match is None:
        raise BadVariable(f"{transaction_id[:40]!r} is not a transaction id: T and seven digits or more are expected")
    return int(match[1])


@frozen
class Message:
    """One entry of a job's log. ``sequence`` counts from 1 within the job; ``text`` may have several lines."""

    sequence: int
    number: int
    text: str
    time: float = 0.0


@frozen(kw_only=True)
class Progress:
    """Absolute counts of a running job; each report replaces the one before."""

    documents: int = 0
    pages: int = 0
    failures: int = 0
    total: int | None = None


@frozen(kw_only=True)
class Artifact:
    """A file that a job produced. ``name`` is relative to the job's output folder, with ``/``; ``size`` in bytes."""

    name: str
    media_type: str
    size: int
    pages: int = 0
    sha256: str = ""


@frozen
class HeldLock:
    """A lock on a name of M, held by one client of one session (OMI: locks)."""

    environment: bytes
    name: bytes
    """The global's name without its caret."""
    subscripts: tuple[bytes, ...]
    session: int
    client: bytes
    """The client's $Job."""
    agent: str
    """Whom the session belongs to; empty for anonymous."""
    count: int
    """How often it was locked and not unlocked yet."""
