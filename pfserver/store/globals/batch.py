"""The transaction that the updates of several messages share, with a list of them to undo one or to do all again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lmdb
from twisted.internet.defer import execute
from twisted.python.failure import Failure

from pfserver.interfaces import IGlobalsUpdate
from pfserver.store.globals.file import GlobalsFile
from pfserver.store.globals.journal import Updates
from pfserver.store.globals.view import Update, View


class Batch:
    """One commit to be; not open yet."""

    def __init__(self, file: GlobalsFile) -> None:
        self._file = file
        self.updates: Updates = []
        """All that is in it; only to be changed where :meth:`again` follows."""
        self._transaction: Any = None
        self._update: Update | None = None
        self.view: View | None = None
        """What reads see that look into the batch; another one whenever something had to be undone."""

    @property
    def size(self) -> int:
        """How many updates are in it."""
        return len(self.updates)

    def reaches(self, updates: int, volume: int) -> bool:
        """Whether it has so many updates or more, or so many bytes of keys and values while it is open."""
        update = self._update
        return len(self.updates) >= updates or (update is not None and update.volume >= volume)

    @property
    def is_open(self) -> bool:
        """Whether it can go on; else :meth:`again` is needed."""
        return self._transaction is not None

    def run(self, function: Callable[..., Any], allowance: int | None = None, *arguments: Any) -> Any:
        """Call a function with what updates and its arguments; give its result. Where it raises, nothing of it is kept.

        Raises what it raises, ``TooMuch`` where it takes more than the allowance, and ``lmdb.Error``.
        """
        assert self._update is not None, "the batch is not open"
        mark = len(self.updates)
        self._update.allow(allowance)
        good = False
        try:
            result = function(self._update, *arguments)
            good = True
            return result
        except lmdb.Error:
            # LMDB takes nothing more in a transaction that failed.
            good = True
            self.undo(mark)
            raise
        finally:
            if not good and len(self.updates) > mark:
                self.undo(mark)

    def undo(self, size: int) -> None:
        """Go back to when there were so many updates in it. Raises ``lmdb.Error``."""
        del self.updates[size:]
        self.again()

    def again(self) -> None:
        """Begin again and do all that was done before. Raises ``lmdb.Error``, and then the batch is not open."""
        self.abort()
        self._transaction = self._file.update()
        self.view = View(self._transaction, self._file.rests)
        self._update = Update(self._transaction, self._file.rests, self.updates)
        good = False
        try:
            self._update.repeat(self.updates)
            good = True
        finally:
            if not good:
                self.abort()

    def commit(self) -> None:
        """Commit all of it; it still has to settle. Raises ``lmdb.Error``: then nothing is, and it is not open."""
        transaction = self._transaction
        self._forget()
        self._file.commit(transaction)

    def abort(self) -> None:
        """End the transaction; what was done is remembered."""
        transaction = self._transaction
        self._forget()
        if transaction is not None:
            transaction.abort()

    def _forget(self) -> None:
        self._transaction = None
        self._update = None
        self.view = None


def run_alone(file: GlobalsFile, function: Callable[[IGlobalsUpdate], Any]) -> Any:
    """What a thread does for a function that takes long: a commit of its own, which is on disk then.

    Gives its result, or the ``Failure`` that it raised, and then nothing of it is kept. Raises ``lmdb.Error`` and
    ``OSError``.
    """
    file.settle()
    batch = Batch(file)
    try:
        batch.again()
        outcome = execute(batch.run, function)
        result = outcome.result
        outcome.addErrback(lambda failure: None)
        if isinstance(result, Failure):
            if result.check(lmdb.Error):
                # Whoever is told may have to open the file again, or to make its map larger.
                result.raiseException()
            return result
        batch.commit()
    finally:
        batch.abort()
    file.settle()
    return result
