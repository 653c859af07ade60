"""Chunks of records, produced in this process as a worker does it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pfserver.backends.merge import worker
from pfserver.backends.merge.worker import Chunk, Produced, Work
from pfserver.projects.folders import ProjectFolder
from pfserver.projects.project import load
from pfserver.projects.template import Template, make_folder
from pfserver.projects.together import can_be_set_together

JOB = {"id": "T0000001", "name": "A", "project": "a.pf", "title": "", "variables": {}}


class Shop:
    """A project in a folder of its own, and what one of its jobs needs in a worker."""

    def __init__(
        self,
        folder: Path,
        template: str,
        *,
        job: str = "",
        more: str = "",
        files: Mapping[str, str | bytes] = {},
        together: bool | None = None,
    ) -> None:
        folder = folder.resolve()
        self.project = folder / "project"
        self.output = folder / "output"
        links = folder / "links"
        for place in (self.project, self.output, links):
            place.mkdir(parents=True)
        for name, content in {"t.typ": template, **files}.items():
            path = self.project / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        text = f'{more}\n[jobs.A]\ntemplate = "t.typ"\n{job}\n'
        (self.project / "a.pf").write_text(text, encoding="utf-8")
        project = load(ProjectFolder(self.project / "a.pf", self.project))
        table = project.job("A")
        if together is None:
            apart = table.split == "record" and table.output == "pdf"
            together = can_be_set_together(self.project, table.template, apart=apart)
        make_folder(self.project, table.template, links)
        self.work = Work(
            token=str(folder),
            folder=links,
            output=self.output,
            table=table,
            rules=project.rules,
            fonts=project.fonts,
            job=JOB,
            variables=project.variables,
            document_variables={},
            together=together,
        )

    def produce(self, records: Sequence[Mapping[str, Any]], first: int = 1) -> Produced:
        """Produce a chunk."""
        return worker.produce(self.work, Chunk(first=first, records=records))

    def alone(self, record: Mapping[str, Any]) -> bytes:
        """What Typst makes of a record by itself: what we must give, too."""
        table = self.work.table
        template = Template(self.work.folder, self.work.fonts, table.pdf_standard, table.tags)
        return template.set([record], JOB).pdf

    def files(self) -> dict[str, bytes]:
        """The output, by name."""
        return {path.name: path.read_bytes() for path in sorted(self.output.iterdir())}


class ShopCase(SynchronousTestCase):
    """Makes as many as a test wants."""

    def shop(self, template: str, **how: Any) -> Shop:
        return Shop(Path(self.mktemp()), template, **how)
