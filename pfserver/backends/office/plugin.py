"""The office backend's configuration, ``[backends.office]``."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.logger import Logger
from twisted.plugin import IPlugin
from zope.interface import implementer

from pfserver.backends.office.backend import OfficeBackend
from pfserver.backends.office.pool import Pool, PoolOptions
from pfserver.backends.office.programs import find_programs
from pfserver.documents.sources import Sources
from pfserver.documents.uploads import Uploads
from pfserver.errors import ConfigurationError
from pfserver.interfaces import IBackendPlugin, IBackendServices

MIB = 1024 * 1024

#: key -> (type, least, most)
_NUMBERS: Mapping[str, tuple[type[int] | type[float], float, float]] = {
    "workers": (int, 1, 256),
    "timeout": (float, 1, 24 * 3600),
    "max_conversions": (int, 1, 1_000_000),
    "max_memory": (int, 200, 1_000_000),
}
_OTHERS = frozenset({"soffice", "python", "pdftoppm", "warm", "enabled", "confine", "readable"})


@implementer(IPlugin, IBackendPlugin)
class OfficeBackendPlugin:
    """Adds the office backend. Keys:

    ``soffice``, ``python``, ``pdftoppm``: programs, found by themselves where they are not named;
    ``workers``: LibreOffices that run at once, one a core;
    ``timeout``: seconds for one conversion, with the start of its LibreOffice (60);
    ``max_conversions`` (300) and ``max_memory`` in MiB (768): when one is replaced;
    ``readable``: a list of folders that LibreOffice may see besides programs, fonts and its documents, e.g. where it is
    installed somewhere else; ``confine``: false lets it see all that the server sees;
    ``warm``: false starts one for each document; ``enabled``: false leaves the backend away.
    """

    name = "office"
    log = Logger()

    def build(self, services: IBackendServices, options: Mapping[str, Any]) -> OfficeBackend | None:
        """See ``IBackendPlugin``."""
        for key in options:
            if key not in _NUMBERS and key not in _OTHERS:
                raise ConfigurationError(f"[backends.office] has no key {key!r}")
        if not _switch(options, "enabled"):
            return None
        folder = services.state / "backends" / "office"
        # What conversions of an earlier life have left.
        shutil.rmtree(folder / "work", ignore_errors=True)
        programs = find_programs(options)
        pool: Pool | None = None
        if programs.soffice:
            cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
            pool_options = PoolOptions(
                size=int(_number(options, "workers", cores)),
                timeout=_number(options, "timeout", 60.0),
                max_conversions=int(_number(options, "max_conversions", 300)),
                max_memory=int(_number(options, "max_memory", 768)) * MIB,
                confine=_switch(options, "confine"),
                readable=_folders(options, "readable"),
                warm=_switch(options, "warm"),
            )
            pool = Pool(services.reactor, services.clock, programs, folder / "profiles", folder / "work", pool_options)
        else:
            self.log.warn("office.no-libreoffice: documents will be refused with a text that says how to install it")
        sources = Sources(services.projects_root, Uploads(services.state), services.home)
        return OfficeBackend(services.reactor, pool, sources, folder / "work")


def _number(options: Mapping[str, Any], key: str, default: float) -> float:
    value = options.get(key, default)
    kind, least, most = _NUMBERS[key]
    good = isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most
    if not good or (kind is int and value != int(value)):
        raise ConfigurationError(f"[backends.office] {key} is {value!r}, not a number from {least} to {most}")
    return float(value)


def _folders(options: Mapping[str, Any], key: str) -> tuple[Path, ...]:
    value = options.get(key, [])
    if not isinstance(value, list) or not all(isinstance(one, str) and Path(one).is_absolute() for one in value):
        raise ConfigurationError(f"[backends.office] {key} is {value!r}, not a list of absolute paths")
    return tuple(Path(one) for one in value)


def _switch(options: Mapping[str, Any], key: str) -> bool:
    value = options.get(key, True)
    if not isinstance(value, bool):
        raise ConfigurationError(f"[backends.office] {key} is {value!r}, not true or false")
    return value
