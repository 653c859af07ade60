"""Rendering with this machine's LibreOffice: the listeners of the office backend."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.internet.threads import deferToThreadPool
from zope.interface import implementer

from pfserver.backends.office.listener import ListenerHung, ListenerLost, ListenerNotStarted
from pfserver.backends.office.pool import Pool, PoolOptions
from pfserver.backends.office.programs import Programs
from pfserver.documents.request import RESOLUTIONS
from pfserver.factory.errors import NotRendered, RendererBroken
from pfserver.factory.rendering import IRenderer, expect_document, expect_result, format_of
from pfserver.factory.tasks import TaskFolder

#: Pixels an inch of a PNG.
RESOLUTION = 96
assert RESOLUTION in RESOLUTIONS


def cores() -> int:
    """How many LibreOffices this machine runs well at once."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@implementer(IRenderer)
class OfficeRenderer:
    """Renders with a pool of LibreOffices.

    :param folder: for their profiles.
    :param work: holds the folders of all jobs.
    """

    def __init__(self, reactor: Any, programs: Programs, folder: Path, work: Path, options: PoolOptions) -> None:
        self.jobs = options.size
        self._reactor = reactor
        self._pool = Pool(reactor, reactor, programs, folder, work, options)

    async def render(self, folder: TaskFolder) -> Path:
        """See ``IRenderer``."""
        task = folder.task
        output_format = format_of(task)
        source, doctype = await self._in_thread(_prepare, folder)
        pages = f"{task.first}-{task.first}" if output_format == "png" else task.pages
        message = {
            "source": str(source),
            "folder": str(folder.work),
            "doctype": doctype,
            "format": output_format,
            "pages": pages,
            "password": "",
            "pdf_standard": "",
            "resolution": RESOLUTION,
        }
        try:
            answer = await self._pool.convert(await self._pool.slot(), message)
        except ListenerHung as error:
            raise NotRendered("LibreOffice took longer than it may") from error
        except ListenerNotStarted as error:
            raise RendererBroken("LibreOffice cannot be started") from error
        except ListenerLost as error:
            raise NotRendered("LibreOffice crashed on the document, twice") from error
        if "refused" in answer:
            raise NotRendered(str(answer["refused"]))
        if not answer["files"]:
            raise NotRendered(f"there is no page {task.first}")
        # jobs.finish takes one document: of a PNG, that is the first page that was asked for.
        result = folder.work / str(answer["files"][0])
        expect_result(result, output_format)
        return result

    async def stop(self) -> None:
        """See ``IRenderer``."""
        await self._pool.stop()

    async def _in_thread(self, function: Any, *arguments: Any) -> Any:
        return await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), function, *arguments)


def _prepare(folder: TaskFolder) -> tuple[Path, str]:
    """Check the document and put it where LibreOffice may do with it what it wants."""
    doctype = expect_document(folder.task, folder.source)
    source = folder.work / f"source.{doctype}"
    os.link(folder.source, source)
    return source, doctype
