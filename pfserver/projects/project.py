"""The project file: TOML to checked values, with the line of what is wrong."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import Factory, field, frozen

from pfserver.errors import BadProject, NoSuchProjectJob, OutsideRoot
from pfserver.projects.folders import ProjectFolder
from pfserver.projects.paths import inside, is_file

#: Documents of one run file where the project says nothing.
MAX_DOCUMENTS = 5000

OUTPUTS = {"pdf": "application/pdf", "png": "image/png", "svg": "image/svg+xml"}
SPLITS = ("record", "job")
ON_ERROR = ("skip", "stop")

#: The largest project file in bytes.
FILE_BYTES = 1 << 20

PDF_STANDARDS = (
    *("1.4", "1.5", "1.6", "1.7", "2.0", "a-1a", "a-1b", "a-2a", "a-2b", "a-2u", "a-3a", "a-3b", "a-3u"),
    *("a-4", "a-4e", "a-4f", "ua-1"),
)


@frozen(kw_only=True)
class Rules:
    """The table ``[rules]``."""

    script: Path
    variables: tuple[str, ...]
    locales: tuple[str, ...] = ("en",)
    """Those that the formatting helpers know; the first is their default."""
    time_limit: float = 1.0
    """Seconds of CPU time for all rules of one record."""
    memory_limit: int = 64
    """MiB that the rules may hold."""


@frozen(kw_only=True)
class JobTable:
    """One table ``[jobs."NAME"]``."""

    name: str
    template: Path
    output: str = "pdf"
    split: str = "record"
    pdf_standard: str = ""
    tags: bool = True
    ppi: float = 144.0
    """Pixels an inch of png output."""
    max_documents: int = MAX_DOCUMENTS
    on_error: str = "skip"
    bookmark: str = ""
    """The column whose value names a record's bookmark; empty for the record's number."""


@frozen(kw_only=True)
class Project:
    """A checked project."""

    place: ProjectFolder
    title: str = ""
    source: str = ""
    """Where records come from: a path inside the project, or a URL; empty for one document without a record."""
    data: Mapping[str, Any] = field(factory=dict)
    """The whole ``[data]`` table: options of the data source."""
    variables: Mapping[str, Any] = field(factory=dict)
    """Values that every record has; a record's own columns win."""
    rules: Rules | None = None
    jobs: Mapping[str, JobTable] = field(factory=dict)
    fonts: tuple[Path, ...] = Factory(tuple)

    def job(self, name: str) -> JobTable:
        """The job of that name. Raises ``NoSuchProjectJob``."""
        try:
            return self.jobs[name]
        except KeyError:
            known = ", ".join(repr(job) for job in self.jobs)
            raise NoSuchProjectJob(f"the project has no job {name!r}; its jobs are: {known}") from None


def load(place: ProjectFolder) -> Project:
    """Read and check a project file. Raises ``BadProject`` with file, line and column where known."""
    name = place.file.name
    try:
        if place.file.stat().st_size > FILE_BYTES:
            raise BadProject(f"{name} is larger than {FILE_BYTES} bytes")
        text = place.file.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadProject(f"{name}{_position(str(error))}") from error
    except UnicodeDecodeError as error:
        before = error.object[: error.start].decode("utf-8-sig")
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        raise BadProject(f"{name}, line {line}, column {column}: is not UTF-8 text") from error
    except OSError as error:
        raise BadProject(f"{name} cannot be read: {error.strerror}") from error
    return _Reader(place, text).project(table)


def _position(text: str) -> str:
    """``Expected '=' … (at line 3, column 5)`` as ``, line 3, column 5: Expected '=' …``."""
    match = re.fullmatch(r"(.*) \(at (line \d+, column \d+|end of document)\)", text, re.DOTALL)
    return f", {match[2]}: {match[1]}" if match else f": {text}"


