"""How a command shows who it is to the HTTP side of a server."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from pfserver.client.identity import Identity

_file = click.Path(exists=True, dir_okay=False, path_type=Path)


def identity_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options; the command gets an :class:`Identity` as ``identity``."""

    @click.option("--cert", "certificate", type=_file, help="A client certificate, PEM.")
    @click.option("--key", type=_file, help="Its key, where it is not in the same file.")
    @click.option("--ca", type=_file, help="The authority that has signed the server's certificate, PEM.")
    @click.option("--token", envvar="PFSERVER_TOKEN", default="", help="An access token. [env: PFSERVER_TOKEN]")
    @wraps(command)
    def wrapper(
        *arguments: Any, certificate: Path | None, key: Path | None, ca: Path | None, token: str, **options: Any
    ) -> Any:
        if key is not None and certificate is None:
            raise click.UsageError("--key needs --cert")
        identity = Identity(ca=ca, certificate=certificate, key=key, token=token)
        return command(*arguments, identity=identity, **options)

    return wrapper
