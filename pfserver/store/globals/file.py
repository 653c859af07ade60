"""The LMDB file: opened without LMDB's own locks, with a map that grows.

One process has the file (its state folder is locked), one transaction at a time updates it, and only the reactor's
thread reads, in views that end before the transaction after the next is begun. LMDB uses no page again that one of the
last two commits needs, so under these rules it needs no locks.

Nor does a commit wait for the disk: :meth:`GlobalsFile.settle` does that afterwards, in a thread. What makes it safe is
the :mod:`.journal`: before anything is committed that could touch what a base has, there is a newer base.
"""

from __future__ import annotations

import os
from contextlib import closing, suppress
from pathlib import Path
from threading import Lock
from typing import Any

import lmdb

from pfserver.errors import StoreUnavailable
from pfserver.host.disk import sync
from pfserver.store.globals.journal import Base, Journal, write_all
from pfserver.store.globals.nodes import Nodes

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
        # The file, for what LMDB does not do itself; no number where it is closed.
        self._descriptor = -1
        self._journal = Journal(folder)
        # What threads do, one beside the other: they flush the file, and they write a journal. Closing waits for both.
        self._settling, self._writing = Lock(), Lock()
        # Something is committed that is not known to be on disk: the transaction's number, and the metas' length.
        self._is_unsettled = False
        self._last_transaction = self._metas_bytes = 0

    @property
    def _path(self) -> Path:
        return self._folder / "data.mdb"

    def open(self) -> None:
        """Open it as it was, with all that the journal has. Blocks. Raises ``StoreUnavailable``."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not self._restore():
                # There is no base to go back to: a file that is made, or was not finished, is made safe by LMDB itself.
                self._open(sync=True)
                self._close_file()
            self._open(sync=False)
            self._map_size = self._environment.info()["map_size"]
            self._tight = self._map_size // 2
            self._repeat()
            self._journal.open()
            sync(self._folder)
            sync(self._folder.parent)
            self._note_commit()
            self._settle()
        except StoreUnavailable:
            self._close()
            raise
        except (OSError, lmdb.Error) as error:
            self._close()
            raise StoreUnavailable(f"the globals cannot be opened: {_reason(error)}") from error

    def _open(self, *, sync: bool) -> None:
        self._environment = lmdb.open(
            str(self._folder), map_size=self._map_size, max_dbs=2, lock=False, readahead=False, mode=0o600, sync=sync
        )
        self._nodes = self._environment.open_db(b"nodes")
        self.rests = self._environment.open_db(b"rests")
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)

    def _close_file(self) -> None:
        if self._environment is not None:
            self._environment.close()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _restore(self) -> bool:
        """Have the file as it was at the last base, if there is one. Raises ``OSError`` and ``StoreUnavailable``."""
        base = self._journal.read_base()
        if base is None:
            return False
        # None where not even that can be read, which a crash may have done.
        last = _last_transaction(self._folder)
        if not self._path.exists() or (last is not None and not base.transaction <= last <= base.transaction + 1):
            raise StoreUnavailable(
                f"the globals cannot be opened: journal and file in {self._folder} do not belong together"
            )
        self._put_back(base)
        return True

    def _put_back(self, base: Base) -> None:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        try:
            write_all(descriptor, base.metas, 0)
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)

    def _repeat(self) -> None:
        """Do again what the journal has; nothing of it is lost where this does not come to its end."""
        while True:
            transaction = self.update()
            try:
                nodes = Nodes(transaction, self.rests)
                for updates in self._journal.records():
                    nodes.apply(updates)
                transaction.commit()
                return
            except lmdb.MapFullError:
                transaction.abort()
                self.grow()

    def close(self, *, clean: bool = False) -> None:
        """Close it; no transaction may be open.

        :param clean: everything is committed and settled: the journal is needed no more. Raises ``OSError``.
        """
        self._close()
        if clean and not self._is_unsettled and self._journal.is_at_base:
            self._journal.remove()

    def _close(self) -> None:
        with self._settling, self._writing:
            self._close_file()
            self._journal.close()

    def mend(self, *, reopen: bool = False) -> bool:
        """Open it again where LMDB begins no transaction any more; none may be open. Raises ``StoreUnavailable``.

        LMDB gives up for good where it could not write the page that says what is committed, or lost its map.
        Gives whether it was opened again: then it is as it was at the last base, and what was committed or written into
        the journal after that has to be done again.

        :param reopen: in any case, since nobody knows what of it is on disk; but not before the disk works again.
        """
        try:
            self._environment.begin().abort()
        except lmdb.Error:
            pass
        else:
            if not reopen:
                return False
            try:
                self._flush()
            except OSError as error:
                raise unavailable(error) from error
        with self._settling, self._writing:
            self._reopen()
        return True

    def _reopen(self) -> None:
        self._close_file()
        try:
            self._put_back(self._journal.take_back())
            self._open(sync=False)
            self._is_unsettled = False
        except (OSError, lmdb.Error) as error:
            self._close_file()
            raise StoreUnavailable(f"the globals cannot be opened: {_reason(error)}") from error

    # -- commits --------

    def commit(self, transaction: Any) -> None:
        """Commit an update; the last commit has settled, or is taken back. Raises ``lmdb.Error``.

        After :meth:`mend` the journal goes on as it was: it has what was committed before, too, which is in this commit
        once more.
        """
        transaction.commit()
        self._note_commit()
        if self._journal.is_at_base:
            self._journal.turn()

    def _note_commit(self) -> None:
        """For what settles, since a thread must not ask LMDB meanwhile."""
        self._last_transaction = self._environment.info()["last_txnid"]
        self._metas_bytes = 2 * self._environment.stat()["psize"]
        self._is_unsettled = True

    def settle(self) -> None:
        """Have on disk what is committed; blocks. Raises ``OSError``: then :meth:`mend` it."""
        with self._settling:
            # Where the file was opened again meanwhile, what was committed is to be committed again.
            if self._is_unsettled:
                self._settle()

    def _flush(self) -> None:
        # LMDB's own function would have transactions wait that end meanwhile.
        os.fdatasync(self._descriptor)

    def _settle(self) -> None:
        self._flush()
        metas = os.pread(self._descriptor, self._metas_bytes, 0)
        with self._writing:
            self._journal.settle(self._last_transaction, metas)
        self._is_unsettled = False

    def write(self, record: bytes) -> None:
        """Have a record in the journal, on disk; blocks. Raises ``OSError``: then it is not there."""
        with self._writing:
            self._journal.write(record)

    @property
    def next_base_number(self) -> int:
        """The number of the base that what was committed last has, or will have."""
        return self._journal.number

    @property
    def base_number(self) -> int:
        """The number of the last base."""
        return self._journal.base_number

    @property
    def journal_size(self) -> int:
        """Bytes in the journal since the last commit."""
        return self._journal.size

    # -- transactions --------

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

        Raises ``StoreUnavailable`` where the address space has no room for that. LMDB may have given up the map that
        it had: :meth:`mend` it, and it goes on as large as it was.
        """
        used = 0
        try:
            used = self._used()
            self._environment.set_mapsize(self._map_size * 2)
        except lmdb.Error as error:
            self._tight = (used + self._map_size) // 2
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


def unavailable(error: BaseException | None, what: str = "written") -> StoreUnavailable:
    """What callers are told of an error of LMDB's: no path, no version."""
    if isinstance(error, StoreUnavailable):
        return error
    return StoreUnavailable(f"globals cannot be {what}: {_reason(error)}")


def _reason(error: BaseException | None) -> str:
    if isinstance(error, OSError):
        return error.strerror or "input/output error"
    # "mdb_txn_commit: No space left on device": what follows the function is for people.
    return str(error).rpartition(": ")[2] or "LMDB failed"


def _last_transaction(folder: Path) -> int | None:
    """The number of the last transaction in a file that may be as a crash has left it; None where it cannot be read."""
    with suppress(lmdb.Error), closing(lmdb.open(str(folder), lock=False, readonly=True, create=False)) as environment:
        number: int = environment.info()["last_txnid"]
        return number
    return None
