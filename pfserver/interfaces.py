"""Every contract between the rooms of pfserver, and nothing else. Read this first.

A *front end* speaks a protocol and calls :class:`IEngine`. The *engine* decides what happens to a job; it keeps them in
an :class:`IJobStore`, has them produced by an :class:`IBackend` and listens to it through an :class:`IReporter`.
Backends, front ends and data sources are added as Twisted plugins (:class:`IBackendPlugin`, :class:`IFrontEndPlugin`,
:class:`IDataSourcePlugin`): a third party's package ships a module in ``twisted/plugins`` that provides one of these.

Methods that may take time return an awaitable (a coroutine or a Deferred); all are called in the reactor's thread
unless said otherwise. What they raise is one of :mod:`pfserver.errors`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from twisted.application.service import IService
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocolFactory, IReactorTime
from zope.interface import Attribute, Interface

from pfserver.model import Artifact, HeldLock, Job, JobRequest, Message, Outcome, Progress
from pfserver.remote import Account, Factory

# -- the engine --------


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

    def cancel(job_id: int) -> Awaitable[Job]:
        """Ask for the end of a job: a queued one is done at once, a working one finishes its current document.

        Cancelling twice, or a job that is done, changes nothing. Raises ``NoSuchJob``.
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
        order in which they would run. It runs in the store's thread and must only look at its arguments. Two calls
        never get the same job. None where nothing was picked. Choosers of an equal ``kind`` want the same jobs: a job
        that one of them has seen and not wanted, with nothing else to pick, is not shown to them again.
        """

    def idle(backends: Sequence[str], kind: Hashable) -> bool:
        """Whether :meth:`lease` is known to give None to choosers of this kind; False where it has to be asked."""

    def renew(job_id: int, holder: str, *, seconds: float) -> Awaitable[Job]:
        """Let the lease end so many seconds from now. Raises ``LeaseLost``, ``NoSuchJob``."""

    def release(job_id: int, holder: str, reason: str) -> Awaitable[Job]:
        """Give a leased job back to its queue; the reason is told to its followers. Raises ``LeaseLost``."""

    def finish_lease(
        job_id: int,
        holder: str,
        outcome: Outcome,
        *,
        progress: Progress,
        messages: Sequence[tuple[int, str]] = (),
        publish: Callable[[Path], Sequence[Artifact]] | None = None,
    ) -> Awaitable[Job]:
        """Store the outcome of a leased job.

        ``publish`` is called in a thread with the job's fresh staging folder, fills it and returns what lies there. A
        lease that ran out is still good for this as long as nobody else holds the job. Raises ``LeaseLost``,
        ``NoSuchJob``, ``OutputUnavailable``.
        """


class IFollower(Interface):
    """A cursor into the messages of one job: nothing is kept for it but its position."""

    job_id = Attribute("int: the followed job")

    def next() -> Awaitable[Sequence[Message]]:
        """The next messages, at most a few hundred; waits while there are none. Empty: the job is done, all is told."""

    def stop() -> None:
        """Stop waiting: a pending :meth:`next` returns empty. May be called more than once."""


# -- the store --------


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
        """Move at most ``limit`` queued jobs to running for ``node``: by priority, then age.

        Counts an attempt and adds the messages to each job.
        """

    def append(
        job_id: int,
        *,
        messages: Sequence[tuple[int, str]] = (),
        progress: Progress | None = None,
        artifacts: Sequence[Artifact] = (),
    ) -> Awaitable[Job]:
        """Add messages and artifacts and replace the counts. An artifact of the same name is replaced."""

    def finish(
        job_id: int,
        outcome: Outcome,
        *,
        node: str,
        messages: Sequence[tuple[int, str]] = (),
        progress: Progress | None = None,
        artifacts: Sequence[Artifact] | None = None,
    ) -> Awaitable[Job]:
        """Store the outcome, in one step with the last messages; ``artifacts``, if given, replace all earlier ones.

        Raises ``WrongState`` unless ``node`` is the one that the job is running at or leased to.
        """

    def cancel(job_id: int, closing: Callable[[Job], Sequence[tuple[int, str]]]) -> Awaitable[Job]:
        """Queued: done with outcome cancelled and the messages ``closing`` gives. Working: cancelling. Done: as is."""

    def requeue(
        job_id: int, *, node: str, messages: Sequence[tuple[int, str]] = (), refund: bool = False
    ) -> Awaitable[Job]:
        """Put a working job of ``node`` back into its queue; with ``refund`` the attempt does not count.

        A cancelling one cannot go back: ``WrongState``.
        """

    def abandoned(node: str) -> Awaitable[Sequence[Job]]:
        """Working jobs that this node, in an earlier life, had claimed and left."""

    def lease(
        holder: str,
        choose: Callable[[Sequence[Job]], Job | None],
        *,
        backends: Sequence[str],
        expires_at: float,
        messages: Sequence[tuple[int, str]] = (),
        kind: Hashable = None,
    ) -> Awaitable[Job | None]:
        """As :meth:`IEngine.lease`; counts an attempt and adds the messages."""

    def idle(backends: Sequence[str], kind: Hashable) -> bool:
        """As :meth:`IEngine.idle`."""

    def renew(job_id: int, holder: str, *, expires_at: float) -> Awaitable[Job]:
        """Move the end of a lease. Raises ``LeaseLost``."""

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


class IGlobals(Interface):
    """M globals, ordered as M collates: environments are separate namespaces. See :mod:`pfserver.store.globals`.

    All names, subscripts and values are bytes. A global's name stands without its caret (``b"X"`` for ``^X``). A node
    is named by a *key* that :meth:`key` makes once; what a key looks like only the store knows.

    Reads happen in the calling thread, at once, and wait for nobody. Updates are handed over as a function, one a
    message, and what one function does is one commit: all of it is kept or nothing. Commits of several messages are
    grouped. Durability ``"message"``: the Deferred fires once they are on disk; ``"interval"``: it fires at once, reads
    see the update at once, and the disk has it within ``globals_interval`` seconds.

    Made as ``pfserver.store.globals.Globals(folder, reactor, durability="message", interval=1.0)``; ``open()`` blocks
    and raises ``StoreUnavailable``, ``close()`` returns an awaitable that fires when all is on disk.
    """

    def key(environment: bytes, name: bytes, subscripts: Sequence[bytes]) -> bytes:
        """The key of a node. The last subscript may be empty: where order and query start, before all siblings.

        Neither name nor subscripts are checked but for what the store cannot keep: raises ``ReferenceTooLong``.
        """

    def below(key: bytes, subscripts: Sequence[bytes]) -> bytes:
        """The key of a node below another one: ``key(e, n, a + b)`` is ``below(key(e, n, a), b)``.

        For those who name many nodes of one global.
        """

    def read(function: Callable[..., Any], *arguments: Any) -> Any:
        """Call ``function(view, *arguments)`` with one consistent view, which it must not keep, and return its result.

        Synchronous.
        """

    def write(function: Callable[[IGlobalsUpdate], Any]) -> Deferred[Any]:
        """Call ``function`` with what reads and updates, and see its own updates; fires with its result.

        ``function`` may be called in another thread, and again where a commit has to be repeated: it must only look
        at its arguments and what belongs to it. Calls are made in the order of :meth:`write`. Where it raises, none
        of its updates is kept and the Deferred fails with what it raised. Fails with ``StoreUnavailable`` where
        nothing could be kept, e.g. because the disk is full.
        """


class IGlobalsView(Interface):
    """Globals as they are at one moment. Keys come from :meth:`IGlobals.key`. All methods are synchronous."""

    def get(key: bytes) -> bytes | None:
        """The node's value; None where it has none."""

    def define(key: bytes) -> int:
        """$Data: 0 nothing, 1 a value, 10 descendants, 11 both."""

    def order(key: bytes, reverse: bool = False) -> bytes:
        """$Order: the next subscript (or, reversed, the one before) at the key's level; ``b""`` where there is none.

        For a key without subscripts: the next global name, without its caret. A key whose last subscript is empty
        stands before the first sibling, reversed: behind the last one.
        """

    def query(key: bytes, reverse: bool = False) -> tuple[bytes, ...] | None:
        """$Query: the subscripts of the next node of the same global that has a value; None where there is none.

        Reversed: of the node before; ``()`` is the global's own node.
        """


