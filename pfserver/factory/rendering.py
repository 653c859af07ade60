"""What renders: the interface that the service knows, and what all of them check."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from zope.interface import Attribute, Interface

from pfserver.documents.checks import check_document, check_result
from pfserver.documents.request import DEFAULT_FORMAT, DOCTYPES, FORMATS
from pfserver.errors import BadProject
from pfserver.factory.errors import NotRendered
from pfserver.factory.tasks import Task, TaskFolder


class IRenderer(Interface):
    """Renders documents, several at once."""

    jobs = Attribute("int: how many it does at once, unless it is told otherwise")

    def render(folder: TaskFolder) -> Any:
        """Awaitable of the result's path, in ``folder.work``, which exists and is empty.

        May be cancelled. Raises ``NotRendered`` and ``RendererBroken``.
        """

    def stop() -> Any:
        """Awaitable: end all programs."""


def format_of(task: Task) -> str:
    """The format that is rendered. Raises ``NotRendered`` for one that nobody knows."""
    wanted = task.format or DEFAULT_FORMAT
    if wanted not in FORMATS:
        raise NotRendered(f"the format {wanted[:20]!r} is not known here")
    return wanted


def expect_document(task: Task, path: Path) -> str:
    """Check the document; gives the type to load it as. Blocks. Raises ``NotRendered``."""
    if task.doctype not in DOCTYPES:
        raise NotRendered(f"documents of type {task.doctype[:20]!r} are not known here")
    try:
        return check_document(path, task.doctype, thorough=True)
    except BadProject as error:
        raise NotRendered(str(error)) from error


def expect_result(path: Path, output_format: str) -> None:
    """Check that something was rendered: a look at its first bytes. Raises ``NotRendered``."""
    # A folder or a link in circles is the program's fault, not the disk's.
    if not path.is_file():
        raise NotRendered("nothing was made of the document")
    if not path.stat().st_size:
        raise NotRendered("the result is empty")
    try:
        check_result(path, output_format)
    except BadProject as error:
        raise NotRendered(str(error)) from error
