"""What the commands of the socket API share."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import click

from pfserver.client.blocking import BlockingClient
from pfserver.client.servers import Servers, host_and_port
from pfserver.model import Outcome
from pfserver.wire.pageflex import Line

#: Exit codes of a job's outcome.
EXIT_CODES: Mapping[Outcome, int] = {
    Outcome.COMPLETED: 0,
    Outcome.PARTIAL: 1,
    Outcome.FAILED: 2,
    Outcome.CANCELLED: 3,
}

as_json: Callable[[Any], Any] = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")


def client_of(servers: Servers) -> BlockingClient:
    """A client of the configured server; a bad address is a usage error."""
    try:
        return BlockingClient(*host_and_port(servers.pageflex, 8008))
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def pairs(values: Iterable[str]) -> dict[str, str]:
    """``NAME=VALUE`` options as a mapping."""
    result = {}
    for value in values:
        name, separator, text = value.partition("=")
        if not separator or not name:
            raise click.UsageError(f"{value!r} is not NAME=VALUE")
        result[name] = text
    return result


def printable(text: str) -> str:
    """A server's text without what could steer a terminal."""
    return "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text)


def shown(line: Line) -> str:
    """One message as people read it: further lines stand below the first one's text."""
    return f"{line.kind}{line.number:07d} {printable(line.text)}".replace("\n", "\n         ")


def print_line(line: Line, as_json: bool) -> None:
    """One message, on one line of JSON or as the monitor tells it."""
    if as_json:
        click.echo(json.dumps({"kind": line.kind, "number": line.number, "text": line.text}, ensure_ascii=False))
        return
    click.secho(shown(line), fg="red" if line.is_error else None)
