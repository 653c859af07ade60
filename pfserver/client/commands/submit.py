"""``pfserver submit``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import click

from pfserver.client.commands.common import as_json, client_of, pairs, printable
from pfserver.client.commands.monitor import exit_code, show
from pfserver.client.conversation import Submission
from pfserver.client.servers import Servers
from pfserver.model import Outcome


@click.command()
@click.argument("project")
@click.argument("job", default="")
@click.option("-j", "job_variables", multiple=True, metavar="NAME=VALUE", help="A job variable, e.g. _sys_Priority=5.")
@click.option("-d", "document_variables", multiple=True, metavar="NAME=VALUE", help="A value for every record.")
@click.option("--watch", is_flag=True, help="Stay and show what the job tells, until its end.")
@click.option("--download", type=click.Path(path_type=Path), metavar="DIR", help="Copy the output to DIR afterwards.")
@click.option(
    "--output-root",
    type=click.Path(path_type=Path),
    envvar="PFSERVER_OUTPUT",
    default=Path("pfserver-state/output"),
    show_default=True,
    help="Where this machine sees the server's output folder.",
)
@as_json
@click.pass_obj
def submit(
    servers: Servers,
    project: str,
    job: str,
    job_variables: tuple[str, ...],
    document_variables: tuple[str, ...],
    watch: bool,
    download: Path | None,
    output_root: Path,
    as_json: bool,
) -> int:
    """Submit JOB of PROJECT, a path below the server's projects folder.

    Prints the transaction id; with --watch also everything that the job tells, and the exit code is its outcome.
    """
    submission = Submission(project, job, pairs(job_variables), pairs(document_variables))
    client = client_of(servers)
    if not watch and download is None:
        transaction = client.submit(submission)
        click.echo(json.dumps({"transaction": transaction}) if as_json else printable(transaction))
        return 0
    lines = client.submit_and_watch(submission)
    transaction = printable(next(lines).text)
    click.echo(json.dumps({"transaction": transaction}) if as_json else transaction)
    outcome = show(lines, transaction, as_json)
    if download is not None and outcome is not Outcome.FAILED:
        _copy(output_root / transaction, download / transaction, outcome)
    return exit_code(outcome)


def _copy(source: Path, target: Path, outcome: Outcome) -> None:
    if not source.is_dir():
        if outcome is Outcome.CANCELLED:
            # It may have been cancelled before it had any.
            return
        raise click.ClickException(
            f"the output of {target.name} is not in {source.parent} as this machine sees it: say --output-root DIR"
        )
    shutil.copytree(source, target, dirs_exist_ok=True)
    click.echo(f"{sum(1 for path in target.rglob('*') if path.is_file())} files in {target}", err=True)
