"""``pfserver globals export`` and ``import``; with them the group of commands on globals is complete."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import click

from pfserver.client import zwr
from pfserver.client.commands.globals import Session, globals_group, login_options
from pfserver.errors import PFServerError
from pfserver.wire.zwr import read_nodes, write_header, write_node

#: What the first line of a file says.
LABEL = "pfserver globals export"


class _NothingToExport(PFServerError):
    """A global that was named does not exist."""


@globals_group.command("export")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="A file; else standard output.")
@login_options
def export(session: Session, names: tuple[str, ...], output: Path | None) -> None:
    """Write globals as ZWR text, which M systems load: those named, as X or ^X, or all of the environment.

    The server runs on; what is changed meanwhile may be in the file or not.
    """
    count = 0
    with session.open() as client, _written(output) as file:
        file.write(write_header(LABEL, datetime.now().strftime("%d-%b-%Y  %H:%M:%S").upper()))
        for name in [one.removeprefix("^").encode() for one in names] or zwr.names(client):
            if names and not client.define(name):
                raise _NothingToExport(f"there is no global ^{name.decode()}")
            for node in zwr.export(client, name):
                file.write(write_node(node))
                count += 1
    click.echo(f"{count} nodes exported", err=True)


@globals_group.command("import")
@click.argument("file", type=click.File("rb"), default="-")
@login_options
def import_(session: Session, file: BinaryIO) -> None:
    """Set the nodes of a ZWR file, by default of standard input; others stay as they are.

    Stops at the first line that cannot be read or set, and says which; the nodes before it are set. Of those behind one
    that the server refuses, a few hundred may be.
    """
    with session.open() as client:
        count = zwr.load(client, read_nodes(zwr.lines_of(file)))
    click.echo(f"{count} nodes imported", err=True)


@contextmanager
def _written(output: Path | None) -> Iterator[BinaryIO]:
    """Standard output, or a file that is there when all of it was written."""
    if output is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    draft = output.with_name(f".{output.name}.part")
    try:
        with draft.open("wb") as file:
            yield file
        draft.replace(output)
    except OSError as error:
        raise click.FileError(str(output), error.strerror or "cannot be written") from error
    finally:
        draft.unlink(missing_ok=True)


__all__ = ["export", "globals_group", "import_"]
