"""The file with the batch that is open in it: for the reactor's thread, and whatever fails, reads see what they saw."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lmdb
from twisted.logger import Logger

from pfserver.errors import StoreUnavailable
from pfserver.interfaces import IGlobalsUpdate
from pfserver.store.globals.batch import Batch
from pfserver.store.globals.file import GlobalsFile, unavailable
from pfserver.store.globals.journal import Updates
from pfserver.store.globals.nodes import KEY_LIMIT
from pfserver.store.globals.view import Snapshot, View


class Current:
    """What globals are at this moment.

    :param taken_back: called when what was committed is in the batch again, since the file has gone back to its base.
    """

    log = Logger()

    def __init__(self, file: GlobalsFile, taken_back: Callable[[], None]) -> None:
        self._file = file
        self._taken_back = taken_back
        self._snapshot = Snapshot(file)
        self.batch: Batch | None = None
        """What functions run in; None where none is begun."""
        self.written = 0
        """So many of the batch's updates need not go into the journal any more."""
        self.is_lent = False
        """A thread has the file to itself: only reads are possible; see :meth:`has_back`."""
        self.is_suspect = False
        """Nobody knows what of the file is on disk: :meth:`recover` and reopen it."""
        self.is_open = False
        # What was committed last, until it has settled, and the number that its base will have.
        self._unsettled: Updates = []
        self._unsettled_base = 0

    def open(self) -> None:
        """Open the file; blocks. Raises ``StoreUnavailable``."""
        self._file.open()
        self.is_open = True

    def close(self) -> None:
        """Close the file; of what is not committed the next start finds what is in the journal. Raises ``OSError``."""
        self.is_open = False
        self._end_transactions()
        self._file.close(clean=not (self.has_updates or self.is_suspect))

    # -- reading --------

    def view(self) -> View:
        """What is in the batch, too; good until something is updated. Raises ``StoreUnavailable``."""
        batch = self.batch
        if batch is not None and (view := batch.view) is not None:
            return view
        try:
            return self._snapshot.view() if batch is None else self._mended_view()
        except lmdb.Error as error:
            return self._mended_view(error)

    def get(self, key: bytes) -> bytes | None:
        """The value of a node; None where it has none. Raises ``StoreUnavailable``."""
        batch = self.batch
        if batch is not None and (view := batch.view) is not None and len(key) < KEY_LIMIT:
            get = view.get_short
            value: bytes | None = get(key)
            return value
        return self.view().get(key)

    def _mended_view(self, error: lmdb.Error | None = None) -> View:
        """A view where there was none, if the file can be made usable again. Raises ``StoreUnavailable``."""
        if self.is_open and not self.is_lent:
            self.recover()
            try:
                if self.batch is None:
                    return self._snapshot.view()
                if self.batch.view is not None:
                    return self.batch.view
            except lmdb.Error as again:
                error = again
        raise unavailable(error, "read") from error

    # -- updating --------

    @property
    def has_updates(self) -> bool:
        """Whether something is in the batch."""
        return self.batch is not None and self.batch.size > 0

    @property
    def is_written(self) -> bool:
        """Whether all that is in the batch is in the journal."""
        return self.batch is None or self.batch.size == self.written

    @property
    def unwritten(self) -> Updates:
        """What of the batch is not in the journal; there is a batch."""
        assert self.batch is not None
        return self.batch.updates[self.written :]

    def run(self, function: Callable[[IGlobalsUpdate], Any], allowance: int) -> Any:
        """Run a function in the batch; gives its result.

        Raises what it raises, ``TooMuch``, ``lmdb.Error`` and ``StoreUnavailable``; then nothing of it is kept.
        """
        while True:
            try:
                batch = self.batch or self._begin()
                if not batch.is_open:
                    batch.again()
                return batch.run(function, allowance)
            except lmdb.MapFullError:
                self.grow()

    def _begin(self) -> Batch:
        if self._file.is_tight():
            try:
                self.grow()
            except StoreUnavailable as error:
                # There is room for more updates all the same.
                self.log.warn("globals.map-not-grown: {reason}", reason=error, bytes=self._file.map_size)
        batch = Batch(self._file)
        batch.again()
        self.batch, self.written = batch, 0
        return batch

    def undo(self) -> None:
        """Keep nothing of what is not written."""
        if self.batch is not None:
            try:
                self.batch.undo(self.written)
            except lmdb.Error:
                self.recover()

    def grow(self) -> None:
        """Make the map larger; the batch has to begin again. Raises ``StoreUnavailable``."""
        self._end_transactions()
        try:
            self._file.grow()
        except StoreUnavailable:
            self.recover()
            raise
        self.log.info("globals.map-grown", bytes=self._file.map_size)

    # -- committing --------

    def commit(self) -> bool:
        """Commit the batch; whether that is done. Where it fails, all stays in it."""
        batch = self.batch
        if batch is not None and batch.size:
            try:
                self._finish(batch)
            except (lmdb.Error, StoreUnavailable) as error:
                self.log.error("globals.not-written: {reason}", reason=unavailable(error))
                self.recover()
                return False
            self._unsettled, self._unsettled_base = batch.updates, self._file.next_base_number
        elif batch is not None:
            batch.abort()
        self.batch = None
        self._snapshot.drop()
        return True

    def _finish(self, batch: Batch) -> None:
        while True:
            try:
                if not batch.is_open:
                    batch.again()
                batch.commit()
                return
            except lmdb.MapFullError:
                self.grow()

    @property
    def is_unsettled(self) -> bool:
        """Whether what was committed last may not be on disk."""
        return bool(self._unsettled)

    def settled(self) -> None:
        """What was committed is on disk; unless it was taken back meanwhile, then nobody knows."""
        if self._was_taken_back():
            self.is_suspect = True
        else:
            self._unsettled = []

    def has_back(self) -> None:
        """A thread is done with the file, and all that is committed is on disk."""
        self.is_lent = False
        self._unsettled = []
        self._snapshot.drop()

    # -- after failures --------

    def recover(self, *, reopen: bool = False) -> None:
        """Make the file usable, so that reads see what they saw.

        :param reopen: also where it seems to be: nobody knows what of it is on disk.
        """
        self._end_transactions()
        try:
            if self._file.mend(reopen=reopen):
                self.is_suspect = False
                self._keep_unsettled()
        except StoreUnavailable:
            self.log.failure("globals.not-recovered")
        # Even where the disk fails the file may be usable.
        if self.batch is not None:
            try:
                self.batch.again()
            except lmdb.Error as error:
                self.log.error("globals.not-recovered: {reason}", reason=unavailable(error))

    def _keep_unsettled(self) -> None:
        """The file is as it was at its last base: what was committed after that goes into the batch once more."""
        if self._was_taken_back():
            if self.batch is None:
                self.batch, self.written = Batch(self._file), 0
            self.batch.updates[:0] = self._unsettled
            self.written += len(self._unsettled)
            self._taken_back()
        self._unsettled = []

    def _was_taken_back(self) -> bool:
        return self.is_unsettled and self._file.base_number < self._unsettled_base

    def _end_transactions(self) -> None:
        self._snapshot.drop()
        if self.batch is not None:
            self.batch.abort()
