"""``pfserver init``."""

from __future__ import annotations

import shlex
from pathlib import Path

import click


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
def init(directory: Path) -> None:
    """Write the sample project into DIRECTORY, ready to run from a server started with --projects DIRECTORY."""
    from pfserver.projects.samples import write

    try:
        project, *_ = write(directory)
    except FileExistsError as error:
        raise click.ClickException(f"{error}; nothing was written") from error
    except OSError as error:
        raise click.ClickException(f"cannot write to {directory}: {error.strerror}") from error
    click.echo(f"Wrote {project}")
    click.echo("Try it:")
    click.echo(f"  {shlex.join(['twistd', '--nodaemon', 'pfserver', '--projects', str(directory)])}")
    click.echo(f"  {shlex.join(['pfserver', 'submit', project.name, 'Job 1', '--watch'])}")
