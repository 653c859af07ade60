"""What is kept: jobs, their output, and the factories that may take some."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from pathlib import Path

from zope.interface import Attribute, Interface

from pfserver.model import Artifact, Job, JobRequest, Message, Outcome, Progress
from pfserver.remote import Account, Factory


class IJobStore(Interface):
    """Where jobs, messages and artifacts are kept. Whatever returned is on disk.

    Each method that changes a job's state does it with compare-and-set against ``LIFE_CYCLE`` and raises ``WrongState``
    where the step is not allowed, ``NoSuchJob`` where there is no such job, ``StoreUnavailable`` where nothing could be
    written (and then nothing was).
    """

    def add(requests: Sequence[JobRequest], *, messages: Sequence[tuple[int, str]] = ()) -> Awaitable[Sequence[Job]]:
        """Store new queued jobs, all or none, each with the messages; ids ascend and are never used twice."""

    def get(job_id: int) -> Awaitable[Job]:
        """One job."""

    def find(*, after: int, limit: int, unfinished: bool = False, reverse: bool = False) -> Awaitable[Sequence[Job]]:
        """Jobs with an id above ``after`` (below it if reversed), in that order, at most ``limit``."""

    def messages(job_id: int, *, after: int, limit: int) -> Awaitable[Sequence[Message]]:
        """Messages with a sequence above ``after``, ascending."""

    def artifacts(job_id: int) -> Awaitable[Sequence[Artifact]]:
        """What a job has produced."""

    def waiting(queue: str = "") -> Awaitable[int]:
        """The number of queued jobs, of one queue or of all."""

    def claim(
        queue: str, backends: Sequence[str], limit: int, *, node: str, messages: Sequence[tuple[int, str]] = ()
    ) -> Awaitable[Sequence[Job]]:
        """Move at most ``limit`` queued jobs to running for ``node``: by priority, then age. None of another home.

        Counts an attempt and adds the messages to each job.
        """

    def append(
        job_id: int,
        *,
        messages: Sequence[tuple[int, str]] = (),
        progress: Progress | None = None,
        artifacts: Sequence[Artifact] = (),
        node: str | None = None,
        attempt: int | None = None,
    ) -> Awaitable[Job]:
        """Add messages and artifacts and replace the counts. An artifact of the same name is replaced.

        Raises ``WrongState`` where ``node`` is given and does not work on the job any more, and with ``attempt``, which
        says nothing without a node, where it does at another one.
        """

    def finish(
        job_id: int,
        outcome: Outcome,
        *,
        node: str,
        attempt: int | None = None,
        messages: Sequence[tuple[int, str]] = (),
        progress: Progress | None = None,
        artifacts: Sequence[Artifact] | None = None,
    ) -> Awaitable[Job]:
        """Store the outcome, in one step with the last messages; ``artifacts``, if given, replace all earlier ones.

        Raises ``WrongState`` unless ``node`` is the one that the job is running at or leased to, or was the last; with
        ``attempt`` unless it is at work, at that attempt.
        """

    def cancel(
        job_id: int, closing: Callable[[Job], Sequence[tuple[int, str]]], *, unless_begun: bool = False
    ) -> Awaitable[Job]:
        """Queued: done with outcome cancelled and the messages ``closing`` gives. Working: cancelling. Done: as is.

        With ``unless_begun`` all that has begun, at any attempt, stays as it is.
        """

    def requeue(
        job_id: int,
        *,
        node: str,
        messages: Sequence[tuple[int, str]] = (),
        refund: bool = False,
        attempt: int | None = None,
        until: float | None = None,
    ) -> Awaitable[Job]:
        """Put a working job of ``node`` back into its queue; with ``refund`` the attempt does not count.

        A cancelling one cannot go back, nor one that is at another ``attempt`` by now or whose lease does not end at
        ``until`` (seconds since the epoch) any more: ``WrongState``.
        """

    def waiting_by_queue() -> Awaitable[Mapping[tuple[str, str, str], int]]:
        """How many jobs wait, by queue and backend; none of them is 0."""

    def abandoned(node: str) -> Awaitable[Sequence[Job]]:
        """Working jobs that this node, in an earlier life, had claimed and left."""

    def beat(node: str) -> Awaitable[None]:
        """A node that shares this store lives: it counts on."""

    def beats() -> Awaitable[Mapping[str, int]]:
        """How far each node has counted, of those at which jobs run."""

    def lease(
        holder: str,
        choose: Callable[[Sequence[Job]], Job | None],
        *,
        backends: Sequence[str],
        expires_at: float,
        messages: Sequence[tuple[int, str]] = (),
        kind: Hashable = None,
        home: str = "",
    ) -> Awaitable[Job | None]:
        """As :meth:`IEngine.lease` of the server ``home``; counts an attempt and adds the messages."""

    def idle(backends: Sequence[str], kind: Hashable) -> bool:
        """As :meth:`IEngine.idle`."""

    def renew(job_id: int, holder: str, *, expires_at: float, attempt: int | None = None) -> Awaitable[Job]:
        """Move the end of a lease, of any attempt or of this one only. Raises ``LeaseLost``."""

    def expired_leases(now: float) -> Awaitable[Sequence[Job]]:
        """Leased and cancelling jobs whose lease has run out."""

    def prunable(*, finished_before: float | None, keep: int | None, limit: int) -> Awaitable[Sequence[Job]]:
        """Done jobs that are older than allowed, or beyond the ``keep`` youngest done ones; oldest first."""

    def delete(job_ids: Sequence[int]) -> Awaitable[None]:
        """Forget done jobs with all their messages and artifacts."""


class IOutputs(Interface):
    """Where finished output lies: one folder a job, complete or not there at all. All methods block: use a thread."""

    def begin(job: Job) -> Path:
        """A fresh, empty staging folder beside the final one.

        Raises ``OutputUnavailable``, and ``JobFailed`` where waiting would not help.
        """

    def publish(job: Job) -> None:
        """Rename the staging folder to its final place, replacing an earlier one. Raises ``OutputUnavailable``."""

    def discard(job: Job) -> None:
        """Remove the staging folder, if any."""

    def remove(job: Job) -> None:
        """Remove the finished output, if any."""

    def folder(job: Job) -> Path:
        """The final folder: ``<final output dir>/<transaction id>``."""

    def resolve(name: str) -> Path:
        """The folder that a submitter's final output dir means; "" is the default. Raises ``OutsideRoot``."""


