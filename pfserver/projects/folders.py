"""Projects on disk: a project file beside its resources, or a zip of the same, unpacked where nothing can leave it.

Resources lie in the folder that is named as the project file (``Letters.pf`` and ``Letters/``), or where there is none,
in the project file's own folder. With the first, projects can share a folder and do not see one another.
"""

from __future__ import annotations

import hashlib
import lzma
import shutil
import uuid
import zipfile
import zlib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path, PurePosixPath
from threading import Lock
from time import monotonic

from attrs import frozen

from pfserver.errors import BadProject, NoSuchProject, unwritten
from pfserver.projects.paths import has_links_out, inside, is_file

#: The most that a zipped project may hold, unpacked, in bytes.
UNPACKED_BYTES = 1 << 30

#: The most files in a zipped project.
ENTRIES = 10_000

#: Unpacked bytes a packed byte: what real projects reach is below 50, what a zip bomb needs is far above.
RATIO = 200

#: Unpacked projects that are kept for the next job, and the seconds that a job has from finding one to using it.
KEPT, FRESH = 50, 3600.0

_COPY = 1 << 20

#: All that unpacking a zip of bad will can raise.
_DAMAGE = (
    *(zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, lzma.LZMAError),
    *(NotImplementedError, RuntimeError, EOFError, ValueError),
)


@frozen
class ProjectFolder:
    """Where a project's file is, and the folder that nothing of it may leave."""

    file: Path
    folder: Path


class ProjectFolders:
    """Finds projects below a root.

    :param root: the folder of all projects.
    :param cache: where zipped projects are unpacked.
    :param drives: see :func:`pfserver.projects.paths.inside`.
    :param in_use: gives files and folders of unpacked projects that jobs use just now.
    """

    def __init__(
        self,
        root: Path,
        cache: Path,
        drives: Mapping[str, str] | None = None,
        *,
        in_use: Callable[[], Collection[Path]] = tuple,
        seconds: Callable[[], float] = monotonic,
    ) -> None:
        self._root = root
        self._cache = cache
        self._drives = drives or {}
        self._in_use = in_use
        self._seconds = seconds
        # When each unpacked project was found last, the latest at the end. Threads come here at once.
        self._found: dict[Path, float] = {}
        self._lock = Lock()

    def find(self, name: str) -> ProjectFolder:
        """The project of that name.

        Raises ``OutsideRoot``, ``NoSuchProject``, ``BadProject``; ``OutputUnavailable`` where a zip finds no room.
        """
        path = inside(self._root, name, self._drives)
        if not is_file(path):
            raise NoSuchProject(f"there is no project {name!r}")
        if zipfile.is_zipfile(path):
            return self._unpacked(path, name)
        place = _place(path)
        if not place.folder.is_relative_to(self._root.resolve()) or has_links_out(place.folder):
            raise BadProject(f"{name}: the project's folder has too many files, or a link that leads out of it")
        return place

    def data_file(self, name: str) -> Path:
        """A data source below the projects root. Raises ``OutsideRoot``, ``NoSuchProject``."""
        path = inside(self._root, name, self._drives)
        if not is_file(path):
            raise NoSuchProject(f"there is no data source {name!r}")
        return path

    def _unpacked(self, path: Path, name: str) -> ProjectFolder:
        status = path.stat()
        identity = f"{path}\0{status.st_mtime_ns}\0{status.st_size}\0{status.st_ino}".encode()
        folder = self._cache / hashlib.sha256(identity).hexdigest()[:32]
        with self._lock:
            self._found.pop(folder, None)
            self._found[folder] = self._seconds()
        if not folder.is_dir():
            self._prune()
            # Two packets may name the same new zip at once: each has a draft of its own, and the first one stays.
            draft = self._cache / f".{uuid.uuid4().hex}"
            try:
                draft.mkdir(parents=True)
                unpack(path, draft)
                draft.rename(folder)
            except BadProject as error:
                raise BadProject(f"{name}: {error}") from error
            except OSError as error:
                if not folder.is_dir():
                    full = unwritten(error, f"{name} could not be unpacked")
                    if full is not error:
                        raise full from error
                    raise BadProject(f"{name}: cannot be unpacked: {error.strerror}") from error
            finally:
                shutil.rmtree(draft, ignore_errors=True)
        projects = sorted(folder.glob("*.pf")) or sorted(folder.glob("*/*.pf"))
        if len(projects) != 1:
            raise BadProject(f"{name}: a zipped project holds exactly one .pf file, this one holds {len(projects)}")
        return _place(projects[0])

    def _prune(self) -> None:
        """Remove what was not asked for since long, beyond a number that is kept."""
        with self._lock:
            old = list(self._found)[:-KEPT]
            if not old:
                return
            used = {self._cache / path.relative_to(self._cache).parts[0] for path in self._in_use()}
            for folder in old:
                if self._seconds() - self._found[folder] > FRESH and folder not in used:
                    del self._found[folder]
                    shutil.rmtree(folder, ignore_errors=True)


def _place(file: Path) -> ProjectFolder:
    folder = file.with_suffix("")
    # All other paths of the project are real ones: the folder may be a link to another one below the root.
    return ProjectFolder(file, (folder if folder != file and folder.is_dir() else file.parent).resolve())


def unpack(path: Path, folder: Path) -> None:
    """Unpack a zip into an empty folder. Raises ``BadProject`` for one that is hostile or broken."""
    try:
        with zipfile.ZipFile(path) as archive:
            _check(archive.infolist(), path.stat().st_size)
            left = UNPACKED_BYTES
            for entry in archive.infolist():
                left -= _unpack_entry(archive, entry, folder, left)
    except _DAMAGE as error:
        raise BadProject("the zip is damaged, encrypted or of an unknown kind") from error


def _check(entries: list[zipfile.ZipInfo], packed: int) -> None:
    if len(entries) > ENTRIES:
        raise BadProject(f"the zip has more than {ENTRIES} files")
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > UNPACKED_BYTES or unpacked > RATIO * max(packed, 4096):
        raise BadProject("the zip unpacks to more than it may")


def _unpack_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path, left: int) -> int:
    name = entry.filename.replace("\\", "/")
    if not name:
        raise BadProject("the zip holds a file without a name")
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts or "\0" in name or ":" in name or (entry.external_attr >> 28) == 0xA:
        raise BadProject(f"the zip holds {entry.filename!r}, which leads out of it")
    target = folder.joinpath(*parts)
    if entry.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        return 0
    target.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with archive.open(entry) as source, target.open("wb") as sink:
        # What the directory says about sizes may be a lie.
        while data := source.read(_COPY):
            written += len(data)
            if written > left:
                raise BadProject("the zip unpacks to more than it may")
            sink.write(data)
    return written
