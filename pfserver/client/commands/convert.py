"""``pfserver convert``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from pfserver.client.commands.common import EXIT_CODES, as_json, printable
from pfserver.client.commands.identity import identity_options
from pfserver.client.conversions import Conversion, JobStatus, fetch, follow, local_name, submit
from pfserver.client.identity import Identity
from pfserver.client.servers import Servers
from pfserver.client.xmlrpc import XMLRPCClient
from pfserver.errors import BadVariable
from pfserver.model import Outcome

#: Of several jobs the worst outcome is the command's.
_WORST = (Outcome.FAILED, Outcome.CANCELLED, Outcome.PARTIAL, Outcome.COMPLETED)


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--to", "output_format", type=click.Choice(["pdf", "png", "odf"]), default="pdf", show_default=True)
@click.option(
    "--application",
    "applications",
    multiple=True,
    metavar="NAME",
    help="By this program of a factory; more than once: by each.",
)
@click.option("--version", "versions", multiple=True, metavar="VERSION", help="Of the application, in the same order.")
@click.option("--remote", is_flag=True, help="By a factory, whatever its application.")
@click.option("--own-factories", is_flag=True, help="Only by factories of your account.")
@click.option("--pages", default="", metavar="PAGES", help="3, 2-4 or 2- (to the end).")
@click.option("--pdf-standard", type=click.Choice(["a-1b", "a-2b", "a-3b"]), help="PDF/A, by the server's LibreOffice.")
@click.option("--resolution", type=click.IntRange(10, 600), help="Pixels an inch of a png. [default: 96]")
@click.option("--password", default="", envvar="PFSERVER_PASSWORD", help="Opens an encrypted document.")
@click.option("--queue", default="", help="A queue of the server.")
@click.option("--priority", default=0, help="Higher runs first.")
@click.option(
    "--download",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    metavar="DIR",
    help="Where results go. [default: here]",
)
@click.option("--no-wait", is_flag=True, help="Print the jobs' names and leave.")
@click.option("--server", default="", metavar="URL", help="The server's HTTP address. [default: that of --http]")
@identity_options
@as_json
@click.pass_obj
def convert(
    servers: Servers,
    /,
    file: Path,
    applications: tuple[str, ...],
    versions: tuple[str, ...],
    download: Path,
    no_wait: bool,
    server: str,
    identity: Identity,
    as_json: bool,
    **options: Any,
) -> int:
    """Convert FILE, an office document, on the server or by its factories.

    The document is sent to the server, and the results come back into the folder of --download; the exit code is the
    outcome, of several jobs the worst one.
    """
    if len(versions) > len(applications):
        raise click.UsageError("--version needs an --application before it")
    conversion = Conversion(file=file, options=_members(options, applications, versions))
    try:
        client = XMLRPCClient(server or servers.http, identity)
    except BadVariable as error:
        raise click.UsageError(str(error)) from error
    with client:
        jobs = submit(client, conversion)
        for job in jobs:
            _say(as_json, {"job": job}, printable(job))
        if no_wait:
            return 0
        outcomes = [
            _done(client, news, file, download, len(jobs) > 1, as_json) for news in _told(client, jobs, as_json)
        ]
    return EXIT_CODES[next(one for one in _WORST if one in outcomes)]


def _members(options: Mapping[str, Any], applications: Sequence[str], versions: Sequence[str]) -> dict[str, Any]:
    """The struct of ``pfserver.submit``; only what was said."""
    members: dict[str, Any] = {"format": options["output_format"]}
    names = ("pages", "pdf_standard", "resolution", "password", "queue", "priority", "remote", "own_factories")
    members |= {name: options[name] for name in names if options[name]}
    if applications:
        padded = [*versions, *[""] * len(applications)]
        members["applications"] = [
            {"application": name, "version": version} for name, version in zip(applications, padded, strict=False)
        ]
    return members


def _told(client: XMLRPCClient, jobs: Sequence[str], as_json: bool) -> list[JobStatus]:
    """Show what jobs tell; gives each one's end."""
    ended = []
    try:
        for news in follow(client, jobs):
            for message in news.messages:
                number, text = int(message["number"]), printable(str(message["text"]))
                label = f"{news.label}: " if len(jobs) > 1 else ""
                _say(as_json, {"job": news.job, "number": number, "text": text}, f"J{number:07d} {label}{text}")
            if news.outcome is not None:
                ended.append(news)
    except KeyboardInterrupt:
        click.echo("\nNo longer watching. The jobs go on.", err=True)
        raise click.Abort from None
    return ended


def _done(client: XMLRPCClient, news: JobStatus, source: Path, folder: Path, several: bool, as_json: bool) -> Outcome:
    """Fetch what a job has made; gives its outcome."""
    assert news.outcome is not None
    if news.artifacts:
        folder = folder / news.job if several else folder
        folder.mkdir(parents=True, exist_ok=True)
    for name in news.artifacts:
        target = folder / local_name(name)
        if target.exists() and target.samefile(source):
            target = target.with_name(f"{target.stem}-{news.job}{target.suffix}")
        fetch(client, news.job, name, target)
        _say(as_json, {"job": news.job, "file": str(target)}, str(target))
    return news.outcome


def _say(as_json: bool, values: Mapping[str, Any], text: str) -> None:
    click.echo(json.dumps(values, ensure_ascii=False) if as_json else text)
