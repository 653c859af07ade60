"""``pfserver watch``."""

from __future__ import annotations

import click

from pfserver.client.commands.common import as_json, client_of
from pfserver.client.commands.monitor import exit_code, show
from pfserver.client.servers import Servers


@click.command()
@click.argument("transaction")
@as_json
@click.pass_obj
def watch(servers: Servers, transaction: str, as_json: bool) -> int:
    """Show what a job has told and tells, until its end. The exit code is its outcome."""
    return exit_code(show(client_of(servers).watch(transaction), transaction, as_json))
