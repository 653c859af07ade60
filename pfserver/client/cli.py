"""The ``pfserver`` command: loads each of its commands when it is called."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from types import MappingProxyType

import click

from pfserver import __version__
from pfserver.client.errors import NoServer, ServerRefused
from pfserver.client.servers import Servers
from pfserver.errors import PFServerError

#: Exit codes besides those of a job's outcome (0 completed, 1 partial, 2 failed, 3 cancelled); see sysexits.h.
USAGE, NO_SERVER, REFUSED, NO_FILE = 64, 69, 65, 74

#: Where each command is: loaded when it is called, so that the others cost nothing.
COMMANDS: Mapping[str, str] = MappingProxyType(
    {
        "init": "init:init",
        "submit": "submit:submit",
        "watch": "watch:watch",
        "status": "status:status",
        "cancel": "cancel:cancel",
        "log": "log:log",
        "jobs": "jobs:jobs",
        "queue": "queue:queue",
        "convert": "convert:convert",
        "factory": "factory:factory",
        "factories": "factories:factories",
        "certificates": "certificates:certificates",
        "globals": "globals_zwr:globals_group",
        "locks": "globals:locks",
        "doctor": "doctor:doctor",
        "completion": "completion:completion",
    }
)


class LazyGroup(click.Group):
    """A group whose commands are imported when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands in the order in which people meet them; those of rooms that are not installed are left away."""
        return [name for name in COMMANDS if self.get_command(ctx, name) is not None]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name."""
        place = COMMANDS.get(cmd_name)
        if place is None:
            return None
        module, _, attribute = place.partition(":")
        try:
            command: click.Command = getattr(import_module(f"pfserver.client.commands.{module}"), attribute)
        except ModuleNotFoundError as error:
            if error.name != f"pfserver.client.commands.{module}":
                raise
            return None
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="pfserver")
@click.option("--server", envvar="PFSERVER_SERVER", default=Servers().pageflex, metavar="HOST:PORT", show_default=True)
@click.option("--omi", envvar="PFSERVER_OMI", default=Servers().omi, metavar="HOST:PORT", show_default=True)
@click.option("--http", envvar="PFSERVER_HTTP", default=Servers().http, metavar="URL", show_default=True)
@click.pass_context
def cli(ctx: click.Context, server: str, omi: str, http: str) -> None:
    """Drives pfserver: submit jobs and see what becomes of them.

    Exit codes: 0 completed, 1 partially completed, 2 failed, 3 cancelled, 64 usage, 65 refused by the server,
    69 no server, 74 a file or the output here cannot be read or written.
    """
    ctx.obj = Servers(server, omi, http)


def main() -> None:
    """The console script."""
    try:
        code = cli.main(standalone_mode=False)
    except click.UsageError as error:
        error.show()
        sys.exit(USAGE)
    except click.ClickException as error:
        error.show()
        # Its own code is 1, which says that a job was partially completed.
        sys.exit(NO_FILE)
    except SystemExit:
        # Click's way out where nobody reads the output any more.
        sys.exit(NO_FILE)
    except click.Abort:
        click.echo("Interrupted.", err=True)
        sys.exit(130)
    except NoServer as error:
        click.echo(f"pfserver: {error}", err=True)
        sys.exit(NO_SERVER)
    except (ServerRefused, PFServerError) as error:
        click.echo(f"pfserver: {error}", err=True)
        sys.exit(REFUSED)
    except OSError as error:
        # Standard error may be as full as what could not be written.
        with suppress(OSError):
            click.echo(f"pfserver: {error.filename or 'output'}: {error.strerror or error}", err=True)
        if error.filename is None:
            # What is left for it would be tried once more at the end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(NO_FILE)
    sys.exit(code if isinstance(code, int) else 0)
