"""``pfserver factory``."""

from __future__ import annotations

from pathlib import Path

import click

from pfserver.client.commands.common import as_json
from pfserver.client.commands.identity import identity_options
from pfserver.client.identity import Identity
from pfserver.errors import ConfigurationError

_file = click.Path(path_type=Path)


@click.command()
@click.argument("url")
@click.option("--name", required=True, help="The name under which the factory is registered at the server.")
@identity_options
@click.option("--command", default="", help="Render with this command line instead of LibreOffice.")
@click.option("--result", default="", metavar="PATTERN", help="Where the command leaves its result.")
@click.option("--jobs", default=0, type=click.IntRange(0, 256), help="Jobs at once. [default: one a core]")
@click.option("--timeout", default=60.0, show_default=True, type=click.FloatRange(1), help="Seconds for a document.")
@click.option("--readable", multiple=True, type=_file, help="A folder that LibreOffice may see besides documents.")
@click.option("--unconfined", is_flag=True, help="LibreOffice sees all that the factory sees.")
@click.option(
    "--poll", default=5.0, show_default=True, type=click.FloatRange(0.05), help="Longest pause between polls."
)
@click.option(
    "--retry", default=30.0, show_default=True, type=click.FloatRange(0.1), help="Longest pause without server."
)
@click.option(
    "--renew", default=60.0, show_default=True, type=click.FloatRange(0.1), help="Seconds between lock renewals."
)
@click.option("--grace", default=20.0, show_default=True, type=click.FloatRange(0), help="Seconds for jobs at the end.")
@click.option("--state", default="pfserver-factory", show_default=True, type=_file, help="A folder for its files.")
@as_json
def factory(
    url: str,
    name: str,
    identity: Identity,
    command: str,
    result: str,
    jobs: int,
    timeout: float,
    readable: tuple[Path, ...],
    unconfined: bool,
    poll: float,
    retry: float,
    renew: float,
    grace: float,
    state: Path,
    as_json: bool,
) -> None:
    """Work as a rendering factory for the Officeshots server at URL, until SIGTERM.

    Polls for documents, renders them with this machine's LibreOffice, and sends the results back.

    \b
    In --command and --result these are replaced:
      %source_path %source_dir %source_file %source_base %source_ext
      %jobid %format %application %version %page_start %page_end
    The result is expected at %source_dir/%source_base.%format.
    """
    from pfserver.factory.main import FactorySettings, run
    from pfserver.factory.program import RESULT
    from pfserver.factory.work import FactoryOptions

    settings = FactorySettings(
        url=url,
        name=name,
        state=state,
        ca=identity.ca,
        certificate=identity.certificate,
        key=identity.key,
        token=identity.token,
        command=command,
        result=result or RESULT,
        jobs=jobs,
        timeout=timeout,
        confine=not unconfined,
        readable=tuple(path.absolute() for path in readable),
        options=FactoryOptions(poll=poll, first_poll=min(0.2, poll), retry=retry, renew=renew, grace=grace),
    )
    try:
        run(settings, as_json=as_json)
    except ConfigurationError as error:
        raise click.UsageError(str(error)) from error
