"""What a factory has taken and not yet brought back, in files: so that its end, however sudden, loses nothing."""

from __future__ import annotations

import filecmp
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from io import FileIO
from pathlib import Path, PurePosixPath
from secrets import token_hex
from typing import Any

from attrs import asdict, frozen

from pfserver.factory.names import safe_name, safe_suffix
from pfserver.host.clock import boot_id

#: What is in the folder of a task: what the server wants, the document, room for a renderer.
TASK, SOURCE, WORK = "job.json", "source", "work"

#: Folders, at most, that are made before there is a task for them.
READY = 2


@frozen(kw_only=True)
class Task:
    """What the server wants to have rendered; names as in ``jobs.poll``."""

    job: str
    application: str = ""
    version: str = ""
    first: int = 1
    last: int = 0
    """0: to the end."""
    format: str = ""
    """"" leaves it to us."""
    filename: str = ""
    doctype: str

    @classmethod
    def of(cls, struct: Mapping[str, Any]) -> Task | None:
        """The task in an answer to ``jobs.poll``, None where there is none. Raises ``ValueError``."""
        job = struct.get("job")
        if not job:
            return None
        filename = str(struct.get("filename") or "")
        doctype = str(struct.get("doctype") or PurePosixPath(filename).suffix[1:]).strip().lower()
        return cls(
            job=str(job),
            application=str(struct.get("application") or ""),
            version=str(struct.get("version") or ""),
            first=max(1, int(struct.get("pageStart") or 1)),
            last=max(0, int(struct.get("pageEnd") or 0)),
            format=str(struct.get("format") or "").strip().lower(),
            filename=filename,
            doctype=doctype,
        )

    @property
    def pages(self) -> str:
        """As LibreOffice's export filters want it; "" for all pages."""
        if self.last:
            return f"{self.first}-{self.last}"
        return f"{self.first}-" if self.first > 1 else ""

    @property
    def safe_name(self) -> str:
        """The document's name without anything that could harm, its suffix being the document's type."""
        stem = safe_name(PurePosixPath(self.filename.replace("\\", "/")).stem)
        return f"{stem or 'document'}.{safe_suffix(self.doctype)}"


class Incoming:
    """A document on its way into a file, in the folder that its task will have; a sink for the reader.

    A disk that does not take it does not end the call: who has read the whole answer knows which job to give back.

    :param folder: made here, if it was not made ready before.
    """

    def __init__(self, folder: Path) -> None:
        self.problem: OSError | None = None
        """Why the document is not here."""
        self._folder = folder
        self._file: FileIO | None = None
        try:
            lay_out(folder)
            # Not truncated, which makes some file systems write at once what is needed for a moment only.
            self._file = FileIO(folder / SOURCE, "ab")
        except OSError as error:
            self.problem = error

    def write(self, data: bytes) -> None:
        """See ``Sink``."""
        if self.problem is not None:
            return
        assert self._file is not None
        left = memoryview(data)
        try:
            # A disk that has room for a part of it takes that part, and says so only here.
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            self.problem = error
            self.discard()

    def close(self) -> None:
        """The document is complete, or will never be."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def keep(self, path: Path, task: Task) -> None:
        """The folder is a task's from now on, and lies there. Raises ``OSError`` where the disk has not taken all."""
        self.close()
        if self.problem is not None:
            raise self.problem
        with (self._folder / TASK).open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(task)))
        self._folder.rename(path)

    def discard(self) -> None:
        """Remove it, unless it was kept."""
        self.close()
        if self._folder.exists():
            shutil.rmtree(self._folder, ignore_errors=True)


class Outgoing:
    """A result as a source for the writer."""

    def __init__(self, path: Path) -> None:
        self._file = FileIO(path)
        self.size = os.fstat(self._file.fileno()).st_size

    def read(self, size: int) -> bytes:
        """See ``Source``."""
        return self._file.read(size)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@frozen
