"""The LMDB file: opened without LMDB's own locks, with a map that grows.

One process has the file (its state folder is locked), one transaction at a time updates it, and nobody reads but the
thread that begins these transactions, in views that end before the one after the next is begun. LMDB uses no page
again that one of the last two commits needs, so under these rules it needs no locks; and without them a transaction
may be begun in one thread and committed in another, which is how a commit waits for the disk while the reactor goes on.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import lmdb

from pfserver.errors import StoreUnavailable

#: How much of the address space is taken to begin with, in bytes. The file is only as large as what is in it.
MAP_SIZE = 1 << 30


class GlobalsFile:
    """Transactions on the file.

    :param folder: made where it does not exist.
    :param map_size: to begin with, in bytes.
    """

    def __init__(self, folder: Path, map_size: int = MAP_SIZE) -> None:
        self._folder = folder
        self._map_size = map_size
        # So many bytes in use are many; see is_tight.
        self._tight = map_size // 2
        # Closed where it could not be opened again: then LMDB says so at every transaction.
        self._environment: Any = None
        self._nodes: Any = None
        self.rests: Any = None

    def open(self) -> None:
        """Open it. Blocks. Raises ``StoreUnavailable``."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._environment = lmdb.open(
                str(self._folder), map_size=self._map_size, max_dbs=2, lock=False, readahead=False, mode=0o600
            )
            self._nodes = self._environment.open_db(b"nodes")
            self.rests = self._environment.open_db(b"rests")
            _sync(self._folder)
            _sync(self._folder.parent)
        except (OSError, lmdb.Error) as error:
            self.close()
            raise StoreUnavailable(f"the globals cannot be opened: {_reason(error)}") from error
        map_size = self._environment.info()["map_size"]
        if map_size != self._map_size:
            self._map_size, self._tight = map_size, map_size // 2

    def close(self) -> None:
        """Close it; no transaction may be open."""
        if self._environment is not None:
            self._environment.close()

    def mend(self) -> None:
        """Open it again where LMDB begins no transaction any more; none may be open. Raises ``StoreUnavailable``.

        LMDB gives up for good where it could not write the page that says what is committed, or lost its map.
        """
        try:
            self._environment.begin().abort()
        except lmdb.Error:
            self.close()
            self.open()

    def read(self) -> Any:
        """A transaction that reads. Raises ``lmdb.Error``."""
        return self._environment.begin(db=self._nodes)

    def update(self) -> Any:
        """The one transaction that updates. Raises ``lmdb.Error``."""
        return self._environment.begin(db=self._nodes, write=True)

    def is_tight(self) -> bool:
        """Whether half of the map is in use: time to grow, while no transaction is open.

        Once it could not grow, half of what was left then: it is not tried at every commit.
        """
        return self._used() > self._tight

    def grow(self) -> None:
        """Double the map; no transaction may be open, not even one that reads.

        Raises ``StoreUnavailable`` where the address space has no room for that: it goes on as large as it was.
        """
        used = self._used()
        try:
            self._environment.set_mapsize(self._map_size * 2)
        except lmdb.Error as error:
            # LMDB has given up the map that it had.
            self._tight = (used + self._map_size) // 2
            self.mend()
            raise unavailable(error) from error
        self._tight = self._map_size
        self._map_size *= 2

    def _used(self) -> int:
        used: int = self._environment.info()["last_pgno"] * self._environment.stat()["psize"]
        return used

    @property
    def map_size(self) -> int:
        """Of the map, in bytes."""
        return self._map_size


def unavailable(error: Exception, what: str = "written") -> StoreUnavailable:
    """What callers are told of an error of LMDB's: no path, no version."""
    if isinstance(error, StoreUnavailable):
        return error
    return StoreUnavailable(f"globals cannot be {what}: {_reason(error)}")


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or "input/output error"
    # "mdb_txn_commit: No space left on device": what follows the function is for people.
    return str(error).rpartition(": ")[2] or "LMDB failed"


def _sync(folder: Path) -> None:
    """A file that was just made is not safe before its folder is."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
