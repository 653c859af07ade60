"""``twistd pfserver``: its options, and the service that wires all rooms together.

The only module that knows every room. :class:`Server` reads like a table of contents: what is started, in which order,
and stopped in the opposite one.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import twisted
from attrs import frozen
from twisted.application.service import IServiceCollection, Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.threads import deferToThread
from twisted.logger import ILogObserver, Logger
from twisted.python import usage
from twisted.python.failure import Failure
from zope.interface import implementer

from pfserver import __version__
from pfserver.backends.executors import build_workers
from pfserver.documents.sweeper import Sweeper
from pfserver.documents.uploads import Uploads
from pfserver.engine.feed import Feed
from pfserver.engine.locks import LockTable
from pfserver.engine.reports import Tools
from pfserver.engine.retention import RetentionRule
from pfserver.engine.service import Engine, EngineOptions
from pfserver.errors import ConfigurationError, PFServerError
from pfserver.host import logs
from pfserver.host.clock import boot_id, since_boot, steady_clock
from pfserver.host.config import Configuration, load
from pfserver.host.notify import notify
from pfserver.host.plugins import Plugins, discover
from pfserver.host.ports import Ports
from pfserver.host.process import allow_many_connections, collect_seldom, exit_with_failure, stop
from pfserver.host.state import StateFolder
from pfserver.interfaces import (
    IBackend,
    IBackendServices,
    IDataSourcePlugin,
    IEngine,
    IFactories,
    IFrontEnd,
    IFrontEndServices,
    IGlobals,
    ILocks,
    IWorkers,
)
from pfserver.store.clock import ServerClock, begin_clock
from pfserver.store.database import Database
from pfserver.store.factories import Factories
from pfserver.store.globals import Globals
from pfserver.store.handouts import Handouts
from pfserver.store.jobs import JobStore
from pfserver.store.outputs import Outputs

#: Seconds between looks into a database that other servers write too.
SHARED_STORE_POLL = 1.0

#: Threads for what waits for disks and databases: a few slow data sources must not keep others from theirs.
THREADS = 32

#: What the answer to "what are you" says.
BUILD_STRING = f"pfserver {__version__} (Python {sys.version.split()[0]}, Twisted {twisted.__version__})"


#: Front ends that pfserver always has an option for, installed or not, with their usual endpoints.
USUAL = {
    "pageflex": "tcp:8008:interface=127.0.0.1",
    "omi": "tcp:8009:interface=127.0.0.1",
    "http": "tcp:8010:interface=127.0.0.1",
}


def _options(plugins: Plugins) -> type[usage.Options]:
    """The command line: fixed options, and one for each front end that is installed."""

    class Options(usage.Options):
        """Options of ``twistd pfserver``; what is not given comes from the configuration file, else a default."""

        longdesc = "A durable job server for document production: Pageflex Server socket API, OMI, Officeshots XML-RPC."
        optParameters = [
            ["config", "c", os.environ.get("PFSERVER_CONFIG"), "TOML file; every option is a key there too"],
            ["state", None, None, "folder of the job database, globals and outputs [pfserver-state]"],
            ["projects", None, None, "root of the projects that a job may name [projects]"],
            ["store", None, None, "SQLAlchemy URL of the job database [SQLite in the state folder]"],
            ["executor", None, None, "processes, processes:N, threads:N or dask:tcp://HOST:PORT [processes]"],
            ["log-format", None, None, "text or json [text]"],
        ]

        def __init__(self) -> None:
            super().__init__()
            self.endpoints: dict[str, list[str]] = {}
            self.plugins = plugins
            self.configuration = Configuration()

        def postOptions(self) -> None:
            """Read the configuration; raises ``UsageError`` that says what is wrong with it."""
            given = {key: self[key] for key in ("state", "projects", "store", "executor")}
            given["log_format"] = self["log-format"]
            path = Path(self["config"]) if self["config"] else None
            try:
                self.configuration = load(path, {**given, **self.endpoints}, list(defaults))
                for name, endpoints in self.configuration.endpoints.items():
                    if endpoints and name not in installed:
                        raise ConfigurationError(f"the front end {name} is not installed; say --{name} off")
            except ConfigurationError as error:
                raise usage.UsageError(str(error)) from error

    installed = {plugin.name: plugin.default_endpoint for plugin in plugins.frontends}
    defaults = {**USUAL, **installed}
    for name, endpoint in defaults.items():
        setattr(Options, f"opt_{name}", _endpoint_option(name, endpoint))
    return Options


def _endpoint_option(name: str, default: str) -> Any:
    def option(self: Any, endpoint: str) -> None:
        self.endpoints.setdefault(name, []).append(endpoint)

    option.__doc__ = f"Twisted endpoint for {name}, more than once if wanted, or off [{default}]"
    return option


Options = _options(discover())


@implementer(IBackendServices)
@frozen
class BackendServices:
    """See ``IBackendServices``."""

    reactor: Any
    clock: IReactorTime
    workers: IWorkers
    projects_root: Path
    state: Path
    home: str
    data_sources: Sequence[IDataSourcePlugin]


@implementer(IFrontEndServices)
@frozen
class FrontEndServices:
    """See ``IFrontEndServices``."""

    engine: IEngine
    reactor: Any
    clock: IReactorTime
    state: Path
    store: Database
    factories: IFactories
    projects_root: Path
    build_string: str
    locks: ILocks
    globals: IGlobals


class Server(Service):
    """Everything that runs, from the database up to the ports.

    :param state: the locked state folder.
    """

    log = Logger()
    name = "pfserver"

    def __init__(
        self,
        configuration: Configuration,
        plugins: Plugins,
        state: StateFolder,
        reactor: Any,
        twistd: Mapping[str, Any],
    ) -> None:
        self._configuration = configuration
        self._plugins = plugins
        self._state = state
        self._reactor = reactor
        self._twistd = twistd
        self._ports = Ports(reactor)
        self._database = Database(configuration.store_url, reactor)
        self._globals = Globals(
            configuration.state / "globals",
            reactor,
            durability=configuration.globals_durability,
            interval=configuration.globals_interval,
        )
        self._engine: Engine | None = None
        self._sweeper: Sweeper | None = None
        self._frontends: list[IFrontEnd] = []
        self._starting: Deferred[None] | None = None

    def setServiceParent(self, parent: Any) -> None:
        """Have the application log in our style, where twistd was not told otherwise."""
        super().setServiceParent(IServiceCollection(parent, parent))
        observer = logs.observer(self._twistd, self._configuration.log_format)
        if observer is not None and hasattr(parent, "setComponent"):
            parent.setComponent(ILogObserver, observer)

    def startService(self) -> None:
        """Start; the ports listen when everything behind them is ready."""
        super().startService()
        self._reactor.callWhenRunning(self._begin)

    def _begin(self) -> None:
        # Twisted's own handler ends the process with the signal after a clean stop; service managers want exit code 0.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        self._starting = Deferred.fromCoroutine(self._start())
        self._starting.addErrback(self._cannot_start)

    def _on_signal(self, number: int, frame: object) -> None:
        # The second one does not wait for running jobs: what was acknowledged is on disk.
        signal.signal(number, signal.SIG_DFL)
        self._reactor.callFromThread(stop, self._reactor)

    async def _start(self) -> None:
        configuration = self._configuration
        if not configuration.projects.is_dir():
            self.log.warn("no projects folder {folder}: jobs will find no project", folder=str(configuration.projects))
        await deferToThread(self._database.open)
        await self._follow_clock()
        self._globals.open()
        workers = build_workers(configuration.executor, self._reactor)
        handouts = Handouts()
        store = JobStore(self._database, self._reactor, handouts)
        poll = None if self._database.is_private else SHARED_STORE_POLL
        node = self._state.node(configuration.machine_name)
        tools = Tools(
            store=store,
            outputs=Outputs(configuration.output, configuration.output_roots),
            feed=Feed(store, self._reactor, poll),
            clock=self._reactor,
            in_thread=deferToThread,
            node=node,
        )
        options = EngineOptions(
            host=configuration.machine_name,
            queues=configuration.queues,
            retention=RetentionRule(configuration.retention_age, configuration.retention_count),
            attempts=configuration.attempts,
            shutdown_grace=configuration.shutdown_grace,
            poll=poll,
            node_timeout=None if self._database.is_private else configuration.node_timeout,
        )
        home = "" if self._database.is_private else node
        self._engine = Engine(options, self._build_backends(workers, home), workers, tools)
        await self._engine.start()
        factories = Factories(self._database, self._reactor, handouts)
        self._sweeper = Sweeper(self._engine, factories, Uploads(configuration.state), self._reactor)
        self._sweeper.startService()
        await self._listen(self._engine, factories)
        self._ports.announce()
        notify("READY=1")

    async def _follow_clock(self) -> None:
        """Where the time of day was set between two lives of the server, leases and retention do not notice."""
        if self._database.is_private and (boot := boot_id()):
            clock = ServerClock(boot, self._reactor.seconds() - since_boot())
            if moved := await self._database.write(begin_clock, clock):
                self.log.warn("clock.was-set", seconds=round(moved))

    def _build_backends(self, workers: IWorkers, home: str) -> list[IBackend]:
        configuration = self._configuration
        _expect_known("backends", configuration.backends, self._plugins.backends)
        services = BackendServices(
            reactor=self._reactor,
            clock=self._reactor,
            workers=workers,
            projects_root=configuration.projects,
            state=configuration.state,
            home=home,
            data_sources=self._plugins.data_sources,
        )
        backends = []
        for plugin in self._plugins.backends:
            backend = plugin.build(services, configuration.backends.get(plugin.name, {}))
            if backend is None:
                self.log.info("backend.absent", name=plugin.name)
            else:
                backends.append(backend)
        return backends

    async def _listen(self, engine: IEngine, factories: IFactories) -> None:
        configuration = self._configuration
        _expect_known("frontends", configuration.frontends, self._plugins.frontends)
        services = FrontEndServices(
            engine=engine,
            reactor=self._reactor,
            clock=self._reactor,
            state=configuration.state,
            store=self._database,
            factories=factories,
            projects_root=configuration.projects,
            build_string=BUILD_STRING,
            locks=LockTable(),
            globals=self._globals,
        )
        for plugin in self._plugins.frontends:
            endpoints = configuration.endpoints.get(plugin.name, [plugin.default_endpoint])
            if not endpoints:
                continue
            frontend = plugin.build(services, configuration.frontends.get(plugin.name, {}))
            self._frontends.append(frontend)
            await maybeDeferred(frontend.startService)
            for endpoint in endpoints:
                await self._ports.listen(plugin.name, endpoint, frontend.factory)

    def _cannot_start(self, failure: Failure) -> None:
        if isinstance(failure.value, PFServerError):
            self.log.critical("pfserver cannot start: {reason}", reason=failure.getErrorMessage())
        else:
            self.log.failure("pfserver cannot start", failure)
        # twistd has no way to end with another code than 0 once its reactor has run.
        atexit.register(exit_with_failure)
        stop(self._reactor)

    def stopService(self) -> Deferred[None]:
        """Close the ports, let the engine finish or give back what runs, then close the rest."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        notify("STOPPING=1")
        grace = self._configuration.shutdown_grace
        self.log.info("pfserver is stopping; running jobs get {grace:g} seconds", grace=grace)
        if self._starting is not None:
            await self._starting
        await self._ports.close()
        if self._sweeper is not None:
            self._sweeper.stopService()
        if self._engine is not None:
            await self._engine.stop()
        for frontend in self._frontends:
            await maybeDeferred(frontend.stopService)
        await self._globals.close()
        await deferToThread(self._database.close)
        self._state.release()
        self.log.info("pfserver stopped")


def makeService(options: Any) -> Server:
    """The service of ``twistd pfserver``; exits with a message where its state belongs to another server."""
    from twisted.internet import reactor

    reactor.seconds = steady_clock()  # type: ignore[method-assign]
    reactor.suggestThreadPoolSize(THREADS)  # type: ignore[attr-defined]
    allow_many_connections()
    collect_seldom()
    configuration: Configuration = options.configuration
    try:
        state = StateFolder(configuration.state)
        if configuration.store_file is not None:
            state.add(configuration.store_file, "job database")
    except PFServerError as error:
        raise SystemExit(f"pfserver cannot start: {error}") from error
    return Server(configuration, options.plugins, state, reactor, options.parent or {})


def _expect_known(table: str, configured: Mapping[str, Any], plugins: Sequence[Any]) -> None:
    names = [plugin.name for plugin in plugins]
    for name in configured:
        if name not in names:
            raise ConfigurationError(f"[{table}.{name}]: there is no such plugin; installed are: {', '.join(names)}")
