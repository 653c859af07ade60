"""Templates: records set by Typst, many in one compile, which is what makes it quick.

A template is a Typst file with a function ``template(record, job)`` that gives the content of one document. The
compiler works in a folder of links to the files of the project, beside the driver that calls the template for each
record; nothing outside of that folder can be read.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import typst
from attrs import frozen

from pfserver.projects.rules import to_json

#: The name of the driver in the folder; a project has no file of that name.
DRIVER = "pfserver-driver.typ"

#: Each record is a document of its own: it begins on a new page, and what counts begins again.
_DRIVER_TEXT = """\
#import {template}: template
#let pfserver-job = json(bytes(sys.inputs.job))
#for (pfserver-index, pfserver-record) in json(bytes(sys.inputs.records)).enumerate() {{
  if pfserver-index > 0 {{ pagebreak(weak: true) }}
  counter(page).update(1)
  counter(heading).update(0)
  counter(footnote).update(0)
  counter(math.equation).update(0)
  for kind in (image, table, raw) {{ counter(figure.where(kind: kind)).update(0) }}
  [#metadata(none)<pfserver-record>]
  [#template(pfserver-record, pfserver-job)]
}}
#metadata(none)<pfserver-end>
"""

#: On which page each record begins, and the last page. Asked of the finished document: inside of it, it would be laid
#: out once more for the answer.
_PAGES = "(query(<pfserver-record>) + query(<pfserver-end>)).map(m => m.location().page())"

#: A document of nothing. Typst keeps what it has computed for the next few compiles, which for other records is of
#: little use and of much memory; so many compiles of nothing let it forget (measured: 415 MiB become 90).
NOTHING = "pfserver-nothing.typ"
_FORGET = 10

_PLACE = re.compile(r"┌─ (.+?):(\d+):(\d+)")
_SEARCHED = re.compile(r" \(searched at [^)]*\)")


class TemplateError(Exception):
    """Some record cannot be set; the text names the template's file, line and column."""


class BadValue(TemplateError):
    """A record holds what cannot be given to a template."""


#: What Typst says of a label that each record has: alone, each of them is fine.
_TWICE = "occurs multiple times in the document"


@frozen
class Setting:
    """Records that were set together: one PDF, and the pages on which each begins, from 0, with the end behind."""

    pdf: bytes
    starts: Sequence[int]

    def pages(self, index: int) -> tuple[int, int]:
        """The pages of a record: the first, and the one behind the last."""
        return self.starts[index], self.starts[index + 1]


def make_folder(project: Path, template: Path, folder: Path) -> None:
    """Fill an empty folder with links to a project's files, and the driver. Raises ``OSError``."""
    for entry in project.iterdir():
        if entry.name not in (DRIVER, NOTHING):
            (folder / entry.name).symlink_to(entry.resolve())
    name = json.dumps("/" + template.relative_to(project).as_posix(), ensure_ascii=False)
    (folder / DRIVER).write_text(_DRIVER_TEXT.format(template=name), encoding="utf-8")
    (folder / NOTHING).write_text("", encoding="utf-8")


