"""``pfserver queue``."""

from __future__ import annotations

import json

import click

from pfserver.client.commands.common import as_json, client_of
from pfserver.client.servers import Servers


@click.command()
@click.argument("name", default="")
@as_json
@click.pass_obj
def queue(servers: Servers, name: str, as_json: bool) -> None:
    """Show how many jobs wait, in the queue NAME or in all."""
    waiting = client_of(servers).queue_length(name)
    if as_json:
        click.echo(json.dumps({"queue": name or None, "waiting": waiting}))
    else:
        click.echo(f"{waiting} waiting" + (f" in {name}" if name else ""))
