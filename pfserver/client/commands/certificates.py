"""``pfserver certificates``."""

from __future__ import annotations

from pathlib import Path

import click

_folder = click.argument("folder", type=click.Path(file_okay=False, path_type=Path))


@click.group()
def certificates() -> None:
    """Make certificates for a private installation: first an authority, then servers and clients signed by it.

    The server wants server.pem, server.key and ca.pem; a factory its own certificate, its key and ca.pem. The file
    ca.key stays with you.
    """


@certificates.command()
@_folder
@click.option("--name", default="pfserver", show_default=True, help="What the authority is called.")
@click.option("--days", default=3650, show_default=True, type=click.IntRange(1, 36500))
def ca(folder: Path, name: str, days: int) -> None:
    """Make an authority in FOLDER: ca.pem and ca.key."""
    from pfserver.client.certificates import make_authority

    pair = make_authority(folder, name, days)
    click.echo(f"Wrote {pair.certificate} and {pair.key}. Whoever has the key can be anybody: keep it safe.")


@certificates.command()
@_folder
@click.argument("hosts", nargs=-1, required=True, metavar="HOST…")
@click.option("--days", default=825, show_default=True, type=click.IntRange(1, 36500))
def server(folder: Path, hosts: tuple[str, ...], days: int) -> None:
    """Make server.pem and server.key in FOLDER, for the host names and IP addresses by which clients call it."""
    from pfserver.client.certificates import make_server

    pair = make_server(folder, list(hosts), days)
    click.echo(f"Wrote {pair.certificate} and {pair.key}")


@certificates.command()
@_folder
@click.argument("email")
@click.option("--days", default=825, show_default=True, type=click.IntRange(1, 36500))
def client(folder: Path, email: str, days: int) -> None:
    """Make EMAIL.pem and EMAIL.key in FOLDER: who shows this certificate works for the account EMAIL."""
    from pfserver.client.certificates import make_client

    pair = make_client(folder, email, days)
    click.echo(f"Wrote {pair.certificate} and {pair.key}")
