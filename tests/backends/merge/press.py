"""A real server with projects of a test's own, one for all tests of a class, spoken to over its socket."""

from __future__ import annotations

import atexit
import json
import re
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar
from xml.sax.saxutils import escape

from attrs import frozen
from twisted.trial.unittest import TestCase

from tests.frontends.pageflex.support import packet
from tests.support.process import ROOT, ServerProcess

EXAMPLES = ROOT / "examples" / "projects"

TEMPLATE = "#let template(r, job) = { set page(width: 6cm, height: 4cm, margin: 5mm); [#r.name] }"


@frozen
class Told:
    """What a monitor was told, and what lies in the output."""

    text: str
    lines: list[str]
    transaction: str
    folder: Path

    @property
    def outcome(self) -> int:
        """The completion number."""
        [found] = re.findall(r"^J00000(2[0-3]): ", self.text, re.MULTILINE)
        return int(found)

    @property
    def ledger(self) -> dict[str, Any]:
        """The job.json."""
        found: dict[str, Any] = json.loads((self.folder / "job.json").read_text(encoding="utf-8"))
        return found

    def files(self) -> list[str]:
        """The output's names."""
        return sorted(path.name for path in self.folder.iterdir()) if self.folder.exists() else []


class PressCase(TestCase):
    """The tests of a class share a server: it stops when those of another begin, and at the end of all."""

    config: ClassVar[str] = 'executor = "processes:2"\n[backends.merge]\nchunk = 10\n'
    server: ClassVar[ServerProcess]
    place: ClassVar[Path]
    timeout = 300

    def setUp(self) -> None:
        _Running.use(type(self))

    def project(self, name: str, text: str, **files: str | bytes) -> Path:
        """Write a project; its own folder is named as it is. ``__`` in a file's name is its dot."""
        folder = self.place / "projects" / name
        folder.mkdir(exist_ok=True)
        (self.place / "projects" / f"{name}.pf").write_text(text, encoding="utf-8")
        for key, content in {"t__typ": TEMPLATE, **files}.items():
            (folder / key.replace("__", ".")).write_bytes(content.encode() if isinstance(content, str) else content)
        return folder

    def zipped(self, name: str, entries: Mapping[str, str | bytes]) -> None:
        with zipfile.ZipFile(self.place / "projects" / f"{name}.pf", "w", zipfile.ZIP_DEFLATED) as archive:
            for entry, content in entries.items():
                archive.writestr(entry, content)

    def reply(self, project: str, job: str = "A", document: Mapping[str, str] = {}, **variables: str) -> str:
        """All that a submission is answered with."""
        shown = {name: escape(value) for name, value in variables.items()}
        data = packet(
            "SubmitJob",
            {name: escape(value) for name, value in document.items()},
            ProjectName=escape(project),
            JobName=escape(job),
            _sys_ClientJobMonitor="true",
            **shown,
        )
        return self.server.talk(data).decode("cp1252")

    def submit(self, project: str, job: str = "A", document: Mapping[str, str] = {}, **variables: str) -> Told:
        """Have a job produced; nothing of the server's own may be told."""
        text = self.reply(project, job, document, **variables)
        match = re.match(r"R0000000: (T\d+)\r\n", text)
        assert match, text
        assert text.endswith(f"J0000001: Transaction {match[1]} ended\r\n"), text
        for hidden in (str(self.place), "Traceback", "site-packages"):
            assert hidden not in text, text
        return Told(text, text.split("\r\n"), match[1], self.server.state / "output" / match[1])

    def refused(self, number: int, *how: Any, **variables: str) -> str:
        """The submission is answered with this number and nothing else; gives the text."""
        text = self.reply(*how, **variables)
        self.assertRegex(text, rf"\AR{number:07d}: [^\r\n]+\r\n\Z")
        self.assertNotIn(str(self.place), text)
        return text


class _Running:
    """The one server that runs; trial knows nothing that happens once for a class."""

    owner: ClassVar[type[PressCase] | None] = None

    @classmethod
    def use(cls, owner: type[PressCase]) -> None:
        if cls.owner is owner:
            return
        cls.stop()
        owner.place = Path(tempfile.mkdtemp(prefix="pfserver-press-"))
        shutil.copytree(EXAMPLES, owner.place / "projects")
        owner.server = ServerProcess(owner.place, config=owner.config)
        cls.owner = owner
        owner.server.wait()

    @classmethod
    def stop(cls) -> None:
        owner, cls.owner = cls.owner, None
        if owner is not None:
            owner.server.close()
            shutil.rmtree(owner.place)


atexit.register(_Running.stop)
