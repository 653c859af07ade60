"""When globals are read, updated and committed.

Functions run in the reactor's thread, one after another, in a batch: they are short, and to hand the interpreter over
between two updates would cost more than the updates. What takes long is left to a thread: the commit, which waits for
the disk, and an update that removes very many nodes or works on long values again and again. While the thread has the
batch, updates wait in a queue and reads see what was committed before; then all that has queued up is the next batch.

With durability ``"interval"`` a batch stays open for a while and reads look into it. It is committed in the reactor's
thread, since from one update to the next nobody may see less than before: the server stands still for one flush.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lmdb
from twisted.internet.defer import Deferred, execute, fail, maybeDeferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from pfserver.errors import ConfigurationError, StoreUnavailable
from pfserver.interfaces import IGlobals, IGlobalsUpdate
from pfserver.store.globals.batch import Batch, finish
from pfserver.store.globals.file import MAP_SIZE, GlobalsFile, unavailable
from pfserver.store.globals.keys import key_below, key_of
from pfserver.store.globals.view import Snapshot, TooMuch, View

#: So many messages go into one commit at most: a bound on how long the first of them waits.
GROUP_LIMIT = 1_000
#: So many updates, and so many bytes of keys and values, are kept open at most, however long the interval is: bounds on
#: memory and on the flush, for which the server stands still.
OPEN_LIMIT, OPEN_BYTES = 50_000, 32 << 20
#: So many nodes may a message remove while the reactor waits, or do what takes as long: some milliseconds.
REMOVALS = 5_000

#: How long a commit waits for those who were told last: this part of what the last one took, so many seconds at most.
PATIENCE, PATIENCE_LIMIT = 0.5, 0.005
#: With so many updates a batch goes to disk at once: its time is that of its pages, and the next one gathers meanwhile.
FULL = 500

FAILING = "globals cannot be written at the moment; what was answered is kept"

Function = Callable[[IGlobalsUpdate], Any]


@implementer(IGlobals)
class Globals:
    """See ``IGlobals``.

    :param folder: where the file lies, e.g. ``globals`` in the state folder.
    :param durability: ``"message"`` or ``"interval"``.
    :param interval: seconds between commits with ``"interval"``.
    :param map_size: bytes of address space to begin with; for tests.
    """

    log = Logger()
    key = staticmethod(key_of)
    below = staticmethod(key_below)

    def __init__(
        self,
        folder: Path,
        reactor: Any,
        durability: str = "message",
        interval: float = 1.0,
        *,
        map_size: int = MAP_SIZE,
    ) -> None:
        if durability not in ("message", "interval"):
            raise ConfigurationError(f"the durability of globals is {durability!r}, not message or interval")
        self._reactor = reactor
        self._is_lazy = durability == "interval"
        # How long a batch stays open; see _committed for what it is where messages are answered when they are on disk.
        self._delay = interval if self._is_lazy else 0.0
        self._file = GlobalsFile(folder, map_size)
        self._pool = ThreadPool(0, 1, name="pfserver-globals")
        self._queue: deque[tuple[Function, Deferred[Any]]] = deque()
        # What functions run in; None where none is begun or the thread has it.
        self._batch: Batch | None = None
        # Who is told about the batch when it is on disk, and what.
        self._waiting: list[tuple[Deferred[Any], Any]] = []
        self._is_away = False
        self._is_failing = False
        self._given_at = 0.0
        self._expected = 0
        self._commit_call: IDelayedCall | None = None
        self._snapshot = Snapshot(self._file)
        self._is_open = False
        # Fires when all is closed; None before that is asked for.
        self._closed: Deferred[None] | None = succeed(None)

    def open(self) -> None:
        """Open the file; blocks. Raises ``StoreUnavailable``."""
        self._file.open()
        self._pool.start()
        self._is_open = True
        self._closed = None

    def close(self) -> Deferred[None]:
        """Commit what is open and close the file; fires when all is on disk."""
        if self._closed is None:
            self._closed = Deferred()
            self._go_on()
        return self._closed

    # -- reading --------

    def read(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """See ``IGlobals``."""
        if self._is_lazy and self._batch is not None and self._batch.view is not None:
            return function(self._batch.view, *arguments)
        try:
            view = self._snapshot.view()
        except lmdb.Error as error:
            view = self._mended_view(error)
        return function(view, *arguments)

    def _mended_view(self, error: lmdb.Error) -> View:
        """A view where LMDB did not begin one, if the file can be opened again. Raises ``StoreUnavailable``."""
        if self._is_open and not self._is_away:
            self._recover()
            try:
                return self._snapshot.view()
            except lmdb.Error as again:
                error = again
        raise unavailable(error, "read") from error

    # -- updating --------

    def write(self, function: Function) -> Deferred[Any]:
        """See ``IGlobals``."""
        if self._closed is not None:
            return fail(StoreUnavailable("the globals are closed"))
        if self._is_failing:
            return fail(StoreUnavailable(FAILING))
        if self._is_away or self._queue:
            waiting: Deferred[Any] = Deferred()
            self._queue.append((function, waiting))
            return waiting
        return self._start(function)

    def try_write(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """See ``IGlobals``."""
        batch = self._batch
        if batch is None or not (self._is_lazy and batch.is_open):
            return None
        if self._queue or self._is_failing or self._closed is not None:
            return None
        try:
            result = batch.run(function, REMOVALS, *arguments)
        except (TooMuch, lmdb.Error):
            return None
        self._see_to_commit()
        return result

    def _start(self, function: Function) -> Deferred[Any]:
        outcome = execute(self._run, function)
        result = outcome.result
        if isinstance(result, Failure):
            return outcome.addErrback(self._fails, function)
        if self._is_lazy:
            self._see_to_commit()
            return outcome
        waiting: Deferred[Any] = Deferred()
        self._waiting.append((waiting, result))
        self._see_to_commit()
        return waiting

    def _fails(self, failure: Failure, function: Function) -> Any:
        """The result of a function that failed in the batch, which is as if it had never been called."""
        if failure.check(TooMuch):
            waiting: Deferred[Any] = Deferred()
            self._hand_over(function, waiting)
            return waiting
        if isinstance(failure.value, lmdb.Error | StoreUnavailable):
            self._recover()
            return Failure(unavailable(failure.value))
        return failure

    def _run(self, function: Function) -> Any:
        """Run a function in the batch. Raises ``lmdb.Error`` and ``StoreUnavailable`` besides what it raises."""
        while True:
            try:
                batch = self._batch or self._begin()
                if not batch.is_open:
                    batch.again()
                return batch.run(function, REMOVALS)
            except lmdb.MapFullError:
                self._grow()

    def _begin(self) -> Batch:
        if self._file.is_tight():
            try:
                self._grow()
            except StoreUnavailable as error:
                # There is room for more updates all the same.
                self.log.warn("globals.map-not-grown: {reason}", reason=error, bytes=self._file.map_size)
        self._batch = Batch(self._file)
        return self._batch

    def _grow(self) -> None:
        """Make the map larger; the batch has to begin again. Raises ``StoreUnavailable``."""
        self._snapshot.drop()
        if self._batch is not None:
            self._batch.abort()
        self._file.grow()
        self.log.info("globals.map-grown", bytes=self._file.map_size)

    # -- committing --------

    def _see_to_commit(self) -> None:
        assert self._batch is not None
        group, batch = len(self._waiting), self._batch
        limit = OPEN_LIMIT if self._is_lazy else FULL
        if group >= GROUP_LIMIT or batch.size >= limit or batch.volume >= OPEN_BYTES:
            self._commit()
        elif self._commit_call is None:
            is_complete = not self._is_lazy and group >= self._expected
            self._commit_call = self._reactor.callLater(0 if is_complete else self._delay, self._commit)
        elif group == self._expected and not self._is_lazy:
            self._commit_call.reset(0)

    def _commit(self) -> None:
        if self._commit_call is not None and self._commit_call.active():
            self._commit_call.cancel()
        self._commit_call = None
        if self._is_away or self._batch is None:
            return
        if self._is_lazy:
            self._commit_here()
        else:
            self._hand_over(None, None)

    def _commit_here(self) -> None:
        """Commit in this thread. Where that fails, all stays in memory and is tried again after an interval."""
        if self._batch is not None:
            try:
                self._finish_here(self._batch)
                self._batch = None
                self._is_failing = False
            except (lmdb.Error, StoreUnavailable) as error:
                self.log.error("globals.not-written: {reason}", reason=unavailable(error))
                self._is_failing = True
                self._recover()
                if self._commit_call is None:
                    self._commit_call = self._reactor.callLater(self._delay, self._commit)
        self._snapshot.drop()

    def _finish_here(self, batch: Batch) -> None:
        while True:
            try:
                if not batch.is_open:
                    batch.again()
                batch.commit()
                return
            except lmdb.MapFullError:
                self._grow()

    def _recover(self) -> None:
        """Make the file usable after a failure, so that reads see what they saw."""
        self._snapshot.drop()
        try:
            if self._batch is not None:
                self._batch.abort()
            self._file.mend()
            if self._batch is not None:
                self._batch.again()
        except (lmdb.Error, StoreUnavailable):
            self.log.failure("globals.not-recovered")

    def _hand_over(self, function: Function | None, waiting: Deferred[Any] | None) -> None:
        """Have the thread commit the batch, after a function that takes long, if there is one."""
        if self._is_lazy and self._batch is not None:
            # What it holds has been answered: reads must not miss it while the thread has the batch.
            self._commit_here()
            if self._batch is not None and waiting is not None:
                waiting.errback(StoreUnavailable(FAILING))
                return
        self._is_away = True
        self._given_at = self._reactor.seconds()
        outcome = maybeDeferred(self._give, function)
        outcome.addCallbacks(self._committed, self._not_committed, callbackArgs=(waiting,), errbackArgs=(waiting,))
        outcome.addErrback(lambda failure: self.log.failure("globals.fault", failure))
        outcome.addCallback(self._go_on)

    def _give(self, function: Function | None) -> Deferred[Any]:
        batch = self._batch or self._begin()
        self._batch = None
        finishing = deferToThreadPool(self._reactor, self._pool, finish, batch, function)
        return finishing.addErrback(self._grow_and_give, batch, function)

    def _grow_and_give(self, failure: Failure, batch: Batch, function: Function | None) -> Deferred[Any]:
        """The map can only grow while nobody reads: in the reactor's thread."""
        failure.trap(lmdb.MapFullError)
        self._grow()
        self._batch = batch
        return self._give(function)

    def _committed(self, result: Any, waiting: Deferred[Any] | None) -> None:
        self._is_away = False
        if not self._is_lazy:
            # Whoever is told now is likely to ask for more at once. The next commit waits for them a little, since one
            # for all serves everybody better than two for halves; a session that is alone never waits.
            self._expected = len(self._waiting) + len(self._queue)
            self._delay = min((self._reactor.seconds() - self._given_at) * PATIENCE, PATIENCE_LIMIT)
        self._snapshot.drop()
        told, self._waiting = self._waiting, []
        if waiting is not None:
            told.append((waiting, result))
        if self._queue and not self._is_lazy:
            # The disk is given the next before those of this one are told, and those have the time to ask for more.
            self._run_queue()
            self._commit()
        for deferred, value in told:
            # A failure is what a function that takes long raised; the others are on disk all the same.
            deferred.callback(value)

    def _not_committed(self, failure: Failure, waiting: Deferred[Any] | None) -> None:
        self._is_away = False
        told, self._waiting = self._waiting, []
        if waiting is not None:
            told.append((waiting, None))
        reason = failure.value
        if isinstance(reason, lmdb.Error | StoreUnavailable):
            self._recover()
            reason = unavailable(reason)
            self.log.error("globals.not-written: {reason}", reason=reason)
        for deferred, _ in told:
            deferred.errback(Failure(reason))

    def _go_on(self, _: object = None) -> None:
        """Run what has queued up; close where that was asked for and nothing is left."""
        self._run_queue()
        if self._closed is None or self._is_away:
            return
        self._commit()
        if not self._is_away and self._is_open:
            self._close(self._closed)

    def _run_queue(self) -> None:
        while self._queue and not self._is_away:
            function, waiting = self._queue.popleft()
            self._start(function).chainDeferred(waiting)

    def _close(self, closed: Deferred[None]) -> None:
        self._is_open = False
        if self._is_failing:
            self.log.critical("globals.lost: updates of the last interval could not be written")
        if self._commit_call is not None:
            self._commit_call.cancel()
        if self._batch is not None:
            self._batch.abort()
        self._snapshot.drop()
        self._pool.stop()
        self._file.close()
        closed.callback(None)
