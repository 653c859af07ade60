"""``pfserver doctor``."""

from __future__ import annotations

import json
import shutil
import socket
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from urllib.parse import urlsplit

import click
from attrs import asdict, frozen

from pfserver.client.commands.common import as_json, client_of, printable
from pfserver.client.errors import NoServer, ServerRefused
from pfserver.client.servers import Servers, host_and_port

#: Python packages, and what is lost without them. The first ones are always installed with pfserver.
PACKAGES = {
    "Twisted": "the server",
    "typst": "templates",
    "quickjs-ng": "rules",
    "SQLAlchemy": "the job database",
    "lmdb": "M globals",
    "psycopg": "the job database on PostgreSQL: pip install 'pfserver[postgres]'",
    "distributed": "work on a Dask cluster: pip install 'pfserver[dask]'",
    "cryptography": "client certificates of factories: pip install 'pfserver[office]'",
}

#: Programs, and what is lost without them.
PROGRAMS = {
    "soffice": "conversions of office documents: apt-get install libreoffice-writer-nogui libreoffice-calc-nogui",
    "pdftoppm": "png pages of office documents: apt-get install poppler-utils",
    "fis-gtm": "M routines as jobs: apt-get install fis-gtm",
}

#: Where Debian keeps programs that are not on everybody's path.
PLACES = {"fis-gtm": "/usr/lib/*/fis-gtm/*/gtm"}


#: Seconds for a connection to a server that may be far.
SECONDS = 5.0


@frozen
class Finding:
    """One thing that was looked at."""

    name: str
    found: str
    """What was found; empty where it is missing."""
    gives: str
    needed: bool = False


@click.command()
@as_json
@click.pass_obj
def doctor(servers: Servers, as_json: bool) -> int:
    """Say what is installed, what is missing, and what it would give.

    The exit code is 1 if something is missing that the server cannot do without.
    """
    findings = [*_python(), *_packages(), *_programs(), _server(servers), *_ports(servers)]
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            mark = click.style("ok     ", fg="green") if finding.found else click.style("missing", fg="yellow")
            click.echo(f"{mark} {finding.name:16} {finding.found or finding.gives}")
        click.echo(_verdict(findings))
    return int(any(finding.needed and not finding.found for finding in findings))


def _verdict(findings: Iterable[Finding]) -> str:
    lost = [finding.name for finding in findings if finding.needed and not finding.found]
    if lost:
        return f"pfserver cannot run without: {', '.join(lost)}. Install it again: pip install pfserver"
    return "All that the server needs is here. What is missing adds what is said beside it."


def _python() -> Iterator[Finding]:
    good = sys.version_info >= (3, 11)
    yield Finding("Python", sys.version.split()[0] if good else "", "Python 3.11 or newer is needed", needed=True)
    import twisted.plugins

    plugin = any(Path(place, "pfserver_plugins.py").exists() for place in twisted.plugins.__path__)
    yield Finding("twistd pfserver", "the plugin is there" if plugin else "", "the server's command", needed=True)


def _packages() -> Iterator[Finding]:
    for name, gives in PACKAGES.items():
        try:
            found = version(name)
        except PackageNotFoundError:
            found = ""
        yield Finding(name, found, gives, needed="pip install" not in gives)


def _programs() -> Iterator[Finding]:
    for name, gives in PROGRAMS.items():
        found = shutil.which(name) or ""
        if not found and name in PLACES:
            found = next((str(path) for path in sorted(Path("/").glob(PLACES[name].lstrip("/")))), "")
        yield Finding(name, found, gives)
    yield _landlock()


def _landlock() -> Finding:
    try:
        # Not before: what it stands in needs packages that may be missing.
        from pfserver.backends.office import confinement

        landlock = confinement.version()
    except ImportError:
        landlock = 0
    gives = "LibreOffice sees nothing but its documents: a kernel from 5.13 on that was booted with lsm=landlock"
    return Finding("Landlock", f"version {landlock}" if landlock else "", gives)


def _server(servers: Servers) -> Finding:
    gives = f"no server answers at {servers.pageflex}: twistd --nodaemon pfserver"
    try:
        return Finding("server", f"{printable(client_of(servers).build_string())} at {servers.pageflex}", gives)
    except (NoServer, ServerRefused):
        return Finding("server", "", gives)


def _ports(servers: Servers) -> Iterator[Finding]:
    """The other two protocols: whether somebody listens."""
    try:
        http = urlsplit(servers.http)
        web = (http.hostname or "127.0.0.1", http.port or (443 if http.scheme == "https" else 80))
        places = {"OMI": host_and_port(servers.omi, 8009), "HTTP": web}
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    for name, (host, port) in places.items():
        gives = f"nobody listens for {name} at {host}:{port}"
        try:
            with socket.create_connection((host, port), timeout=SECONDS):
                yield Finding(f"server, {name}", f"listens at {host}:{port}", gives)
        except OSError:
            yield Finding(f"server, {name}", "", gives)
