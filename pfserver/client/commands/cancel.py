"""``pfserver cancel``."""

from __future__ import annotations

import click

from pfserver.client.commands.common import client_of, printable
from pfserver.client.errors import ServerRefused
from pfserver.client.servers import Servers


@click.command()
@click.argument("transactions", nargs=-1, required=True, metavar="TRANSACTION…")
@click.pass_obj
def cancel(servers: Servers, transactions: tuple[str, ...]) -> None:
    """Cancel jobs: a waiting one whole, a running one after its current document; what is finished stays."""
    client = client_of(servers)
    refused: ServerRefused | None = None
    for transaction in transactions:
        try:
            click.echo(f"{printable(client.cancel(transaction))}: {printable(client.status(transaction))}")
        except ServerRefused as error:
            # The others are to be cancelled all the same.
            if refused is not None:
                click.echo(f"pfserver: {refused}", err=True)
            refused = error
    if refused is not None:
        raise refused
