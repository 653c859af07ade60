"""``pfserver log``."""

from __future__ import annotations

import click

from pfserver.client.commands.common import as_json, client_of, print_line
from pfserver.client.servers import Servers


@click.command()
@click.argument("transaction")
@as_json
@click.pass_obj
def log(servers: Servers, transaction: str, as_json: bool) -> None:
    """Show what a job has told so far."""
    for line in client_of(servers).task_log(transaction):
        print_line(line, as_json)