class Template:
    """A template in its folder; keeps a compiler, and with it what it has read. Belongs to one thread.

    :param together: whether records may be set together, see :mod:`pfserver.projects.together`.
    """

    def __init__(
        self, folder: Path, fonts: Sequence[Path], standard: str, tags: bool, *, together: bool = True
    ) -> None:
        self.together = together
        self._folder = folder
        self._standards = [standard] if standard else []
        self._tags = tags or standard in ("a-1a", "a-2a", "a-3a", "ua-1")
        self._compiler = typst.Compiler(
            input=str(folder / DRIVER),
            root=str(folder),
            font_paths=_fonts(tuple(fonts)),
            package_path=str(folder / "packages"),
            package_cache_path=str(folder / "packages"),
        )
        self._nothing = typst.Compiler(
            input=str(folder / NOTHING), root=str(folder), font_paths=typst.Fonts(include_system_fonts=False)
        )

    def check(self, job: Mapping[str, Any]) -> None:
        """Load the template without a record. Raises ``TemplateError`` for what is wrong with it by itself."""
        # A standard may ask for what only a record brings, such as a title.
        self._compile("pdf", [], job, pdf_standards=[], pdf_tags=False)

    def set(self, records: Sequence[Mapping[str, Any]], job: Mapping[str, Any]) -> Setting:
        """Set records together. Raises ``TemplateError`` where one of them cannot be."""
        pdf = self._compile("pdf", records, job, pdf_standards=self._standards, pdf_tags=self._tags)
        *starts, last = json.loads(self._compiler.eval(_PAGES))
        self.forget()
        return Setting(cast("bytes", pdf), [*(page - 1 for page in starts), last])

    def forget(self) -> None:
        """Let Typst forget what it has computed for the records before."""
        for _ in range(_FORGET):
            self._nothing.compile()

    def pictures(
        self, records: Sequence[Mapping[str, Any]], job: Mapping[str, Any], kind: Literal["png", "svg"], ppi: float
    ) -> list[bytes]:
        """A picture of each page. Raises ``TemplateError``."""
        pictures = self._compile(kind, records, job, ppi=ppi)
        return [pictures] if isinstance(pictures, bytes) else cast("list[bytes]", pictures)

    def _compile(
        self, kind: Literal["pdf", "png", "svg"], records: Sequence[Any], job: Mapping[str, Any], **how: Any
    ) -> Any:
        try:
            inputs = {"records": to_json(records), "job": to_json(job)}
        except ValueError as error:
            raise BadValue(f"a value {error}") from error
        try:
            return self._compiler.compile(format=kind, sys_inputs=inputs, **how)
        except typst.TypstError as error:
            if _TWICE in error.message:
                self.together = False
            raise TemplateError(self._readable(error)) from error
        except RuntimeError as error:
            raise TemplateError(str(error).replace(str(self._folder), "")) from error
        except BaseException as error:
            # Rust's panics are no Exception, so that nobody catches them unawares.
            if type(error).__name__ != "PanicException":
                raise
            raise TemplateError(f"Typst cannot set this: {str(error).splitlines()[0]}") from None

    def _readable(self, error: typst.TypstError) -> str:
        """``letter.typ, line 5, column 3: unknown variable: x (hint)``, with the project's own names only."""
        message = _SEARCHED.sub("", error.message)
        if message.startswith("failed to download package"):
            message = "the package is not in the project's folder packages"
        hints = [hint for hint in error.hints if "--root" not in hint]
        text = message + "".join(f"; {hint}" for hint in hints)
        for file, line, column in _PLACE.findall(error.diagnostic):
            name = self._name(file)
            if name != DRIVER:
                # Typst counts columns from 0 here; editors count from 1.
                return f"{name}, line {line}, column {int(column) + 1}: {text}"
        return text.replace("unresolved import", "the template has no function template(record, job)")

    def _name(self, file: str) -> str:
        parts = Path(file).parts
        if self._folder.name in parts:
            return str(Path(*parts[parts.index(self._folder.name) + 1 :]))
        return parts[-1]


_loaded_fonts: dict[tuple[Path, ...], typst.Fonts] = {}


def _fonts(paths: tuple[Path, ...]) -> typst.Fonts:
    """Fonts of the machine, of Typst and of a project; looking for them takes longer than setting a letter."""
    if paths not in _loaded_fonts:
        if len(_loaded_fonts) > 8:
            _loaded_fonts.clear()
        _loaded_fonts[paths] = typst.Fonts(font_paths=[str(path) for path in paths])
    return _loaded_fonts[paths]


def remove_folder(folder: Path) -> None:
    """Remove a folder of links; what they lead to stays."""
    shutil.rmtree(folder, ignore_errors=True)