class IGlobalsUpdate(IGlobalsView):
    """The same, and updates."""

    def set(key: bytes, value: bytes) -> None:
        """Give a node its value, of any length up to 32,767 bytes."""

    def kill(key: bytes) -> None:
        """Remove a node's value and all its descendants."""


class ILocks(Interface):
    """The names that M clients have locked. In memory: a lock lives as long as its session."""

    def held() -> Sequence[HeldLock]:
        """All locks, by environment, name and subscripts."""

    def take(lock: HeldLock) -> bool:
        """Lock a name once more for its owner (``count`` is ignored); False where somebody else's lock is in the way.

        In the way are locks of other owners (session and client) on the same name, above it and below it.
        """

    def give_back(lock: HeldLock) -> None:
        """Undo one :meth:`take`; nothing happens where the owner has no such lock."""

    def release(session: int, client: bytes | None = None) -> None:
        """Give back all locks of a session, or of one of its clients."""


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


# -- backends --------


class IReporter(Interface):
    """How a backend tells the engine about the one job that it works on, and hears that it should stop."""

    job = Attribute("Job: the job as it was when it was claimed")
    folder = Attribute(
        "pathlib.Path: the staging folder, made at its first use (may raise OutputUnavailable); what lies there when"
        " the backend returns is the job's output"
    )
    cancelled = Attribute("bool: whether the job was cancelled: finish the current document and return CANCELLED")

    def when_cancelled() -> Awaitable[None]:
        """Fires once the job is cancelled; never otherwise."""

    def message(number: int, text: str) -> None:
        """Add a message to the job's log; it may have several lines."""

    def progress(progress: Progress) -> None:
        """Replace the job's counts."""

    def artifact(artifact: Artifact) -> None:
        """Announce a file in :attr:`folder`."""

    def flush() -> Awaitable[None]:
        """Wait until all that was reported is stored. Await this now and then: it is the back-pressure."""


