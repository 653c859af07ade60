"""``pfserver jobs``."""

from __future__ import annotations

import json
import re

import click

from pfserver.client.blocking import BlockingClient
from pfserver.client.commands.common import as_json, client_of, printable
from pfserver.client.errors import ServerRefused
from pfserver.client.servers import Servers
from pfserver.model import job_id_of
from pfserver.numbers import Number

#: Jobs that are gone, one after another, before older ones are taken to be gone as well.
GAP = 100


@click.command()
@click.option("-n", "count", default=20, show_default=True, type=click.IntRange(1, 10_000), help="How many at most.")
@click.option("--from", "start", default="", metavar="TRANSACTION", help="Begin with this one instead of the youngest.")
@as_json
@click.pass_obj
def jobs(servers: Servers, count: int, start: str, as_json: bool) -> None:
    """List jobs and their status, the youngest first.

    The socket API has no command for it: this asks for one status after another, downwards. A pfserver says with
    its queue length which transaction is the youngest; for another server say it yourself with --from.
    """
    client = client_of(servers)
    number = job_id_of(start) if start else _youngest(client)
    shown = gone = 0
    while number > 0 and shown < count and gone < GAP:
        transaction = f"T{number:07d}"
        number -= 1
        try:
            text = client.status(transaction)
        except ServerRefused as error:
            if error.number != Number.NO_SUCH_TRANSACTION:
                raise
            # Removed after its time; an older one may still be there: what counts is when it ended.
            gone += 1
            continue
        shown, gone = shown + 1, 0
        word = printable(text.partition("=")[2].strip())
        click.echo(json.dumps({"transaction": transaction, "status": word}) if as_json else f"{transaction}  {word}")


def _youngest(client: BlockingClient) -> int:
    text = client.queue_text()
    found = re.search(r"last transaction (T\d+)", text)
    if found is None:
        if re.search(r"no transaction yet", text):
            return 0
        raise click.UsageError("this server does not say which transaction is its youngest: say --from TRANSACTION")
    return job_id_of(found[1])
