"""Rendering with a program of the user's: a command line with placeholders."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThreadPool
from zope.interface import implementer

from pfserver.errors import ConfigurationError
from pfserver.factory.errors import NotRendered, RendererBroken
from pfserver.factory.names import safe_name
from pfserver.factory.rendering import IRenderer, expect_document, expect_result, format_of
from pfserver.factory.tasks import TaskFolder

#: Where the result is expected unless it is said.
RESULT = "%source_dir/%source_base.%format"

#: What may be said in a command line, and what stands there in the end.
PLACEHOLDERS: Mapping[str, str] = {
    "source_path": "the document's file, with its folder",
    "source_dir": "its folder; nothing else is in it",
    "source_file": "its name",
    "source_base": "its name without the suffix",
    "source_ext": "the suffix, e.g. odt",
    "jobid": "the job",
    "format": "pdf, png or odf",
    "application": "the application that is asked for",
    "version": "and its version",
    "page_start": "the first page",
    "page_end": "the last page; 0: to the end",
}

_PLACEHOLDER = re.compile(r"%(%|[a-z_]+)")

_SUPERVISOR = str(Path(__file__).with_name("supervisor.py"))

#: Bytes of what a program prints that are looked at.
_TAIL = 4096


@implementer(IRenderer)
class ProgramRenderer:
    """Runs a command line for each document, in a process group and a folder of its own.

    :param command: as in a shell, but no shell is run.
    :param result: where the result lies afterwards.
    :raises ConfigurationError: for a placeholder or a program that does not exist.
    """

    def __init__(self, reactor: Any, command: str, *, result: str = RESULT, jobs: int, timeout: float) -> None:
        self.jobs = jobs
        self._reactor = reactor
        self._timeout = timeout
        self._result = result
        try:
            self._words = shlex.split(command)
        except ValueError as error:
            raise ConfigurationError(f"the command cannot be read: {error}") from error
        if not self._words or shutil.which(self._words[0]) is None:
            raise ConfigurationError(f"there is no program {self._words[0] if self._words else ''!r}")
        for text in (*self._words, result):
            for name in _PLACEHOLDER.findall(text):
                if name != "%" and name not in PLACEHOLDERS:
                    known = ", ".join(f"%{one}" for one in PLACEHOLDERS)
                    raise ConfigurationError(f"%{name} is not one of {known}; a percent sign is %%")

    async def render(self, folder: TaskFolder) -> Path:
        """See ``IRenderer``."""
        output_format = format_of(folder.task)
        values = await self._in_thread(_prepare, folder, output_format)
        words = [_fill(word, values) for word in self._words]
        run = _Run(words, folder.work, self._timeout)
        running = deferToThreadPool(self._reactor, self._reactor.getThreadPool(), run.wait)
        waiting: Deferred[str] = Deferred(lambda _: run.kill())
        running.addBoth(lambda result: None if waiting.called else waiting.callback(result))
        try:
            said = await waiting
        except CancelledError:
            run.kill()
            await running
            raise
        # As the program sees it, which runs there.
        path = folder.work / _fill(self._result, values)
        try:
            self._expect_place(path, folder.work)
            expect_result(path, output_format)
        except NotRendered as error:
            raise NotRendered(f"{error}; the program {said}") from error
        if not path.is_relative_to(folder.work):
            # It may lie on another disk: then this copies it.
            path = Path(await self._in_thread(shutil.move, path, folder.work / f"result.{output_format}"))
        return path

    def _expect_place(self, path: Path, work: Path) -> None:
        """A result is taken away from where it lies: from no other folder than the configured ones.

        Raises ``NotRendered``.
        """
        # What stands before the first placeholder is the user's own word.
        said, slash, _ = _PLACEHOLDER.split(self._result, maxsplit=1)[0].rpartition("/")
        folders = [work, work / (said + slash)] if slash else [work]
        # Links are followed: a program may have been made to leave one. (Path.resolve raises where they go in circles.)
        place = Path(os.path.realpath(path))
        if not any(place.is_relative_to(os.path.realpath(folder)) for folder in folders):
            raise NotRendered("the result lies outside its folder")

    async def stop(self) -> None:
        """See ``IRenderer``: each program ends with its document."""

    async def _in_thread(self, function: Any, *arguments: Any) -> Any:
        return await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), function, *arguments)


class _Run:
    """A program that runs."""

    def __init__(self, words: list[str], folder: Path, timeout: float) -> None:
        self._words = words
        self._folder = folder
        self._timeout = timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._killed = False

    def wait(self) -> str:
        """Run it to its end; gives how that was. Blocks. Raises ``RendererBroken``, ``NotRendered``."""
        with (self._folder.parent / "printed").open("w+b") as printed:
            if shutil.which(self._words[0]) is None:
                raise RendererBroken(f"there is no program {self._words[0]!r} any more")
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-B", _SUPERVISOR, *self._words],
                cwd=self._folder,
                stdin=subprocess.PIPE,
                stdout=printed,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            if self._killed:
                self.kill()
            try:
                code = self._process.wait(self._timeout)
            except subprocess.TimeoutExpired:
                raise NotRendered("the program took longer than it may") from None
            finally:
                self.kill()
                self._process.wait()
                if self._process.stdin is not None:
                    self._process.stdin.close()
            return f"ended with status {code}{_last_line(printed)}"

    def kill(self) -> None:
        """End it, and all that it has started."""
        self._killed = True
        if self._process is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)


def _last_line(printed: BinaryIO) -> str:
    size = printed.seek(0, os.SEEK_END)
    printed.seek(max(0, size - _TAIL))
    lines = printed.read(_TAIL).decode("utf-8", "replace").strip().splitlines()
    return f": {lines[-1].strip()[:200]}" if lines else ""


def _prepare(folder: TaskFolder, output_format: str) -> Mapping[str, str]:
    """Put the document under its own name into the work folder; gives the placeholders' values."""
    task = folder.task
    expect_document(task, folder.source)
    source = folder.work / task.safe_name
    # A copy: the program may write to it, and the document may be needed again.
    shutil.copyfile(folder.source, source)
    return {
        "source_path": str(source),
        "source_dir": str(source.parent),
        "source_file": source.name,
        "source_base": source.stem,
        "source_ext": source.suffix[1:],
        "jobid": _word(task.job),
        "format": output_format,
        "application": _word(task.application),
        "version": _word(task.version),
        "page_start": str(task.first),
        "page_end": str(task.last),
    }


def _word(text: str) -> str:
    """What a server says is a word of a command line, and no option or folder there; only an empty text is empty."""
    return safe_name(text) or (text and "_")


def _fill(text: str, values: Mapping[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda found: "%" if found[1] == "%" else values[found[1]], text)
