"""One job's way: records are read in chunks, a few chunks are at work at once, what they give is taken in order.

Nothing here grows with the number of records: chunks wait for workers, and files of a run are joined as they are full.
"""

from __future__ import annotations

import uuid
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThread

from pfserver.backends.merge import worker
from pfserver.backends.merge.chunks import ChunkReader
from pfserver.backends.merge.fetch import fetch
from pfserver.backends.merge.ledger import Ledger
from pfserver.backends.merge.runfile import RunFile
from pfserver.backends.merge.worker import Chunk, Failure, Produced, Work
from pfserver.errors import JobFailed, OutputUnavailable, PFServerError, WorkerLost, unwritten
from pfserver.interfaces import IReporter
from pfserver.model import Artifact, Outcome, Progress
from pfserver.numbers import Number
from pfserver.projects.project import OUTPUTS, Project
from pfserver.projects.template import make_folder, remove_folder
from pfserver.projects.together import can_be_set_together

if TYPE_CHECKING:
    from pfserver.backends.merge.plugin import MergeBackend

#: Reports after which the next one waits until they are stored.
FLUSH = 2000

#: Chunks for each worker that are read ahead.
AHEAD = 2


class Production:
    """Produces one job. Used once."""

    def __init__(self, backend: MergeBackend, reporter: IReporter) -> None:
        self._backend = backend
        self._reporter = reporter
        self._workers = backend.services.workers
        self._documents = self._pages = self._failures = 0
        self._total: int | None = None
        self._stopped_by_failure = False
        self._unflushed = 0
        self._end: Path
        self._work: Work
        self._ledger: Ledger
        self._run: RunFile | None = None
        self._joins: deque[Deferred[None]] = deque()

    async def produce(self) -> Outcome:
        """See ``IBackend.run``."""
        scratch = self._backend.scratch / f"{self._reporter.job.transaction_id}-{uuid.uuid4().hex[:8]}"
        try:
            await deferToThread(scratch.mkdir, parents=True)
            self._end = scratch / "end"
            cancelled = Deferred.fromCoroutine(self._end_when_cancelled())
            try:
                return await self._produce(scratch)
            finally:
                cancelled.cancel()
        except OSError as error:
            raise unwritten(error) from error
        finally:
            await deferToThread(remove_folder, scratch)

    async def _produce(self, scratch: Path) -> Outcome:
        backend, request = self._backend, self._reporter.job.request
        try:
            project, origin = await deferToThread(backend.load, request)
        except OutputUnavailable:
            raise
        except PFServerError as error:
            raise JobFailed(Number.PROJECT_BROKEN, str(error)) from error
        if origin.source.startswith(("http://", "https://")):
            options = backend.options
            path = await fetch(
                origin.source,
                scratch,
                backend.services.reactor,
                limit=options.fetch_bytes,
                seconds=options.fetch_seconds,
            )
            origin = evolve(origin, source=str(path))
        reader = ChunkReader(backend.records, origin, backend.options.chunk, project.job(request.job))
        try:
            self._total = await deferToThread(reader.open)
            self._reporter.progress(self._progress())
            self._work = await deferToThread(self._begin, scratch, project)
            await self._call_again(worker.prepare, self._work)
            await self._all_chunks(reader)
        finally:
            await deferToThread(reader.close)
        outcome = self._outcome()
        if outcome is not Outcome.FAILED:
            await deferToThread(self._ledger.finish, outcome, self._progress())
            self._reporter.artifact(self._ledger.artifact())
        return outcome

    async def _end_when_cancelled(self) -> None:
        try:
            await self._reporter.when_cancelled()
        except CancelledError:
            return
        self._begin_no_more()

    def _begin_no_more(self) -> None:
        """Chunks that workers have, or get yet, end before their next record."""
        with suppress(OSError):
            # On a full disk they are produced whole.
            self._end.touch()

    def _begin(self, scratch: Path, project: Project) -> Work:
        job = self._reporter.job
        table = project.job(job.request.job)
        folder = scratch / "project"
        folder.mkdir()
        make_folder(project.place.folder, table.template, folder)
        self._ledger = Ledger(self._reporter.folder, job, project.title)
        return Work(
            token=scratch.name,
            folder=folder,
            output=self._reporter.folder,
            table=table,
            rules=project.rules,
            fonts=project.fonts,
            job={
                "id": job.transaction_id,
                "project": job.request.project,
                "name": job.request.job,
                "title": project.title,
                "variables": {
                    name: value for name, value in job.request.variables.items() if not name.startswith("_sys_")
                },
            },
            variables=project.variables,
            document_variables=dict(job.request.document_variables),
            together=can_be_set_together(
                project.place.folder, table.template, apart=table.split == "record" and table.output == "pdf"
            ),
            digits=max(3, len(str(self._total or 0))),
            end=self._end,
        )

    # -- chunks --------

    async def _all_chunks(self, reader: ChunkReader) -> None:
        pending: deque[Deferred[Produced]] = deque()
        window = AHEAD * self._workers.size + 1
        try:
            while True:
                while len(pending) < window and not self._ends():
                    chunk = await deferToThread(reader.next)
                    if chunk is None:
                        break
                    pending.append(Deferred.fromCoroutine(self._chunk(chunk)))
                if not pending:
                    break
                await self._take(await pending.popleft())
            await self._close_run()
            while self._joins:
                await self._joins.popleft()
        except BaseException:
            everything: list[Deferred[Any]] = [*pending, *self._joins]
            for waiting in everything:
                waiting.addErrback(lambda _: None)
                waiting.cancel()
            raise

    def _ends(self) -> bool:
        return self._reporter.cancelled or self._stopped_by_failure

    async def _chunk(self, chunk: Chunk) -> Produced:
        """Have a chunk produced; where its worker dies, try again, then halve it down to the record that kills."""
        try:
            return await self._produced(chunk)
        except WorkerLost as error:
            self._backend.log.warn("merge.chunk-lost", first=chunk.first, records=len(chunk.records), reason=str(error))
            if not _too_long(error):
                return await self._again(chunk)
            # What took too long takes as long again.
            return await self._halves(chunk) if len(chunk.records) > 1 else self._given_up(chunk, error)

    async def _again(self, chunk: Chunk) -> Produced:
        try:
            return await self._produced(chunk)
        except WorkerLost as error:
            return await self._halves(chunk) if len(chunk.records) > 1 else self._given_up(chunk, error)

    async def _halves(self, chunk: Chunk) -> Produced:
        """Each half by itself, and so on: a worker dies once for each step, and twice for the record itself."""
        middle = len(chunk.records) // 2
        halves = [
            Chunk(first=chunk.first, records=chunk.records[:middle]),
            Chunk(first=chunk.first + middle, records=chunk.records[middle:]),
        ]
        results: list[Produced] = []
        for half in halves:
            try:
                results.append(await self._produced(half))
            except WorkerLost as error:
                if len(half.records) > 1:
                    results.append(await self._halves(half))
                elif _too_long(error):
                    results.append(self._given_up(half, error))
                else:
                    results.append(await self._again(half))
        return Produced(
            documents=[one for result in results for one in result.documents],
            failures=[one for result in results for one in result.failures],
            parts=[one for result in results for one in result.parts],
        )

    def _given_up(self, chunk: Chunk, error: WorkerLost) -> Produced:
        number = Number.TIMED_OUT if _too_long(error) else Number.RECORD_CRASHED
        text = f"Record {chunk.first}: {error}" + ("" if _too_long(error) else ", again and again")
        return Produced(failures=[Failure(record=chunk.first, number=number, text=text)])

    async def _produced(self, chunk: Chunk) -> Produced:
        produced: Produced = await self._call(worker.produce, self._work, chunk)
        return produced

    async def _call(self, function: Any, *arguments: Any) -> Any:
        return await self._workers.run(function, *arguments, timeout=self._backend.options.chunk_seconds)

    async def _call_again(self, function: Any, *arguments: Any) -> Any:
        """Once more where the worker died: it may not have been the function's fault."""
        try:
            return await self._call(function, *arguments)
        except WorkerLost as error:
            if _too_long(error):
                raise
            return await self._call(function, *arguments)

    async def _take(self, produced: Produced) -> None:
        """Count and report what became of a chunk."""
        for failure in produced.failures:
            self._report(failure)
        place = await self._to_run(produced) if self._work.table.split == "job" else None
        await deferToThread(self._ledger.add, produced, place)
        if place is None:
            kind = OUTPUTS[self._work.table.output]
            for document in produced.documents:
                for name, size in document.files:
                    pages = document.pages if self._work.table.output == "pdf" else 1
                    self._reporter.artifact(Artifact(name=name, media_type=kind, size=size, pages=pages))
        self._documents += len(produced.documents)
        self._pages += sum(document.pages for document in produced.documents)
        self._failures += len({failure.record for failure in produced.failures})
        self._reporter.progress(self._progress())
        self._unflushed += len(produced.documents) + len(produced.failures)
        if self._unflushed >= FLUSH:
            # The store is quicker than Typst; but should it not be, reports must not gather without end.
            self._unflushed = 0
            await self._reporter.flush()

    def _report(self, failure: Failure) -> None:
        listed = self._backend.options.listed_failures
        told = self._ledger.failures
        self._ledger.failures += 1
        if told < listed:
            self._reporter.message(failure.number, failure.text)
        elif told == listed:
            text = f"More than {listed} failures: further ones are counted here and listed in {self._ledger.name}"
            self._reporter.message(Number.TOO_MANY_FAILURES, text)
        if self._work.table.on_error == "stop":
            self._stopped_by_failure = True
            self._begin_no_more()

    def _progress(self) -> Progress:
        return Progress(documents=self._documents, pages=self._pages, failures=self._failures, total=self._total)

    def _outcome(self) -> Outcome:
        if self._stopped_by_failure:
            return Outcome.FAILED
        if self._reporter.cancelled:
            return Outcome.CANCELLED
        if not self._failures:
            return Outcome.COMPLETED
        return Outcome.PARTIAL if self._documents else Outcome.FAILED

    # -- run files (split = "job") --------

    async def _to_run(self, produced: Produced) -> tuple[str, int]:
        """Put a chunk's documents into the run file that is open, a full one is closed; gives the file and the page.

        Chunks end where run files may end, so that a part never belongs to two of them.
        """
        if not produced.documents:
            return "", 0
        if self._run is not None and self._run.documents + len(produced.documents) > self._work.table.max_documents:
            await self._close_run()
        if self._run is None:
            self._ledger.run_files += 1
            self._run = RunFile(f"{self._ledger.run_files:03d}.pdf")
        place = self._run.name, self._run.pages
        self._run.add(produced)
        return place

    async def _close_run(self) -> None:
        run, self._run = self._run, None
        if run is None:
            return
        while len(self._joins) >= self._workers.size:
            await self._joins.popleft()
        self._joins.append(Deferred.fromCoroutine(self._join(run)))

    async def _join(self, run: RunFile) -> None:
        size = await self._call_again(worker.join_parts, self._work, run.parts, run.bookmarks, run.name)
        self._reporter.artifact(Artifact(name=run.name, media_type="application/pdf", size=size, pages=run.pages))


def _too_long(error: WorkerLost) -> bool:
    return "longer" in str(error)
