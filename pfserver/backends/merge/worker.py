"""What runs in worker processes: rules, setting, splitting and writing the documents of a chunk of records."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import lt
from pathlib import Path
from typing import Any, Literal, cast

import pikepdf
from attrs import field, frozen

from pfserver.backends.merge.join import Bookmark, join
from pfserver.backends.merge.pdf import TypstPdf, UnknownShape, known_shape
from pfserver.backends.merge.split import split
from pfserver.errors import JobFailed, unwritten
from pfserver.numbers import Number
from pfserver.projects.project import JobTable, Rules
from pfserver.projects.rules import RuleSet
from pfserver.projects.sources.common import Unreadable
from pfserver.projects.template import BadValue, Setting, Template, TemplateError

#: Jobs whose templates and rules a worker keeps loaded.
KEPT = 4


@frozen(kw_only=True)
class Work:
    """What is the same for all chunks of a job."""

    token: str
    """The job's try: what a worker has loaded for another one is not used."""
    folder: Path
    """The folder with the driver, see :func:`pfserver.projects.template.make_folder`."""
    output: Path
    table: JobTable
    rules: Rules | None
    fonts: Sequence[Path]
    job: Mapping[str, Any]
    """What rules and templates see as ``job``."""
    variables: Mapping[str, Any]
    """The project's variables: a record's columns win over them."""
    document_variables: Mapping[str, str]
    """The packet's: they win over everything."""
    together: bool = True
    """Whether records can be set together."""
    digits: int = 3
    """How many digits the numbers of files have at least."""
    end: Path | None = None
    """Once there is such a file, no further record is begun: the job was cancelled, or ends with its first failure."""

    def ends(self) -> bool:
        """Whether no further record is to be begun."""
        return self.end is not None and self.end.exists()


@frozen(kw_only=True)
class Chunk:
    """Records that follow one another; ``first`` is the number of the first, counted from 1."""

    first: int
    records: Sequence[Mapping[str, Any]]


@frozen(kw_only=True)
class Document:
    """A record that was produced: its number, pages, and the files that hold it alone, with their sizes."""

    record: int
    pages: int
    title: str = ""
    files: Sequence[tuple[str, int]] = ()


@frozen(kw_only=True)
class Failure:
    """A record that was not produced; ``number`` and ``text`` are told by the monitor."""

    record: int
    number: int
    text: str


@frozen(kw_only=True)
class Produced:
    """What became of a chunk."""

    documents: Sequence[Document] = ()
    failures: Sequence[Failure] = ()
    parts: Sequence[str] = field(factory=list)
    """Files in the output folder that hold the documents together, in order (split = "job")."""


def prepare(work: Work) -> None:
    """Load rules and template. Raises ``JobFailed`` for what would fail every record."""
    _loaded(work)


def produce(work: Work, chunk: Chunk) -> Produced:
    """Produce a chunk's documents in the output folder. Raises ``OutputUnavailable``, ``JobFailed``."""
    rules, template = _loaded(work)
    failures: list[Failure] = []
    ready: list[tuple[int, Mapping[str, Any]]] = []
    for number, record in enumerate(chunk.records, chunk.first):
        if work.ends():
            break
        values = {**work.variables, **record, **work.document_variables}
        if isinstance(record, Unreadable):
            failures.append(_bad_data(number, record.text))
            continue
        if rules is not None:
            try:
                results, failed = rules.evaluate(values, work.job)
            except ValueError as error:
                failures.append(_bad_data(number, f"a value {error}"))
                continue
            if failed:
                failures += [Failure(record=number, number=Number.RULE_FAILED, text=one.text) for one in failed]
                continue
            values = {**values, **results, **work.document_variables}
        ready.append((number, values))
    documents: list[Document] = []
    parts: list[str] = []
    with _writing():
        for group, setting in _set(work, template, ready, failures):
            made, part = _write(work, template, group, setting)
            documents += made
            parts += part
    failures.sort(key=lambda failure: failure.record)
    return Produced(documents=documents, failures=failures, parts=parts)


def join_parts(work: Work, parts: Sequence[str], bookmarks: Sequence[Bookmark], name: str) -> int:
    """Make one run file of parts and remove them; gives its size in bytes. Raises ``OutputUnavailable``."""
    paths = [work.output / part for part in parts]
    target = work.output / name
    draft = work.output / f".{name}.draft"
    with _writing():
        # A worker that died in the middle of this is followed by another one: what is under its name is complete.
        if not target.exists():
            try:
                join(paths, bookmarks, draft)
            except UnknownShape:
                _join_any(paths, bookmarks, draft)
            draft.rename(target)
        for path in paths:
            path.unlink(missing_ok=True)
        return target.stat().st_size


class _Cache(threading.local):
    """What a worker has loaded; a thread's own, as neither QuickJS nor the compiler may be shared."""

    def __init__(self) -> None:
        self.loaded: OrderedDict[str, tuple[RuleSet | None, Template]] = OrderedDict()


_cache = _Cache()


def _loaded(work: Work) -> tuple[RuleSet | None, Template]:
    cache = _cache.loaded
    found = cache.pop(work.token, None)
    if found is None:
        rules = RuleSet(work.rules) if work.rules is not None else None
        table = work.table
        template = Template(work.folder, work.fonts, table.pdf_standard, table.tags, together=work.together)
        try:
            template.check(work.job)
        except TemplateError as error:
            raise JobFailed(Number.TEMPLATE_BROKEN, str(error)) from error
        found = rules, template
        while len(cache) >= KEPT:
            cache.popitem(last=False)
    cache[work.token] = found
    return found


Records = Sequence[tuple[int, Mapping[str, Any]]]


