"""Shows a job's messages: a progress bar on a terminal, plain lines in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Iterable

import click

from pfserver.client.commands.common import EXIT_CODES, print_line, printable
from pfserver.client.conversation import outcome_of, progress_of
from pfserver.client.errors import NoServer
from pfserver.model import Outcome
from pfserver.numbers import Number
from pfserver.wire.pageflex import Line


def show(lines: Iterable[Line], transaction: str, as_json: bool) -> Outcome:
    """Show messages until they end; gives the outcome. Raises ``NoServer`` where there was none."""
    try:
        live = sys.stdout.isatty() and not as_json
        outcome = _live(lines, transaction) if live else _plain(lines, as_json)
    except KeyboardInterrupt:
        click.echo(f"\nNo longer watching. The job goes on: pfserver watch {transaction}", err=True)
        raise click.Abort from None
    if outcome is None:
        raise NoServer(f"the server closed before the outcome of {transaction} was known; the job is kept")
    return outcome


def exit_code(outcome: Outcome) -> int:
    """The exit code of an outcome."""
    return EXIT_CODES[outcome]


def _plain(lines: Iterable[Line], as_json: bool) -> Outcome | None:
    outcome = None
    for line in lines:
        print_line(line, as_json)
        outcome = outcome_of(line) or outcome
    return outcome


def _live(lines: Iterable[Line], transaction: str) -> Outcome | None:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.text import Text

    outcome = None
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns) as progress:
        task = progress.add_task(transaction, total=None)
        for line in lines:
            done = progress_of(line)
            if done is not None:
                progress.update(task, completed=done[0], total=done[1] or (done[0] if outcome_of(line) else None))
            if line.number == Number.PROGRESS:
                continue
            style = "red" if line.is_error else "green" if outcome_of(line) is Outcome.COMPLETED else ""
            progress.console.print(Text(f"{line.number:07d} {printable(line.text)}", style=style))
            outcome = outcome_of(line) or outcome
    return outcome
