"""Wires a factory and runs it until somebody ends it."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from attrs import field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import (
    FilteringLogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogBeginner,
    textFileLogObserver,
)
from twisted.python.failure import Failure

from pfserver.backends.office.pool import PoolOptions
from pfserver.backends.office.programs import INSTALL_HINT, find_programs
from pfserver.errors import ConfigurationError
from pfserver.factory.calls import Calls
from pfserver.factory.display import display
from pfserver.factory.events import Event
from pfserver.factory.office import OfficeRenderer, cores
from pfserver.factory.program import RESULT, ProgramRenderer
from pfserver.factory.rendering import IRenderer
from pfserver.factory.server import OfficeshotsServer
from pfserver.factory.service import FactoryService
from pfserver.factory.tasks import Tasks
from pfserver.factory.tls import Policy
from pfserver.factory.work import FactoryOptions
from pfserver.host.notify import notify
from pfserver.host.state import StateFolder
from pfserver.wire.xmlrpc import Limits

MIB = 1024 * 1024

_LOCAL_NAMES = {"localhost", "127.0.0.1", "::1"}


@frozen(kw_only=True)
class FactorySettings:
    """All that can be said of a factory."""

    url: str
    name: str
    state: Path
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    token: str = ""
    command: str = ""
    """A program to render with; "" for LibreOffice."""
    result: str = RESULT
    jobs: int = 0
    """Jobs at once; 0: one a core with LibreOffice, else one."""
    timeout: float = 60.0
    """Seconds that one document may take."""
    confine: bool = True
    """Whether LibreOffice sees nothing but programs, fonts, its profile and its documents."""
    readable: tuple[Path, ...] = ()
    """What it sees besides; absolute."""
    document_mib: int = 256
    """The largest document, in MiB."""
    options: FactoryOptions = field(factory=FactoryOptions)


def api_address(url: str) -> str:
    """The address of the API of a server: ``/xmlrpc`` where no path is said. Raises ``ConfigurationError``."""
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError(f"{url!r} is not the address of a server: http://HOST:PORT or https://HOST:PORT")
    return parts._replace(path=parts.path if parts.path.strip("/") else "/xmlrpc").geturl()


def expect_secret(url: str, token: str) -> None:
    """Raises ``ConfigurationError`` where a token would travel in the open."""
    parts = urlsplit(url)
    if token and parts.scheme == "http" and parts.hostname not in _LOCAL_NAMES:
        raise ConfigurationError("an access token may leave this machine only over https://")


def build_renderer(settings: FactorySettings, reactor: Any) -> IRenderer:
    """What renders. Raises ``ConfigurationError``."""
    if settings.command:
        jobs = settings.jobs or 1
        return ProgramRenderer(reactor, settings.command, result=settings.result, jobs=jobs, timeout=settings.timeout)
    programs = find_programs({})
    if not programs.soffice:
        raise ConfigurationError(INSTALL_HINT)
    state = settings.state.absolute()
    options = PoolOptions(
        size=settings.jobs or cores(),
        timeout=settings.timeout,
        confine=settings.confine,
        readable=settings.readable,
    )
    return OfficeRenderer(reactor, programs, state / "profiles", state / "jobs", options)


def run(settings: FactorySettings, *, as_json: bool) -> None:
    """Run a factory until SIGTERM or SIGINT. Blocks.

    Raises ``ConfigurationError``, ``StateInUse``; ``Refused`` where the server does not want it.
    """
    from twisted.internet import reactor as global_reactor

    reactor: Any = global_reactor
    url = api_address(settings.url)
    expect_secret(url, settings.token)
    policy = Policy(settings.ca, settings.certificate, settings.key)
    renderer = build_renderer(settings, reactor)
    state = StateFolder(settings.state.absolute())
    tasks = Tasks(state.path / "jobs", f"{url} {settings.name}")
    limits = Limits(document=settings.document_mib * MIB)
    calls = Calls(reactor, url, policy=policy, token=settings.token, limits=limits)
    server = OfficeshotsServer(calls, settings.name, tasks)
    shown = display(f"{settings.name} at {url}", lambda: service.status, as_json=as_json)

    def tell(event: Event) -> None:
        shown.tell(event)
        notify(f"STATUS={service.status.line()}")

    service = FactoryService(reactor, server, renderer, tasks, settings.options, tell)
    failures: list[Failure] = []
    try:
        _run_service(reactor, service, shown, Event("started", f"{settings.name} works for {url}"), failures)
    finally:
        shown.close()
        state.release()
    if failures:
        failures[0].raiseException()


def _run_service(reactor: Any, service: FactoryService, shown: Any, started: Event, failures: list[Failure]) -> None:
    def end(number: int = 0, frame: object = None) -> None:
        # Twisted's own handler would end the process with the signal after a clean stop.
        reactor.callFromThread(lambda: reactor.running and reactor.stop())

    def begin() -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, end)
        shown.tell(started)
        service.startService()
        notify("READY=1")

    def fail(failure: Failure) -> None:
        failures.append(failure)
        end()

    def stop() -> Deferred[None]:
        notify("STOPPING=1")
        return service.stopService()

    level = FilteringLogObserver(textFileLogObserver(sys.stderr), [LogLevelFilterPredicate(LogLevel.warn)])
    globalLogBeginner.beginLoggingTo([level], redirectStandardIO=False, discardBuffer=True)
    service.ended.addErrback(fail)
    refreshing = LoopingCall(shown.refresh)
    reactor.callWhenRunning(begin)
    reactor.callWhenRunning(refreshing.start, 1.0)
    reactor.addSystemEventTrigger("before", "shutdown", stop)
    reactor.run()
