"""``pfserver completion``."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that completes pfserver's commands in SHELL; source it, or put it where your shell looks."""
    kind = get_completion_class(shell)
    if kind is None:
        raise click.ClickException(f"{shell} cannot be completed")
    click.echo(kind(ctx.find_root().command, {}, "pfserver", "_PFSERVER_COMPLETE").source())