class IBackend(Interface):
    """Something that produces jobs."""

    name = Attribute("str: stored with each job; must not change between versions")
    local = Attribute("bool: whether the engine runs its jobs; False for jobs that only a remote worker leases")

    def takes(request: JobRequest) -> bool:
        """Whether this backend is the one for the request; decided by its names alone, without I/O."""

    def check(request: JobRequest) -> Awaitable[JobRequest]:
        """Check everything that can be known before the job is accepted; returns the request, perhaps completed.

        Raises ``NoSuchProject``, ``NoSuchProjectJob``, ``BadProject``, ``OutsideRoot``, ``BadVariable``,
        ``MissingVariable``, ``NotAllowed``. Must be quick: the submitter waits.
        """

    def run(reporter: IReporter) -> Awaitable[Outcome]:
        """Produce the job's output in ``reporter.folder``.

        Raises ``JobFailed`` for what is wrong with the job (outcome failed), ``OutputUnavailable`` for what may go away
        (the job is tried again); anything else is a fault of the backend and logged. May be cancelled by
        ``Deferred.cancel`` when the server stops: clean up and let the cancellation pass.
        """

    def restart() -> Awaitable[None]:
        """Stop and start again whatever is kept between jobs (processes, connections)."""

    def stop() -> Awaitable[None]:
        """Stop for good; no job runs any more."""


class IWorkers(Interface):
    """CPU-bound work on a ``concurrent.futures.Executor``: a process pool, threads, or a cluster."""

    size = Attribute("int: how many calls run at once")

    def run(function: Callable[..., Any], *arguments: Any, timeout: float | None = None) -> Awaitable[Any]:
        """Call a picklable function in a worker, for at most so many seconds where that can be enforced.

        Raises what it raises, or ``WorkerLost`` when its process died or took too long.
        """

    def restart() -> Awaitable[None]:
        """Replace all workers; calls that run now raise ``WorkerLost``."""

    def stop() -> Awaitable[None]:
        """End all workers."""