def _set(
    work: Work, template: Template, records: Records, failures: list[Failure]
) -> Iterator[tuple[Records, Setting]]:
    """Set records together where that may be; where they cannot be, halve until a failure stands alone."""
    if len(records) > 1 and not template.together:
        for index, record in enumerate(records):
            if index and work.ends():
                return
            yield from _set(work, template, [record], failures)
        return
    if not records:
        return
    try:
        setting = template.set([values for _, values in records], work.job)
    except TemplateError as error:
        if len(records) == 1:
            failures.append(_failure(records[0][0], error))
            return
    else:
        # Alone, even a record of nothing has its page.
        if len(records) == 1 or all(map(lt, setting.starts, setting.starts[1:])):
            yield records, setting
            return
    middle = len(records) // 2
    yield from _set(work, template, records[:middle], failures)
    yield from _set(work, template, records[middle:], failures)


def _failure(record: int, error: TemplateError) -> Failure:
    """What a template says of a record. Raises ``JobFailed`` for what can be no record's fault."""
    text = str(error)
    if "unknown variable: " in text:
        raise JobFailed(Number.TEMPLATE_BROKEN, text) from error
    if isinstance(error, BadValue) or "dictionary does not contain key" in text:
        return _bad_data(record, text)
    return Failure(record=record, number=Number.RECORD_TEMPLATE, text=f"Record {record}: {text}")


def _bad_data(record: int, text: str) -> Failure:
    return Failure(record=record, number=Number.RECORD_DATA, text=f"Record {record}: {text}")


def _write(work: Work, template: Template, records: Records, setting: Setting) -> tuple[list[Document], list[str]]:
    if work.table.split == "job":
        name = f".part-{records[0][0]:09d}.pdf"
        (work.output / name).write_bytes(setting.pdf)
        return [_document(work, records, setting, index, ()) for index in range(len(records))], [name]
    if work.table.output != "pdf":
        return _write_pictures(work, template, records, setting), []
    documents = []
    for index, pdf in enumerate(_split(work, template, records, setting)):
        name = f"{records[index][0]:0{work.digits}d}.pdf"
        (work.output / name).write_bytes(pdf)
        documents.append(_document(work, records, setting, index, [(name, len(pdf))]))
    return documents, []


def _split(work: Work, template: Template, records: Records, setting: Setting) -> Iterator[bytes]:
    if len(records) == 1:
        yield setting.pdf
        return
    if not work.table.pdf_standard:
        # Whoever asks for a standard gets files that Typst itself made and checked.
        try:
            with known_shape():
                yield from split(TypstPdf(setting.pdf), [setting.pages(index) for index in range(len(records))])
            return
        except UnknownShape:
            # Which is a matter of the template: the records to come are not worth a try.
            template.together = False
    for _, values in records:
        yield template.set([values], work.job).pdf


def _write_pictures(work: Work, template: Template, records: Records, setting: Setting) -> list[Document]:
    kind = cast("Literal['png', 'svg']", work.table.output)
    pictures = template.pictures([values for _, values in records], work.job, kind, work.table.ppi)
    documents = []
    for index, (number, _) in enumerate(records):
        first, end = setting.pages(index)
        files = []
        for page in range(first, end):
            place = "" if end - first == 1 else f"-{page - first + 1}"
            name = f"{number:0{work.digits}d}{place}.{kind}"
            (work.output / name).write_bytes(pictures[page])
            files.append((name, len(pictures[page])))
        documents.append(_document(work, records, setting, index, files))
    return documents


def _document(work: Work, records: Records, setting: Setting, index: int, files: Sequence[tuple[str, int]]) -> Document:
    number, values = records[index]
    first, end = setting.pages(index)
    title = str(values.get(work.table.bookmark, "")) if work.table.bookmark else ""
    return Document(record=number, pages=end - first, title=title or f"Record {number}", files=files)


def _join_any(paths: Sequence[Path], bookmarks: Sequence[Bookmark], target: Path) -> None:
    """Join files of any shape; slower, and without tags. What says that they are PDF/A is kept."""
    version = ""
    with pikepdf.new() as joined:
        for path in paths:
            with pikepdf.open(path) as part:
                joined.pages.extend(part.pages)
                if not version:
                    version = part.pdf_version
                    _keep_archive_marks(part, joined)
        with joined.open_outline() as outline:
            outline.root.extend(pikepdf.OutlineItem(mark.title, mark.page) for mark in bookmarks)
        joined.save(target, min_version=version)


def _keep_archive_marks(part: pikepdf.Pdf, joined: pikepdf.Pdf) -> None:
    """What PDF/A asks of a file as a whole, from one of its parts. Without tags it is of level B, not A."""
    if "/OutputIntents" not in part.Root:
        return
    for key in ("/OutputIntents", "/Metadata", "/Lang"):
        if key in part.Root:
            joined.Root[key] = _copied(joined, part.Root[key])
    with joined.open_metadata(set_pikepdf_as_editor=False, update_docinfo=False) as marks:
        if marks.get("pdfaid:conformance") == "A":
            marks["pdfaid:conformance"] = "B"
        if "xmpTPg:NPages" in marks:
            del marks["xmpTPg:NPages"]


def _copied(target: pikepdf.Pdf, value: pikepdf.Object) -> pikepdf.Object:
    """A value of another file: only what stands by itself there can be copied as it is."""
    if value.is_indirect:
        return target.copy_foreign(value)
    if isinstance(value, pikepdf.Array):
        return pikepdf.Array([_copied(target, one) for one in value])
    return pikepdf.Object.parse(value.unparse())


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise unwritten(error) from None