class _Reader:
    """Looks at one project's tables; knows its text, to name lines."""

    def __init__(self, place: ProjectFolder, text: str) -> None:
        self._place = place
        self._text = text

    def project(self, table: dict[str, Any]) -> Project:
        known = {"title", "data", "rules", "jobs", "variables", "fonts"}
        self._only(table, known, "")
        data = self._table(table, "data", "")
        jobs = self._table(table, "jobs", "")
        if not jobs:
            raise self._wrong("jobs", 'it has no job: a table [jobs."NAME"] is needed')
        return Project(
            place=self._place,
            title=self._text_of(table, "title", "", default=""),
            source=self._source(data),
            data=data,
            variables=self._table(table, "variables", ""),
            rules=self._rules(self._table(table, "rules", "")) if "rules" in table else None,
            jobs={name: self._job(name, self._table(jobs, name, "jobs")) for name in jobs},
            fonts=self._fonts(table),
        )

    def _source(self, data: dict[str, Any]) -> str:
        source = self._text_of(data, "source", "data", default="")
        if data and not source:
            raise self._wrong("data", "[data] has no source")
        if "://" not in source and source:
            self._file(source, "source", "data")
        return source

    def _rules(self, table: dict[str, Any]) -> Rules:
        self._only(table, {"script", "variables", "locales", "locale", "time_limit", "memory_limit"}, "rules")
        locales = self._texts(table, "locales", "rules") if "locales" in table else ()
        if "locale" in table:
            locales = (self._text_of(table, "locale", "rules"), *locales)
        return Rules(
            script=self._file(self._text_of(table, "script", "rules"), "script", "rules"),
            variables=self._texts(table, "variables", "rules"),
            locales=locales or ("en",),
            time_limit=self._number(table, "time_limit", "rules", 1.0, low=0.001, high=60),
            memory_limit=int(self._number(table, "memory_limit", "rules", 64, low=1, high=1024)),
        )

    def _job(self, name: str, table: dict[str, Any]) -> JobTable:
        where = f"jobs.{name}"
        keys = {"template", "output", "split", "pdf_standard", "tags", "ppi", "max_documents", "on_error", "bookmark"}
        self._only(table, keys, where)
        output = self._one_of(table, "output", where, tuple(OUTPUTS), "pdf")
        standard = self._one_of(table, "pdf_standard", where, ("", *PDF_STANDARDS), "")
        if standard and output != "pdf":
            raise self._wrong("pdf_standard", f'a pdf_standard is for output = "pdf", not {output!r}', where)
        split = self._one_of(table, "split", where, SPLITS, "record")
        if split == "job" and output != "pdf":
            raise self._wrong("split", 'split = "job" is for output = "pdf": a png or svg holds one page', where)
        tags = table.get("tags", True)
        if not isinstance(tags, bool):
            raise self._wrong("tags", "tags is neither true nor false", where)
        return JobTable(
            name=name,
            template=self._file(self._text_of(table, "template", where), "template", where),
            output=output,
            split=split,
            pdf_standard=standard,
            tags=tags,
            ppi=self._number(table, "ppi", where, 144, low=10, high=1200),
            max_documents=int(self._number(table, "max_documents", where, MAX_DOCUMENTS, low=1, high=100_000)),
            on_error=self._one_of(table, "on_error", where, ON_ERROR, "skip"),
            bookmark=self._text_of(table, "bookmark", where, default=""),
        )

    def _fonts(self, table: dict[str, Any]) -> tuple[Path, ...]:
        if "fonts" not in table:
            standard = self._place.folder / "fonts"
            return (standard,) if standard.is_dir() else ()
        return tuple(self._inside(name, "fonts", "") for name in self._texts(table, "fonts", ""))

    # -- values --------

    def _only(self, table: dict[str, Any], known: set[str], where: str) -> None:
        for key in table:
            if key not in known:
                raise self._wrong(
                    key, f"unknown key {key!r}{_in(where)}; the keys are: {', '.join(sorted(known))}", where
                )

    def _table(self, table: dict[str, Any], key: str, where: str) -> dict[str, Any]:
        value = table.get(key, {})
        if not isinstance(value, dict):
            raise self._wrong(key, f"{key}{_in(where)} is not a table", where)
        return value

    def _text_of(self, table: dict[str, Any], key: str, where: str, default: str | None = None) -> str:
        value = table.get(key, default)
        if not isinstance(value, str) or (default is None and not value.strip()):
            raise self._wrong(key, f"{key}{_in(where)} is missing or not a text", where)
        return value

    def _texts(self, table: dict[str, Any], key: str, where: str) -> tuple[str, ...]:
        value = table.get(key)
        if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
            raise self._wrong(key, f"{key}{_in(where)} is missing or not a list of texts", where)
        return tuple(value)

    def _one_of(self, table: dict[str, Any], key: str, where: str, known: tuple[str, ...], default: str) -> str:
        value = table.get(key, default)
        if value not in known:
            raise self._wrong(key, f"{key}{_in(where)} is none of: {', '.join(one for one in known if one)}", where)
        return str(value)

    def _number(self, table: dict[str, Any], key: str, where: str, default: float, *, low: float, high: float) -> float:
        value = table.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise self._wrong(key, f"{key}{_in(where)} is not a number from {low:g} to {high:g}", where)
        return value

    def _file(self, name: str, key: str, where: str) -> Path:
        path = self._inside(name, key, where)
        if not is_file(path):
            raise self._wrong(key, f"there is no file {name!r} in the project", where)
        return path

    def _inside(self, name: str, key: str, where: str) -> Path:
        try:
            return inside(self._place.folder, name)
        except OutsideRoot as error:
            raise self._wrong(key, f"{name!r} lies outside the project", where) from error

    def _wrong(self, key: str, text: str, where: str = "") -> BadProject:
        """An error with the place of the key in its table; else of a table of that name; else of its first one."""
        pattern = re.compile(rf"^\s*(?:\[\s*)?([\"']?{re.escape(key)}\b)")
        found = {
            table: f", line {number}, column {match.start(1) + 1}"
            # From the end, so that the first one of each table stays.
            for number, line, table in reversed(list(self._lines()))
            if (match := pattern.match(line))
        }
        place = found.get(where) or found.get(None) or next(reversed(found.values()), "")
        return BadProject(f"{self._place.file.name}{place}: {text}")

    def _lines(self) -> Iterator[tuple[int, str, str | None]]:
        """Each line with its number and the table that it stands in; a table's own line stands in whichever."""
        table = ""
        for number, line in enumerate(self._text.splitlines(), 1):
            if line.lstrip().startswith("["):
                table = _table_name(line) or table
                yield number, line, None
            else:
                yield number, line, table


def _table_name(line: str) -> str:
    """``[jobs."Job 1"]`` as ``jobs.Job 1``; empty for a line that only looks like it."""
    names = []
    try:
        inner = tomllib.loads(line)
    except tomllib.TOMLDecodeError:
        return ""
    while isinstance(inner, dict) and inner:
        [(name, inner)] = inner.items()
        names.append(name)
    return ".".join(names)


def _in(where: str) -> str:
    return f" in [{where}]" if where else ""
