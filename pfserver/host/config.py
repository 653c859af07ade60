"""The configuration: a TOML file and the command line, which wins. Anything unknown is an error that names it."""

from __future__ import annotations

import socket
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import sqlalchemy as sa
from attrs import Factory, field, frozen

from pfserver.errors import ConfigurationError

#: The word that turns a front end off.
OFF = "off"


def _absolute(path: str | Path) -> Path:
    return Path(path).absolute()


@frozen(kw_only=True)
class Configuration:
    """All that can be configured; the fields' names are the keys of the file. Paths are absolute."""

    state: Path = field(default=Path("pfserver-state"), converter=_absolute)
    projects: Path = field(default=Path("projects"), converter=_absolute)
    store: str = ""
    """An SQLAlchemy URL; empty for SQLite in the state folder."""
    executor: str = "processes"
    machine_name: str = Factory(socket.gethostname)
    """Told to clients, who build the output path from it."""
    shutdown_grace: float = 20.0
    """Seconds that running jobs get when the server stops."""
    node_timeout: float = 60.0
    """Seconds after which another server that shares the store and is silent is taken for dead."""
    log_format: str = "text"
    endpoints: Mapping[str, Sequence[str]] = field(factory=dict)
    """By front end, the Twisted endpoint strings it listens on; missing for its default, empty for off."""
    attempts: int = 3
    """How often a job is begun at most, where servers or workers die while they work on it."""
    queues: Mapping[str, int] = field(factory=lambda: {"default": 8})
    """By queue, the number of its jobs that run at once; 0 holds them until the number is changed."""
    retention_age: float | None = None
    """Seconds that done jobs are kept."""
    retention_count: int | None = None
    """How many done jobs are kept."""
    output_roots: Sequence[Path] = ()
    """Folders that a submitter may name as final output folder, besides ``output`` in the state folder."""
    globals_durability: str = "message"
    """``message``: M globals are on disk before an update is answered; ``interval``: some seconds later."""
    globals_interval: float = 1.0
    backends: Mapping[str, Mapping[str, Any]] = field(factory=dict)
    frontends: Mapping[str, Mapping[str, Any]] = field(factory=dict)

    @property
    def output(self) -> Path:
        """Where output goes when the submitter says nothing."""
        return self.state / "output"

    @property
    def store_url(self) -> str:
        """The SQLAlchemy URL of the job database."""
        # Made of parts: a path may hold what has a meaning in a URL.
        path = str(self.state / "jobs.sqlite")
        return self.store or sa.URL.create("sqlite", database=path).render_as_string(hide_password=False)

    @property
    def store_file(self) -> Path | None:
        """The file of the job database, where it is one."""
        url = sa.make_url(self.store_url)
        if url.get_backend_name() != "sqlite" or url.database in (None, "", ":memory:"):
            return None
        # SQLite's own kind of URL, "file:/srv/jobs.sqlite", which SQLAlchemy passes on.
        path = unquote(urlsplit(url.database).path) if "uri" in url.query else url.database
        return None if path == ":memory:" or url.query.get("mode") == "memory" else Path(path)


def load(path: Path | None, overrides: Mapping[str, Any], frontends: Sequence[str]) -> Configuration:
    """The configuration of a file, with the command line's values over it.

    :param overrides: values by their keys in the file; None means "not given".
    :param frontends: the names of the front ends that exist; each is a key with its endpoints.
    :raises ConfigurationError: for a file that cannot be read, an unknown key, or a value that cannot be used.
    """
    table = _read(path) if path is not None else {}
    table |= {key: value for key, value in overrides.items() if value is not None}
    values: dict[str, Any] = {}
    endpoints: dict[str, Sequence[str]] = {}
    for key, value in table.items():
        if key in frontends:
            endpoints[key] = _endpoints(key, value)
        elif key in _READERS:
            values |= _READERS[key](key, value)
        else:
            known = ", ".join(sorted([*_READERS, *frontends]))
            raise ConfigurationError(f"unknown key {key!r} in the configuration; the keys are: {known}")
    base = path.parent if path is not None else Path()
    for key in ("state", "projects"):
        # A path in the file is relative to the file, one on the command line to where the command runs.
        if key in values and overrides.get(key) is None:
            values[key] = base / values[key]
    return Configuration(endpoints=endpoints, **values)


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not valid TOML: {error}") from error


def _endpoints(key: str, value: Any) -> Sequence[str]:
    endpoints = [value] if isinstance(value, str) else value
    if not isinstance(endpoints, list | tuple) or not all(isinstance(one, str) and one for one in endpoints):
        raise ConfigurationError(f"{key} must be an endpoint, a list of endpoints, or {OFF!r}")
    if OFF in endpoints:
        if len(endpoints) > 1:
            raise ConfigurationError(f"{key} cannot be {OFF!r} and listen somewhere at once")
        return ()
    return tuple(endpoints)


Reader = Callable[[str, Any], dict[str, Any]]


def _text(key: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, str) or not value:
        raise ConfigurationError(f"{key} must be a text that is not empty")
    return {key: value}


def _log_format(key: str, value: Any) -> dict[str, Any]:
    if value not in ("text", "json"):
        raise ConfigurationError(f'{key} must be "text" or "json"')
    return {key: value}


def _durability(key: str, value: Any) -> dict[str, Any]:
    if value not in ("message", "interval"):
        raise ConfigurationError(f'{key} must be "message" or "interval"')
    return {key: value}


def _seconds(key: str, value: Any) -> dict[str, Any]:
    return {key: _number(key, value, minimum=0)}


def _node_timeout(key: str, value: Any) -> dict[str, Any]:
    return {key: _number(key, value, minimum=1)}


def _number(key: str, value: Any, *, minimum: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= minimum:
        raise ConfigurationError(f"{key} must be a number, {minimum} or more")
    return value


def _count(key: str, value: Any, *, minimum: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise ConfigurationError(f"{key} must be a whole number, {minimum} or more")
    return value


def _attempts(key: str, value: Any) -> dict[str, Any]:
    return {key: _count(key, value, minimum=1)}


def _queues(key: str, value: Any) -> dict[str, Any]:
    queues = {"default": 8}
    for name, slots in _table(key, value).items():
        queues[name] = _count(f"{key}.{name}", slots, minimum=0)
    return {key: queues}


def _retention(key: str, value: Any) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, limit in _table(key, value).items():
        if name == "days":
            values["retention_age"] = _number(f"{key}.days", limit, minimum=0) * 86400
        elif name == "count":
            values["retention_count"] = _count(f"{key}.count", limit, minimum=0)
        else:
            raise ConfigurationError(f"unknown key {name!r} in [{key}]; the keys are: days, count")
    return values


def _output_roots(key: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, list) or not all(isinstance(one, str) and one.startswith("/") for one in value):
        raise ConfigurationError(f"{key} must be a list of absolute paths")
    return {key: tuple(Path(one) for one in value)}


def _tables(key: str, value: Any) -> dict[str, Any]:
    return {key: {name: _table(f"{key}.{name}", options) for name, options in _table(key, value).items()}}


def _table(key: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigurationError(f"{key} must be a table")
    return value


_READERS: Mapping[str, Reader] = {
    "state": _text,
    "projects": _text,
    "store": _text,
    "executor": _text,
    "machine_name": _text,
    "shutdown_grace": _seconds,
    "node_timeout": _node_timeout,
    "log_format": _log_format,
    "attempts": _attempts,
    "queues": _queues,
    "retention": _retention,
    "output_roots": _output_roots,
    "globals_durability": _durability,
    "globals_interval": _seconds,
    "backends": _tables,
    "frontends": _tables,
}
