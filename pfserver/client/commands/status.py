"""``pfserver status``."""

from __future__ import annotations

import json

import click

from pfserver.client.commands.common import EXIT_CODES, as_json, client_of, printable
from pfserver.client.conversation import outcome_of_status
from pfserver.client.servers import Servers


@click.command()
@click.argument("transaction")
@as_json
@click.pass_obj
def status(servers: Servers, transaction: str, as_json: bool) -> int:
    """Show how far a job is. The exit code is its outcome, 0 while it is not done."""
    text = client_of(servers).status(transaction)
    outcome = outcome_of_status(text)
    if as_json:
        word = text.partition("=")[2].strip()
        click.echo(json.dumps({"transaction": transaction, "status": word, "done": outcome is not None}))
    else:
        click.echo(printable(text))
    return 0 if outcome is None else EXIT_CODES[outcome]
