"""``pfserver factories``: those that a server knows, their owners and their owners' access tokens."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import click

from pfserver.client.commands.common import as_json, printable
from pfserver.client.commands.identity import identity_options
from pfserver.client.errors import NoServer
from pfserver.client.identity import Identity
from pfserver.client.servers import Servers
from pfserver.client.xmlrpc import XMLRPCClient
from pfserver.errors import BadVariable
from pfserver.remote import RIGHTS
from pfserver.wire.xmlrpc import Value

#: The worker of a factory of which nothing is said: this machine's LibreOffice does everything.
DEFAULT_WORKER = "LibreOffice"


@click.group()
@click.option("--server", default="", metavar="URL", help="The server's HTTP address. [default: that of --http]")
@identity_options
@click.pass_context
def factories(ctx: click.Context, server: str, identity: Identity) -> None:
    """Manage the factories that a server knows, and who owns them."""
    servers: Servers = ctx.obj
    try:
        ctx.obj = ctx.with_resource(XMLRPCClient(server or servers.http, identity))
    except BadVariable as error:
        raise click.UsageError(str(error)) from error


@factories.command("list")
@as_json
@click.pass_obj
def list_factories(client: XMLRPCClient, as_json: bool) -> None:
    """List factories: name, owner, when they last polled, what they have done, and their programs."""
    found = _array(client.call("pfserver.factories.list"))
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    for one in found:
        seen = f"last seen {one['last_seen']}" if one["last_seen"] else "never seen"
        own = ", only its owner's jobs" if one["own_only"] else ""
        counts = f"{one['leased']} taken, {one['finished']} finished"
        click.echo(printable(f"{one['name']}  {one['account'] or 'this machine'}{own}, {seen}, {counts}"))
        for worker in one["workers"]:
            click.echo(printable(f"  {_worker_text(worker)}"))
    if not found:
        click.echo("no factory is registered: pfserver factories add NAME")


@factories.command()
@click.argument("name")
@click.option("--account", default="", metavar="EMAIL", help="The owner. [default: you]")
@click.option("--own-only", is_flag=True, help="It takes only jobs of its owner.")
@click.option(
    "--worker",
    "workers",
    multiple=True,
    metavar="APPLICATION[:VERSION[:TYPES[:FORMATS]]]",
    help="A program that it has, e.g. 'LibreOffice Writer:7.4:odt,docx:pdf'; may be given more than once.",
)
@click.pass_obj
def add(client: XMLRPCClient, name: str, account: str, own_only: bool, workers: tuple[str, ...]) -> None:
    """Register the factory NAME, or replace what is known of it.

    A job goes to a factory that has the application and version that the job asks for, any if it asks for none. Where
    no program is said, it is LibreOffice for everything.
    """
    members: dict[str, Value] = {"name": name, "workers": [_worker(one) for one in workers or (DEFAULT_WORKER,)]}
    if account:
        members["account"] = account
    if own_only:
        members["own_only"] = True
    client.call("pfserver.factories.put", members)
    click.echo(f"{name} is registered. Run it: pfserver factory URL --name {_quoted(name)}")


@factories.command()
@click.argument("name")
@click.pass_obj
def remove(client: XMLRPCClient, name: str) -> None:
    """Forget the factory NAME. What it works on goes back to its queue when the lock runs out."""
    client.call("pfserver.factories.drop", name)
    click.echo(f"{name} is removed")


@factories.command()
@as_json
@click.pass_obj
def accounts(client: XMLRPCClient, as_json: bool) -> None:
    """List the registered accounts and their rights."""
    found = _array(client.call("pfserver.accounts.list"))
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    for one in found:
        click.echo(printable(f"{one['name']}  {', '.join(one['rights']) or 'no rights'}"))


@factories.command()
@click.argument("email")
@click.argument("rights", nargs=-1, type=click.Choice(sorted(RIGHTS)))
@click.pass_obj
def account(client: XMLRPCClient, email: str, rights: tuple[str, ...]) -> None:
    """Register the account EMAIL with RIGHTS, or replace its rights; without any it may do nothing.

    submit: ask for conversions. work: run factories of its own. admin: manage everybody's.
    """
    client.call("pfserver.accounts.put", email, list(rights))
    click.echo(f"{email}: {', '.join(rights) or 'no rights'}")


@factories.command()
@click.argument("email")
@click.argument("label")
@click.pass_obj
def token(client: XMLRPCClient, email: str, label: str) -> None:
    """Make an access token for EMAIL, called LABEL. It is printed once and kept nowhere."""
    click.echo(printable(str(client.call("pfserver.accounts.make_token", email, label))))


@factories.command()
@click.argument("email")
@click.argument("label")
@click.pass_obj
def revoke(client: XMLRPCClient, email: str, label: str) -> None:
    """Forget the access token LABEL of EMAIL."""
    client.call("pfserver.accounts.drop_token", email, label)
    click.echo(f"{label} of {email} is revoked")


def _worker(text: str) -> dict[str, Value]:
    application, version, doctypes, formats, *more = [*text.split(":"), "", "", ""][: max(4, text.count(":") + 1)]
    if not application.strip() or more:
        raise click.UsageError(f"{text!r} is not APPLICATION:VERSION:TYPES:FORMATS")
    return {
        "application": application.strip(),
        "version": version.strip(),
        "doctypes": _words(doctypes),
        "formats": _words(formats),
    }


def _words(text: str) -> list[Value]:
    return [word.strip().lower() for word in text.split(",") if word.strip()]


def _worker_text(worker: Mapping[str, Any]) -> str:
    name = " ".join(filter(None, (str(worker["application"]), str(worker["version"]))))
    reads, writes = _either(worker["doctypes"]), _either(worker["formats"])
    return f"{name}: {reads} to {writes}"


def _either(words: Sequence[str]) -> str:
    return ", ".join(words) or "all"


def _quoted(text: str) -> str:
    from shlex import quote

    return quote(text)


def _array(value: Value) -> list[Any]:
    if not isinstance(value, list):
        raise NoServer("the server's answer holds no list")
    return value
