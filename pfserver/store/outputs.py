"""Where finished output lies: one folder a job, complete or not there at all.

A backend fills a staging folder beside the final one; it is renamed into place when the job is done, so that a repeat
replaces and never mixes, and nobody ever sees half an output.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from zlib import crc32

from twisted.logger import Logger
from zope.interface import implementer

from pfserver.errors import JobFailed, OutputUnavailable, OutsideRoot
from pfserver.host.disk import sync
from pfserver.interfaces import IOutputs
from pfserver.model import Job
from pfserver.numbers import Number

#: The longest path of a folder that a submitter may name, in bytes, and of one of its parts: the job's own come behind.
PATH_BYTES, NAME_BYTES = 2048, 255

#: What is in the way of a folder for good: waiting for room on the disk does not help.
_FOR_GOOD = (errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL)

#: Names that jobs' own folders have, and parts of a Windows path, which would be a folder's name here.
_NOT_A_NAME = re.compile(r"\..*|T[0-9]{7,}|.*:")

#: With more files than this, one flush of everything is quicker than one for each.
SYNCED_ONE_BY_ONE = 64


@implementer(IOutputs)
class Outputs:
    """Output folders under a default root, or under others that the configuration allows.

    :param default: where output goes when the submitter says nothing.
    :param roots: folders under which a submitter may name another (Pageflex: _sys_FinalOutputDir).
    """

    log = Logger()

    def __init__(self, default: Path, roots: Sequence[Path] = ()) -> None:
        self._default = default
        self._roots = tuple(root.resolve() for root in (default, *roots))

    def resolve(self, name: str) -> Path:
        """See ``IOutputs``. Relative names lie under the default root."""
        if not name:
            return self._default
        if "\0" in name or len(name.encode(errors="replace")) > PATH_BYTES:
            raise OutsideRoot("the final output folder's name cannot be used")
        folder = Path(os.path.realpath(self._default / name.replace("\\", "/")))
        root = next((root for root in self._roots if folder.is_relative_to(root)), None)
        if root is None:
            raise OutsideRoot("the final output folder lies outside the folders that this server may write to")
        for part in folder.relative_to(root).parts:
            if len(part.encode(errors="replace")) > NAME_BYTES or _NOT_A_NAME.fullmatch(part):
                raise OutsideRoot(f"the final output folder cannot be named {part[:40]!r}")
        if any(os.path.lexists(one) and not one.is_dir() for one in (folder, *folder.parents)):
            raise OutsideRoot("the final output folder is below a file")
        return folder

    def folder(self, job: Job) -> Path:
        """See ``IOutputs``."""
        parent = Path(job.request.output_folder) if job.request.output_folder else self._default
        return parent / job.transaction_id

    def begin(self, job: Job) -> Path:
        """See ``IOutputs``."""
        staging = self._staging(job)
        try:
            shutil.rmtree(staging, ignore_errors=True)
            staging.mkdir(parents=True)
        except OSError as error:
            if error.errno in _FOR_GOOD:
                raise JobFailed(Number.OUTPUT_BROKEN, str(_unavailable(error))) from error
            raise _unavailable(error) from error
        return staging

    def publish(self, job: Job) -> None:
        """See ``IOutputs``."""
        staging, final, old = self._staging(job), self.folder(job), self._replaced(job)
        try:
            _sync_files(staging)
            shutil.rmtree(old, ignore_errors=True)
            if final.exists():
                final.rename(old)
            staging.rename(final)
            sync(final.parent)
        except OSError as error:
            raise _unavailable(error) from error
        shutil.rmtree(old, ignore_errors=True)

    def discard(self, job: Job) -> None:
        """See ``IOutputs``."""
        shutil.rmtree(self._staging(job), ignore_errors=True)

    def remove(self, job: Job) -> None:
        """See ``IOutputs``."""
        for folder in (self._staging(job), self._replaced(job), self.folder(job)):
            if os.path.lexists(folder):
                try:
                    shutil.rmtree(folder)
                except OSError as error:
                    raise _unavailable(error) from error

    def _staging(self, job: Job) -> Path:
        """Each node has its own: one that is taken for dead may still write, on storage that several of them see."""
        final = self.folder(job)
        return final.with_name(f".{final.name}.{crc32(job.node.encode()):08x}.partial")

    def _replaced(self, job: Job) -> Path:
        final = self.folder(job)
        return final.with_name(f".{final.name}.replaced")


def _unavailable(error: OSError) -> OutputUnavailable:
    return OutputUnavailable(f"the output could not be written: {error.strerror or type(error).__name__}")


def _sync_files(folder: Path) -> None:
    """Flush all files below a folder: a done job's output must survive a power cut as its record does."""
    paths = list(islice(_below(folder), SYNCED_ONE_BY_ONE + 1))
    if len(paths) > SYNCED_ONE_BY_ONE:
        os.sync()
        return
    for path in paths:
        sync(path)


def _below(folder: Path) -> Iterator[Path]:
    """A folder and all in it, however many that are: without a list of them."""
    yield folder
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _below(Path(entry.path))
            else:
                yield Path(entry.path)