class IFactories(Interface):
    """Who may ask for conversions and who does them: accounts, tokens, factories and their workers.

    Made as ``pfserver.store.factories.Factories(database, clock)``: nothing to start or stop, it loads what it keeps
    when it is first asked. What changes something raises ``BadVariable`` and ``StoreUnavailable``.
    """

    changes = Attribute("int: counts the changes of accounts, tokens and factories that were made here")

    def account(name: str) -> Awaitable[Account | None]:
        """An account, None where there is none of that name."""

    def accounts() -> Awaitable[Sequence[Account]]:
        """All of them, by name."""

    def put_account(account: Account) -> Awaitable[None]:
        """Add an account, or replace its rights."""

    def make_token(account: str, label: str) -> Awaitable[str]:
        """A new secret that stands for the account; replaces the one of the same label. Raises ``NoSuchAccount``."""

    def drop_token(account: str, label: str) -> Awaitable[None]:
        """Forget a token. Raises ``NoSuchAccount``."""

    def account_of_token(secret: str) -> Awaitable[str | None]:
        """Whom a secret stands for."""

    def factory(name: str) -> Awaitable[Factory]:
        """A factory. Raises ``NoSuchFactory``."""

    def factories() -> Awaitable[Sequence[Factory]]:
        """All of them, by name."""

    def put_factory(factory: Factory) -> Awaitable[None]:
        """Add a factory, or replace its owner, rights and workers; its counters stay."""

    def drop_factory(name: str) -> Awaitable[None]:
        """Forget a factory. Raises ``NoSuchFactory``."""

    def seen(factory: Factory, *, leased: int = 0, finished: int = 0) -> None:
        """Count a call of a factory: a poll, unless it has finished something. Stored now and then."""

    def hand_out(job_id: int) -> Awaitable[str]:
        """The name (a UUID) under which factories know a job; always the same."""

    def job_of(name: str) -> Awaitable[int]:
        """The job that went out under a name. Raises ``NoSuchJob``."""

    def forget_handouts() -> Awaitable[None]:
        """Forget the names of jobs that were removed."""
