"""The options of a plugin: an attrs class whose attributes are the keys of its table in the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from attrs import fields

from pfserver.errors import ConfigurationError

Options = TypeVar("Options")


def read_table(kind: type[Options], table: Mapping[str, Any], name: str) -> Options:
    """The options that a table gives, checked by the validators of the class.

    :param kind: an attrs class.
    :param name: the table's name in the configuration, e.g. ``frontends.pageflex``.

    Raises ``ConfigurationError`` for an unknown key and for a value that a validator refuses.
    """
    known = [attribute.name for attribute in fields(kind)]  # type: ignore[arg-type]
    for key in table:
        if key not in known:
            raise ConfigurationError(f"unknown key {key!r} in [{name}]; the keys are: {', '.join(known)}")
    try:
        return kind(**table)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"[{name}]: {error.args[0]}") from error
