"""The mumps backend's configuration, ``[backends.mumps]``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.plugin import IPlugin
from zope.interface import implementer

from pfserver.backends.mumps.backend import MSetup, MumpsBackend
from pfserver.errors import ConfigurationError
from pfserver.interfaces import IBackendPlugin, IBackendServices

#: Where Debian keeps it, the newest last.
PLACES = "usr/lib/*/fis-gtm/*/mumps"

_KEYS = frozenset(
    {"enabled", "distribution", "routines", "global_directory", "environments", "timeout", "output_limit"}
)


@implementer(IPlugin, IBackendPlugin)
class MumpsBackendPlugin:
    """Adds the mumps backend. Keys:

    ``distribution``: the folder of fis-gtm, found by itself where Debian has it;
    ``routines``: folders of M routines, ``routines`` under the projects root by default;
    ``global_directory``: the global directory of routines, and ``environments``: others by OMI environment;
    ``timeout``: seconds that a routine may run (3600); ``output_limit``: MiB that it may print (64);
    ``enabled``: false leaves the backend away.
    """

    name = "mumps"

    def build(self, services: IBackendServices, options: Mapping[str, Any]) -> MumpsBackend | None:
        """See ``IBackendPlugin``."""
        for key in options:
            if key not in _KEYS:
                raise ConfigurationError(
                    f"[backends.mumps] has no key {key!r}; the keys are: {', '.join(sorted(_KEYS))}"
                )
        if not isinstance(options.get("enabled", True), bool):
            raise ConfigurationError("[backends.mumps] enabled must be true or false")
        if not options.get("enabled", True):
            return None
        setup = MSetup(
            distribution=_distribution(options),
            routines=_routines(options, services.projects_root),
            directories=_directories(options),
            timeout=_number(options, "timeout", 3600, most=30 * 24 * 3600),
            output_limit=int(_number(options, "output_limit", 64, most=1024 * 1024) * 1024 * 1024),
        )
        return MumpsBackend(services.reactor, setup, services.state.absolute() / "backends" / "mumps")


def _distribution(options: Mapping[str, Any]) -> Path | None:
    if "distribution" not in options:
        found = sorted(Path("/").glob(PLACES))
        return found[-1].parent if found else None
    folder = Path(_text(options["distribution"], "distribution"))
    if not (folder / "mumps").is_file():
        raise ConfigurationError("[backends.mumps] distribution is no folder that has the program mumps")
    return folder


def _routines(options: Mapping[str, Any], projects: Path) -> tuple[Path, ...]:
    folders = options.get("routines", [str(projects.absolute() / "routines")])
    if not isinstance(folders, list) or not folders:
        raise ConfigurationError("[backends.mumps] routines must be a list of folders")
    return tuple(Path(_text(folder, "routines")).absolute() for folder in folders)


def _directories(options: Mapping[str, Any]) -> Mapping[str, Path]:
    environments = options.get("environments", {})
    if not isinstance(environments, dict):
        raise ConfigurationError("[backends.mumps] environments must be a table of global directories")
    if "global_directory" in options:
        environments = {**environments, "": options["global_directory"]}
    return {name: Path(_text(path, "environments")).absolute() for name, path in environments.items()}


def _text(value: Any, key: str) -> str:
    if not isinstance(value, str) or not value:
        raise ConfigurationError(f"[backends.mumps] {key}: {value!r} is no path")
    return value


def _number(options: Mapping[str, Any], key: str, default: float, *, most: float) -> float:
    value = options.get(key, default)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= most:
        raise ConfigurationError(f"[backends.mumps] {key} must be a number above 0, at most {most:g}")
    return float(value)
