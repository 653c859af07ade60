"""What happens to jobs, and how to follow one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Sequence
from pathlib import Path

from zope.interface import Attribute, Interface

from pfserver.model import Artifact, Job, JobRequest, Message, Outcome, Progress


class IEngine(Interface):
    """What happens to jobs. Front ends know this and nothing behind it."""

    def submit(request: JobRequest, *, notes: Sequence[tuple[int, str]] = ()) -> Awaitable[Job]:
        """Check a request with its backend and store it as a queued job, with ``notes`` as its first messages.

        The job is on disk when this returns. Raises what :meth:`IBackend.check` raises, and ``NotSupported``,
        ``NoSuchQueue``, ``ServerBusy``, ``ServerStopping``, ``StoreUnavailable``.
        """

    def submit_group(requests: Sequence[JobRequest]) -> Awaitable[Sequence[Job]]:
        """The same for several requests that belong together: all are stored, in one commit, or none."""

    def job(job_id: int) -> Awaitable[Job]:
        """The job as it is now. Raises ``NoSuchJob``."""

    def jobs(*, after: int = 0, limit: int = 100, unfinished: bool = False) -> Awaitable[Sequence[Job]]:
        """Jobs with an id above ``after``, ascending, at most ``limit``; only those without outcome if asked."""

    def recent_jobs(limit: int = 50) -> Awaitable[Sequence[Job]]:
        """The youngest jobs, youngest first."""

    def next_job_id(job_id: int, *, reverse: bool = False) -> Awaitable[int | None]:
        """The id of the job that follows (or, reversed, precedes) ``job_id``; for walking without reading all."""

    def cancel(job_id: int, *, unless_begun: bool = False) -> Awaitable[Job]:
        """Ask for the end of a job: a queued one is done at once, a working one finishes its current document.

        Cancelling twice, or a job that is done, changes nothing; nor, with ``unless_begun``, one that has begun, at any
        attempt. Gives the job as it is then. Raises ``NoSuchJob``.
        """

    def messages(job_id: int, *, after: int = 0, limit: int = 500) -> Awaitable[Sequence[Message]]:
        """The job's messages with a sequence above ``after``, ascending. Raises ``NoSuchJob``."""

    def artifacts(job_id: int) -> Awaitable[Sequence[Artifact]]:
        """What the job has produced; complete once it is done. Raises ``NoSuchJob``."""

    def output_folder(job: Job) -> Path:
        """The folder of the job's finished output (it may not exist yet, or no more)."""

    def follow(job_id: int, *, after: int = 0) -> Awaitable[IFollower]:
        """A cursor into the job's messages, from the first one after ``after`` to the job's end. ``NoSuchJob``."""

    def queue_length(queue: str = "") -> Awaitable[int]:
        """How many jobs wait in a queue, or in all of them for "". Raises ``NoSuchQueue``."""

    def queue_names() -> Sequence[str]:
        """The configured queues."""

    def restart() -> Awaitable[None]:
        """Restart executors and backends. Jobs are kept: those that ran go back to their queue and run again."""

    # -- remote workers: a lease instead of a claim --------

    def lease(
        holder: str,
        choose: Callable[[Sequence[Job]], Job | None],
        *,
        backends: Sequence[str],
        seconds: float,
        kind: Hashable = None,
    ) -> Awaitable[Job | None]:
        """Lease the job that ``choose`` picks among the waiting ones of ``backends``, for so many seconds.

        ``choose`` sees them in pages until it picks one: each has the next jobs of every account that has some, in the
        order in which they would run, without those that have another server for a home. It runs in the store's thread
        and must only look at its arguments. Two calls never get the same job. None where nothing was picked. Choosers
        of an equal ``kind`` want the same jobs: a job that one of them has seen and not wanted, with nothing else to
        pick, is not shown to them again.
        """

    def idle(backends: Sequence[str], kind: Hashable) -> bool:
        """Whether :meth:`lease` is known to give None to choosers of this kind; False where it has to be asked."""

    def renew(job_id: int, holder: str, *, seconds: float, attempt: int | None = None) -> Awaitable[Job]:
        """Let the lease end so many seconds from now. Raises ``LeaseLost``, ``NoSuchJob``.

        ``attempt``: of this lease only, the one that made ``Job.attempts`` this; a holder may have the job again.
        """

    def release(
        job_id: int, holder: str, reason: str, *, attempt: int | None = None, refund: bool = False
    ) -> Awaitable[Job]:
        """Give a leased job back to its queue; the reason is told to its followers. Raises ``LeaseLost``.

        ``attempt`` as in :meth:`renew`; with ``refund`` it does not count, since nobody has tried the job.
        """

    def finish_lease(
        job_id: int,
        holder: str,
        outcome: Outcome,
        *,
        progress: Progress | None = None,
        messages: Sequence[tuple[int, str]] = (),
        publish: Callable[[Path], Sequence[Artifact]] | None = None,
    ) -> Awaitable[Job]:
        """Store the outcome of a leased job.

        ``publish`` is called in a thread with the job's fresh staging folder, fills it and returns what lies there;
        that is the progress where none is given. A lease that ran out is still good for this as long as nobody else
        holds the job. Raises ``LeaseLost``, ``NoSuchJob``, ``OutputUnavailable``, and what ``publish`` raises.
        """


class IFollower(Interface):
    """A cursor into the messages of one job: nothing is kept for it but its position."""

    job_id = Attribute("int: the followed job")

    def next() -> Awaitable[Sequence[Message]]:
        """The next messages, at most a few hundred; waits while there are none. Empty: the job is done, all is told."""

    def stop() -> None:
        """Stop waiting: a pending :meth:`next` returns empty. May be called more than once."""
