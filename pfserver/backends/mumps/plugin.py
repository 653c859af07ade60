"""The mumps backend's configuration, ``[backends.mumps]``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import field, frozen
from attrs.validators import and_, deep_iterable, deep_mapping, gt, instance_of, le, min_len
from twisted.plugin import IPlugin
from zope.interface import implementer

from pfserver.backends.mumps.backend import MSetup, MumpsBackend
from pfserver.errors import ConfigurationError
from pfserver.interfaces import IBackendPlugin, IBackendServices
from pfserver.options import read_table

#: Where Debian keeps it, the newest last.
PLACES = "usr/lib/*/fis-gtm/*/mumps"

MIB = 1024 * 1024

_PATH = and_(instance_of(str), min_len(1))


def _number(default: float, most: float) -> Any:
    return field(default=default, validator=[instance_of((int, float)), gt(0), le(most)])


@frozen(kw_only=True)
class MumpsOptions:
    """The table ``[backends.mumps]``."""

    enabled: bool = field(default=True, validator=instance_of(bool))
    """Whether there is the backend."""
    distribution: str = field(default="", validator=instance_of(str))
    """The folder of fis-gtm; found by itself where Debian has it."""
    routines: list[str] = field(factory=list, validator=deep_iterable(_PATH, instance_of(list)))
    """Folders of M routines; empty for ``routines`` in the projects folder."""
    global_directory: str = field(default="", validator=instance_of(str))
    """The global directory whose globals routines see; none by default."""
    environments: Mapping[str, str] = field(
        factory=dict, validator=deep_mapping(instance_of(str), _PATH, instance_of(dict))
    )
    """Other global directories, by the environment of the job request."""
    timeout: float = _number(3600.0, 30 * 24 * 3600)
    """Seconds that a routine may run."""
    output_limit: float = _number(64.0, 1024 * 1024)
    """MiB that it may print."""


@implementer(IPlugin, IBackendPlugin)
class MumpsBackendPlugin:
    """Adds the mumps backend; its options are :class:`MumpsOptions`."""

    name = "mumps"

    def build(self, services: IBackendServices, options: Mapping[str, Any]) -> MumpsBackend | None:
        """See ``IBackendPlugin``."""
        wanted = read_table(MumpsOptions, options, "backends.mumps")
        if not wanted.enabled:
            return None
        folders = wanted.routines or [str(services.projects_root / "routines")]
        directories = {**wanted.environments}
        if wanted.global_directory:
            directories[""] = wanted.global_directory
        setup = MSetup(
            distribution=_distribution(wanted.distribution),
            routines=tuple(Path(folder).absolute() for folder in folders),
            directories={name: Path(path).absolute() for name, path in directories.items()},
            timeout=wanted.timeout,
            output_limit=int(wanted.output_limit * MIB),
        )
        return MumpsBackend(services.reactor, setup, services.state.absolute() / "backends" / "mumps")


def _distribution(configured: str) -> Path | None:
    if not configured:
        found = sorted(Path("/").glob(PLACES))
        return found[-1].parent if found else None
    if not Path(configured, "mumps").is_file():
        raise ConfigurationError("[backends.mumps] distribution is no folder that has the program mumps")
    return Path(configured)