class IBackendServices(Interface):
    """What a backend may use; handed to :meth:`IBackendPlugin.build`."""

    reactor = Attribute("the reactor: clock, threads, processes, connections")
    clock = Attribute("IReactorTime: time for time-outs")
    workers = Attribute("IWorkers: where CPU-bound work runs")
    projects_root = Attribute("pathlib.Path: the folder that all projects lie in")
    state = Attribute("pathlib.Path: the state folder; a backend keeps what it must in backends/<name> there")
    data_sources = Attribute("Sequence[IDataSourcePlugin]: all that were found")


class IBackendPlugin(Interface):
    """A Twisted plugin that adds a backend."""

    name = Attribute("str: also the name of its table in the configuration, [backends.<name>]")

    def build(services: IBackendServices, options: Mapping[str, Any]) -> IBackend | None:
        """Make the backend from its table in the configuration; None where it is not available on this machine.

        Raises ``ConfigurationError`` for an option that cannot be used.
        """


# -- data sources --------


class IDataSourcePlugin(Interface):
    """A Twisted plugin that reads records from a kind of source."""

    name = Attribute("str: for messages and the documentation")

    def takes(source: str) -> bool:
        """Whether it reads this source: decided by the suffix of a file name or the scheme of a URL."""

    def open(
        source: str, root: Path, options: Mapping[str, Any]
    ) -> AbstractContextManager[Iterator[Mapping[str, Any]]]:
        """A context manager around the records, each a mapping of column to value, read lazily.

        ``source`` is a file's absolute path (already checked to lie inside ``root``) or a URL; ``options`` is the
        project's ``[data]`` table. Runs in a thread and may block. Raises ``JobFailed`` with the number
        ``DATA_SOURCE_BROKEN`` and a text that names file, line and column where known.
        A record that cannot be read, where those behind it can, is given as an ``Unreadable`` (see
        :mod:`pfserver.projects.sources.common`): it fails alone.
        """

    def count(source: str, root: Path, options: Mapping[str, Any]) -> int | None:
        """The number of records where it can be had at little cost, else None. Runs in a thread."""


# -- front ends --------


class IFrontEndPlugin(Interface):
    """A Twisted plugin that adds a protocol by which jobs come in."""

    name = Attribute("str: the command line's option, and its table in the configuration, [frontends.<name>]")
    default_endpoint = Attribute("str: the Twisted endpoint it listens on where nothing is configured")

    def build(services: IFrontEndServices, options: Mapping[str, Any]) -> IFrontEnd:
        """Make the front end from its table in the configuration. Raises ``ConfigurationError``."""


class IFrontEnd(IService):
    """A running front end: started before its ports listen, stopped after they are closed."""

    factory = Attribute("IProtocolFactory: what answers connections")


class IFrontEndServices(Interface):
    """What a front end may use; handed to :meth:`IFrontEndPlugin.build`."""

    engine = Attribute("IEngine")
    reactor = Attribute("the reactor")
    clock = Attribute("IReactorTime: time for time-outs")
    state = Attribute("pathlib.Path: the state folder")
    store = Attribute("the database, for front ends that keep tables of their own (see pfserver.store.database)")
    factories = Attribute("IFactories: accounts, tokens and remote factories")
    globals = Attribute("IGlobals")
    locks = Attribute("ILocks: shared by all front ends")
    projects_root = Attribute("pathlib.Path")
    build_string = Attribute("str: the server's name and versions, for those who ask")


__all__ = [
    "IBackend",
    "IBackendPlugin",
    "IBackendServices",
    "IDataSourcePlugin",
    "IEngine",
    "IFactories",
    "IFollower",
    "IFrontEnd",
    "IFrontEndPlugin",
    "IFrontEndServices",
    "IGlobals",
    "IGlobalsUpdate",
    "IGlobalsView",
    "IJobStore",
    "ILocks",
    "IOutputs",
    "IProtocolFactory",
    "IReactorTime",
    "IReporter",
    "IWorkers",
]
