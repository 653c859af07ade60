"""Finds front ends, backends and data sources: Twisted plugins that provide one of pfserver's interfaces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import frozen
from twisted.plugin import getPlugins

from pfserver.errors import ConfigurationError
from pfserver.interfaces import IBackendPlugin, IDataSourcePlugin, IFrontEndPlugin


@frozen
class Plugins:
    """All plugins that are installed, those of other packages first, so that they may take what ours also could."""

    frontends: Sequence[IFrontEndPlugin]
    backends: Sequence[IBackendPlugin]
    data_sources: Sequence[IDataSourcePlugin]


def discover() -> Plugins:
    """Look through all installed ``twisted/plugins``. Raises ``ConfigurationError`` for a name that two plugins use."""
    return Plugins(_find(IFrontEndPlugin), _find(IBackendPlugin), _find(IDataSourcePlugin))


def _find(interface: Any) -> list[Any]:
    found: list[Any] = list(getPlugins(interface))
    names = [plugin.name for plugin in found]
    for name in names:
        if names.count(name) > 1:
            raise ConfigurationError(f"two plugins are named {name!r}; uninstall one of them")
    return sorted(found, key=_is_ours)


def _is_ours(plugin: object) -> bool:
    return type(plugin).__module__.startswith("pfserver.")