class TaskFolder:
    """A task's own folder: the document, then the result beside it. A job that comes again gets another one."""

    path: Path
    task: Task

    @property
    def source(self) -> Path:
        """The document as it came."""
        return self.path / SOURCE

    @property
    def work(self) -> Path:
        """Where a renderer may do what it wants; empty when it begins."""
        return self.path / WORK

    def result(self) -> tuple[Path, str] | None:
        """The finished result and its format, None where it is not finished."""
        found = next(iter(self.path.glob("result.*")), None)
        # An empty one is what a power cut has left of it.
        return None if found is None or not found.stat().st_size else (found, found.suffix[1:])

    def begin(self) -> None:
        """Make an empty work folder."""
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(mode=0o700)

    def keep(self, made: Path, output_format: str) -> Path:
        """What a renderer has made is the result; what else it has left goes with the task."""
        return made.rename(self.path / f"result.{output_format}")

    def same_as(self, other: TaskFolder) -> bool:
        """Whether the other one asks for the same. Raises ``OSError`` where one of them is gone."""
        return self.task == other.task and filecmp.cmp(self.source, other.source, shallow=False)

    def remove(self) -> None:
        """The task is over. It is no task any more before its files go."""
        gone = self.path.with_name(f"gone-{token_hex(8)}")
        try:
            self.path.rename(gone)
        except OSError:
            # It is gone; or its disk is, and nothing can be done about that here.
            return
        shutil.rmtree(gone, ignore_errors=True)


def lay_out(folder: Path) -> None:
    """Make the folder of a task, with nothing in its files yet; one that is complete is left as it is."""
    work = folder / WORK
    if work.exists():
        return
    folder.mkdir(mode=0o700, exist_ok=True)
    for name in (TASK, SOURCE):
        (folder / name).touch()
    work.mkdir(mode=0o700)


class Tasks:
    """All tasks of one factory at one server. All methods block on the disk.

    :param folder: nobody else writes there.
    :param origin: the server's address and the factory's name: another server's tasks are left alone.
    """

    def __init__(self, folder: Path, origin: str) -> None:
        self._folder = folder / hashlib.sha256(origin.encode("utf-8")).hexdigest()[:16]
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (self._folder / "origin").write_text(f"{origin}\n", encoding="utf-8")
        self._forget_what_is_unsafe()
        self._ready: list[Path] = []

    def _forget_what_is_unsafe(self) -> None:
        """Results are not brought to the disk: after another start of the machine they are to be made again."""
        now, mark = boot_id(), self._folder / "boot"
        before = mark.read_text(encoding="ascii", errors="replace") if mark.exists() else ""
        if now and now == before:
            return
        for result in self._folder.glob("job-*/result.*"):
            result.unlink()
        mark.write_text(now, encoding="ascii")

    def prepare(self) -> None:
        """Make the folder of a task to come.

        Where many files were removed lately a file system may take longer to make a file than to fill it.
        """
        if len(self._ready) < READY:
            folder = self._new("incoming")
            try:
                lay_out(folder)
            except OSError:
                # Who needs one makes it, and says what is wrong.
                shutil.rmtree(folder, ignore_errors=True)
            else:
                self._ready.append(folder)

    def incoming(self) -> Incoming:
        """Where a document goes that comes in."""
        return Incoming(self._ready.pop() if self._ready else self._new("incoming"))

    def add(self, task: Task, document: Incoming) -> TaskFolder:
        """Keep a task, beside what may be kept of the same job. Raises ``OSError`` where the disk does not take it."""
        path = self._new("job")
        document.keep(path, task)
        return TaskFolder(path, task)

    def _new(self, kind: str) -> Path:
        return self._folder / f"{kind}-{token_hex(8)}"

    def left_over(self) -> list[TaskFolder]:
        """Tasks of an earlier life; what was never complete is removed."""
        found = []
        for path in sorted(self._folder.iterdir()):
            if path.name.startswith(("incoming-", "gone-")):
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)
            elif path.name.startswith("job-"):
                try:
                    task = Task(**json.loads((path / TASK).read_text(encoding="utf-8")))
                except (ValueError, TypeError, OSError):
                    # Cut off with the power: the server gives the job to somebody when its lock runs out.
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    found.append(TaskFolder(path, task))
        return found
