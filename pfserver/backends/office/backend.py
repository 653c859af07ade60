"""The office backend: a job names a document, LibreOffice converts it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from secrets import token_hex
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from pfserver.backends.office.listener import ListenerHung, ListenerLost, ListenerNotStarted
from pfserver.backends.office.pool import Pool
from pfserver.backends.office.programs import INSTALL_HINT
from pfserver.documents.checks import MEDIA_TYPES, check_document, check_result, page_count
from pfserver.documents.names import fitting_name
from pfserver.documents.request import APPLICATION, DEFAULT_FORMAT, VERSION, Conversion, conversion_of, doctype_of
from pfserver.documents.sources import Sources
from pfserver.errors import BadProject, JobFailed, NotSupported, OutputUnavailable
from pfserver.interfaces import IBackend, IReporter
from pfserver.model import Artifact, JobRequest, Outcome, Progress
from pfserver.numbers import Number


@implementer(IBackend)
class OfficeBackend:
    """Converts documents with the pool.

    :param pool: None where there is no LibreOffice: then every request is refused with a text that says how to get it.
    :param sources: where documents and passwords are.
    :param work: a folder for conversions that run.
    """

    name = "office"
    local = True
    log = Logger()

    def __init__(self, reactor: Any, pool: Pool | None, sources: Sources, work: Path) -> None:
        self._reactor = reactor
        self._pool = pool
        self._sources = sources
        self._work = work

    def takes(self, request: JobRequest) -> bool:
        """See ``IBackend``: documents that name no application."""
        if request.backend:
            return request.backend == self.name
        wanted = request.variables.get(APPLICATION, "").strip() or request.variables.get(VERSION, "").strip()
        return not wanted and bool(doctype_of(request.project))

    async def check(self, request: JobRequest) -> JobRequest:
        """See ``IBackend``."""
        if self._pool is None:
            raise NotSupported(INSTALL_HINT)
        conversion = conversion_of(request)
        if conversion.application or conversion.version:
            raise NotSupported("an application or a version is something for factories; leave them or the backend away")
        await self._in_thread(self._check_source, request, conversion)
        return self._sources.bound(await self._in_thread(self._sources.hide_password, request))

    def _check_source(self, request: JobRequest, conversion: Conversion) -> None:
        password = bool(self._sources.password(request))
        check_document(self._sources.path(request), conversion.doctype, password=password)

    async def run(self, reporter: IReporter) -> Outcome:
        """See ``IBackend``."""
        assert self._pool is not None, "a job was accepted before, LibreOffice is gone now"
        request: JobRequest = reporter.job.request
        if reporter.cancelled:
            return Outcome.CANCELLED
        # A name that no other document can know.
        folder = self._work / f"{reporter.job.id}-{token_hex(16)}"
        try:
            message = await self._in_thread(self._prepare, request, folder)
            slot = await self._slot(reporter)
            if slot is None:
                return Outcome.CANCELLED
            answer = await self._pool.convert(slot, message)
            if "refused" in answer:
                raise JobFailed(Number.DOCUMENT_BROKEN, str(answer["refused"]))
            artifacts = await self._in_thread(self._collect, request, folder, answer["files"], reporter.folder)
        except BadProject as error:
            raise JobFailed(Number.DOCUMENT_BROKEN, str(error)) from error
        except ListenerHung as error:
            raise JobFailed(Number.TIMED_OUT, "Converting took longer than it may; it was given up") from error
        except ListenerNotStarted as error:
            raise JobFailed(Number.BACKEND_BROKEN, f"{error} on the server") from error
        except ListenerLost as error:
            raise JobFailed(Number.DOCUMENT_BROKEN, "LibreOffice crashed on the document, twice") from error
        except OSError as error:
            raise OutputUnavailable(f"the output could not be written: {error.strerror}") from error
        finally:
            await self._in_thread(shutil.rmtree, folder, True)
        for artifact in artifacts:
            reporter.artifact(artifact)
        pages = sum(artifact.pages for artifact in artifacts)
        reporter.progress(Progress(documents=1, pages=pages, total=1))
        return Outcome.CANCELLED if reporter.cancelled else Outcome.COMPLETED

    async def restart(self) -> None:
        """See ``IBackend``."""
        if self._pool is not None:
            await self._pool.restart()

    async def stop(self) -> None:
        """See ``IBackend``."""
        if self._pool is not None:
            await self._pool.stop()

    # -- steps that block --------

    def _prepare(self, request: JobRequest, folder: Path) -> dict[str, Any]:
        """Check the document again, thoroughly, and put it where LibreOffice may do with it what it wants."""
        conversion = conversion_of(request)
        path = self._sources.path(request)
        password = self._sources.password(request)
        doctype = check_document(path, conversion.doctype, password=bool(password), thorough=True)
        folder.mkdir(parents=True, mode=0o700)
        source = folder / f"source.{doctype}"
        shutil.copyfile(path, source)
        return {
            "source": str(source),
            "folder": str(folder),
            "doctype": doctype,
            "format": conversion.format or DEFAULT_FORMAT,
            "pages": conversion.pages,
            "password": password,
            "pdf_standard": conversion.pdf_standard,
            "resolution": conversion.resolution,
        }

    def _collect(self, request: JobRequest, folder: Path, names: Sequence[str], output: Path) -> list[Artifact]:
        """Check what was made and move it to the job's output under the document's name."""
        conversion = conversion_of(request)
        stem = PurePosixPath(request.project.replace("\\", "/")).stem or "document"
        if not names:
            wanted = conversion.pages
            raise BadProject(f"there are no such pages: {wanted}" if wanted else "the document has no pages")
        artifacts = []
        for index, name in enumerate(names):
            made = folder / name
            if not made.exists() or not made.stat().st_size:
                raise BadProject("LibreOffice made nothing of the document")
            check_result(made, conversion.format or DEFAULT_FORMAT)
            number = f"-{conversion.first + index:04d}" if conversion.format == "png" else ""
            final = fitting_name(stem, f"{number}{made.suffix}")
            shutil.move(made, output / final)
            size, pages = (output / final).stat().st_size, page_count(output / final)
            artifacts.append(Artifact(name=final, media_type=MEDIA_TYPES[made.suffix], size=size, pages=pages))
        return artifacts

    async def _in_thread(self, function: Any, *arguments: Any) -> Any:
        return await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), function, *arguments)

    async def _slot(self, reporter: IReporter) -> int | None:
        """Wait for a free listener; None where the job was cancelled before there was one."""
        assert self._pool is not None
        waiting = self._pool.slot()

        async def watch() -> None:
            await reporter.when_cancelled()
            waiting.cancel()

        watching = Deferred.fromCoroutine(watch())
        try:
            return await waiting
        except CancelledError:
            if reporter.cancelled:
                return None
            raise
        finally:
            watching.addErrback(_expect_cancelled)
            watching.cancel()


def _expect_cancelled(failure: Failure) -> None:
    failure.trap(CancelledError)
