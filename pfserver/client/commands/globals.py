"""``pfserver globals …`` and ``pfserver locks``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import update_wrapper
from typing import Any

import click
from attrs import frozen

from pfserver.client.commands.common import as_json, printable
from pfserver.client.omi_blocking import BlockingOMIClient
from pfserver.client.omi_calls import Login
from pfserver.client.servers import Servers, host_and_port
from pfserver.wire.omi import OMIError
from pfserver.wire.omi.written import read_reference, write_reference

#: The exit code of ``get`` where the node has no value.
UNDEFINED = 1

Path = tuple[bytes, tuple[bytes, ...]]


@frozen
class Session:
    """Where the globals are, and who asks for them."""

    servers: Servers
    login: Login

    def open(self) -> BlockingOMIClient:
        """A session with the server; a bad address is a usage error."""
        try:
            return BlockingOMIClient(*host_and_port(self.servers.omi, 8009), self.login)
        except ValueError as error:
            raise click.UsageError(str(error)) from error


def _read_reference(ctx: click.Context, param: click.Parameter, value: str) -> Path:
    try:
        return read_reference(value)
    except OMIError as error:
        raise click.BadParameter(str(error), ctx, param) from error


def login_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say who connects, and hand a :class:`Session` to the command."""

    def with_session(ctx: click.Context, /, agent: str, password: str, environment: str, **options: Any) -> Any:
        login = Login(agent=agent, password=password, environment=environment)
        return ctx.invoke(command, Session(ctx.find_root().obj, login), **options)

    for option in (
        click.option("--agent", envvar="PFSERVER_AGENT", default="", help="The agent's name."),
        click.option("--password", envvar="PFSERVER_AGENT_PASSWORD", default="", help="Better in the environment."),
        click.option("-e", "--environment", default="", help="The environment of the globals."),
    ):
        command = option(command)
    return update_wrapper(click.pass_context(with_session), command)


REFERENCE = click.argument("reference", callback=_read_reference)
REVERSE = click.option("-r", "--reverse", is_flag=True, help="Walk backwards.")
COUNT = click.option("-n", "count", default=1, show_default=True, type=click.IntRange(1), help="How many at most.")


@click.group("globals")
def globals_group() -> None:
    """Read and change M globals over OMI. A REFERENCE is written as in M: '^X(1,"a")'."""


@globals_group.command("get")
@REFERENCE
@login_options
def get(session: Session, reference: Path) -> int:
    """Print the value of a node; exit code 1 where it has none."""
    with session.open() as client:
        value = client.get(reference[0], *reference[1])
    if value is None:
        click.echo(f"{_written(*reference)} is undefined", err=True)
        return UNDEFINED
    click.echo(value)
    return 0


@globals_group.command("set")
@REFERENCE
@click.argument("value")
@login_options
def set_(session: Session, reference: Path, value: str) -> None:
    """Give a node its value."""
    with session.open() as client:
        client.set(value.encode("utf-8", "surrogateescape"), reference[0], *reference[1])


@globals_group.command("kill")
@REFERENCE
@login_options
def kill(session: Session, reference: Path) -> None:
    """Remove a node's value and all its descendants."""
    with session.open() as client:
        client.kill(reference[0], *reference[1])


@globals_group.command("order")
@REFERENCE
@REVERSE
@COUNT
@login_options
def order(session: Session, reference: Path, reverse: bool, count: int) -> None:
    """Print the next subscripts; with '^X("")' from the first one on, with '^X' the names of globals."""
    name, subscripts = reference
    with session.open() as client:
        step = client.reverse_order if reverse else client.order
        for _ in range(count):
            found = step(name, *subscripts)
            if not found:
                break
            click.echo(found)
            name, subscripts = (name, (*subscripts[:-1], found)) if subscripts else (found.removeprefix(b"^"), ())


@globals_group.command("query")
@REFERENCE
@REVERSE
@COUNT
@login_options
def query(session: Session, reference: Path, reverse: bool, count: int) -> None:
    """Print the next nodes that have a value, and their values."""
    name, subscripts = reference
    with session.open() as client:
        step = client.reverse_query if reverse else client.query
        for _ in range(count):
            found = step(name, *subscripts)
            if found is None:
                break
            subscripts = found.subscripts
            value = client.get(name, *subscripts) or b""
            click.echo(f"{_written(name, subscripts)}={printable(value.decode('utf-8', 'replace'))}")


@click.command()
@login_options
@as_json
def locks(session: Session, as_json: bool) -> None:
    """List the locks that M clients hold, in the environments that may be read."""
    with session.open() as client:
        for lock in _held(client):
            if as_json:
                click.echo(json.dumps(lock, ensure_ascii=False))
                continue
            place = f" in {lock['environment']}" if lock["environment"] else ""
            who = f"$Job {lock['client']} of session {lock['session']}" + (f" ({lock['agent']})" * bool(lock["agent"]))
            click.echo(printable(f"{lock['reference']}{place} by {who}, {lock['count']} times"))


def _held(client: BlockingOMIClient) -> Iterator[dict[str, str]]:
    number = b""
    while number := client.order("%PFLOCK", number):
        fields = ("reference", "environment", "client", "session", "agent", "count")
        values = [client.get("%PFLOCK", number, field) for field in fields]
        # One that was given back meanwhile has no fields any more.
        if None not in values:
            texts = [value.decode("utf-8", "backslashreplace") for value in values if value is not None]
            yield dict(zip(fields, texts, strict=True))


def _written(name: bytes, subscripts: tuple[bytes, ...]) -> str:
    return write_reference(name, subscripts).decode("utf-8", "backslashreplace")
