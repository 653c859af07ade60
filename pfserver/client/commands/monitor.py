"""Shows a job's messages: a progress bar on a terminal, plain lines in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from pfserver.client.commands.common import EXIT_CODES, print_line, printable, shown
from pfserver.client.conversation import outcome_of, progress_of
from pfserver.client.errors import NoServer
from pfserver.model import Outcome
from pfserver.numbers import Number
from pfserver.wire.pageflex import Line

if TYPE_CHECKING:
    from rich.text import Text


#: How the last word on a job looks.
COLOURS = {Outcome.COMPLETED: "green", Outcome.PARTIAL: "yellow", Outcome.FAILED: "red", Outcome.CANCELLED: "yellow"}


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
    """A bar below the messages, which go by as in a pipe; what moves the bar is not printed as well."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    outcome = None
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(bar_width=30),
        TextColumn("{task.fields[told]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns) as progress:
        task = progress.add_task(transaction, total=None, told="waiting")
        for line in lines:
            outcome = outcome_of(line) or outcome
            if line.number == Number.PROGRESS:
                done, total = progress_of(line) or (0, None)
                progress.update(task, completed=done, total=total, told=printable(line.text))
                continue
            if outcome_of(line) is not None:
                done, _ = progress_of(line) or (0, None)
                progress.update(task, completed=done or 1, total=done or 1, told=f"{done} documents")
            progress.console.print(_styled(line), soft_wrap=True)
    return outcome


def _styled(line: Line) -> Text:
    from rich.text import Text

    outcome = outcome_of(line)
    style = "red" if line.is_error else "" if outcome is None else f"bold {COLOURS[outcome]}"
    return Text(shown(line), style=style)
