"""When globals are read, updated and committed.

Functions run in the reactor's thread, one after another, in a batch: they are short, and to hand the interpreter over
between two updates would cost more than the updates. Reads look into the batch. With durability ``"message"`` what
they updated goes into the journal, and they are told when it is on disk there: while a thread writes one record, the
next one gathers. With ``"interval"`` they are told at once.

After an interval, or when it is large, the batch is committed and *settles*: a thread waits for the disk, while the
next batch is open. Only an update that removes very many nodes, or works on long values again and again, is left to a
thread; until it is on disk the others wait in a queue, and reads see what was committed before.
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
from pfserver.store.globals.batch import run_alone
from pfserver.store.globals.current import Current
from pfserver.store.globals.file import MAP_SIZE, GlobalsFile, unavailable
from pfserver.store.globals.journal import Updates, record_of
from pfserver.store.globals.keys import key_below, key_of
from pfserver.store.globals.view import TooMuch, View

#: So many updates, so many bytes of keys and values, and so many in the journal are kept open, however long the
#: interval is; twice as many where the last commit has not settled. Bounds on memory, and on the time of a commit, for
#: which the server stands still, and of a start after a crash.
OPEN_LIMIT, OPEN_BYTES, JOURNAL_BYTES = 50_000, 32 << 20, 64 << 20
#: So many nodes may a message remove while the reactor waits, or do what takes as long: some milliseconds.
REMOVALS = 5_000

FAILING = "globals cannot be written at the moment; what was answered is kept"

Function = Callable[[IGlobalsUpdate], Any]


@implementer(IGlobals)
class Globals:
    """See ``IGlobals``.

    :param folder: where the file lies, e.g. ``globals`` in the state folder.
    :param durability: ``"message"`` or ``"interval"``.
    :param interval: seconds between commits; with ``"message"`` what is told is in the journal before.
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
        self._interval = interval
        self._file = GlobalsFile(folder, map_size)
        self._current = Current(self._file, taken_back=self._commit_later)
        # One for the journal, one for what settles.
        self._pool = ThreadPool(0, 2, name="pfserver-globals")
        # Who is told, and what, when all that is in the batch is in the journal.
        self._waiting: list[tuple[Deferred[Any], Any]] = []
        # What takes long and is next.
        self._long: tuple[Function, Deferred[Any]] | None = None
        self._queue: deque[tuple[Function, Deferred[Any]]] = deque()
        # What threads are doing: they write the journal, or settle; or else the file is lent to one.
        self._is_writing = self._is_settling = False
        # The batch is to be committed as soon as it can be.
        self._is_due = False
        # The batch could not be committed: it is kept and tried again, and nothing is added.
        self._is_failing = False
        self._write_call: IDelayedCall | None = None
        self._commit_call: IDelayedCall | None = None
        # For _go_on, which does not call itself; and how often a disk that fails is tried at the end.
        self._is_going_on = self._has_more = False
        self._tries = 1
        # Fires when all is closed; None before that is asked for.
        self._closed: Deferred[None] | None = succeed(None)

    def open(self) -> None:
        """Open the file; blocks. Raises ``StoreUnavailable``."""
        self._current.open()
        self._pool.start()
        self._closed = None

    def close(self) -> Deferred[None]:
        """Commit what is open and close the file; fires when all is on disk, or cannot be: the log says so then."""
        if self._closed is None:
            self._closed = Deferred()
            self._commit()
        return self._closed

    # -- reading --------

    def view(self) -> View:
        """See ``IGlobals``."""
        return self._current.view()

    def get(self, key: bytes) -> bytes | None:
        """See ``IGlobals``."""
        return self._current.get(key)

    # -- updating --------

    def write(self, function: Function) -> Deferred[Any]:
        """See ``IGlobals``."""
        if self._closed is not None:
            return fail(StoreUnavailable("the globals are closed"))
        if self._is_failing:
            return fail(StoreUnavailable(FAILING))
        if self._queue or self._is_held():
            waiting: Deferred[Any] = Deferred()
            self._queue.append((function, waiting))
            return waiting
        return self._start(function)

    def try_write(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """See ``IGlobals``."""
        batch = self._current.batch
        if batch is None or batch.view is None or not self._is_lazy:
            return None
        if self._is_due or self._queue or self._is_failing or self._closed is not None or self._is_held():
            return None
        try:
            result = batch.run(function, REMOVALS, *arguments)
        except (TooMuch, lmdb.Error):
            return None
        if self._commit_call is None or batch.reaches(OPEN_LIMIT, OPEN_BYTES):
            self._see_to_commit()
        return result

    def _is_held(self) -> bool:
        """Whether updates have to wait for what comes before them."""
        if self._current.is_lent or self._current.is_suspect or self._long is not None:
            return True
        return self._is_due and (not self._is_settling or self._exceeds(2))

    def _exceeds(self, factor: int) -> bool:
        """Whether as many times as much as is kept open is in the batch."""
        batch = self._current.batch
        return batch is not None and (
            batch.reaches(OPEN_LIMIT * factor, OPEN_BYTES * factor)
            or (not self._is_lazy and self._file.journal_size >= JOURNAL_BYTES * factor)
        )

    def _start(self, function: Function) -> Deferred[Any]:
        outcome = execute(self._current.run, function, REMOVALS)
        result = outcome.result
        if isinstance(result, Failure):
            return outcome.addErrback(self._fails, function)
        if self._is_lazy:
            self._see_to_commit()
            return outcome
        if self._current.is_written:
            # It changed nothing, and has seen nothing that is not told.
            return outcome
        waiting: Deferred[Any] = Deferred()
        self._waiting.append((waiting, result))
        if self._write_call is None and not self._is_writing:
            # All messages of this turn share a record.
            self._write_call = self._reactor.callLater(0, self._write)
        self._see_to_commit()
        return waiting

    def _fails(self, failure: Failure, function: Function) -> Any:
        """The result of a function that failed in the batch, which is as if it had never been called."""
        if failure.check(TooMuch):
            waiting: Deferred[Any] = Deferred()
            self._long = function, waiting
            self._go_on()
            return waiting
        if isinstance(failure.value, lmdb.Error | StoreUnavailable):
            self._current.recover()
            return Failure(unavailable(failure.value))
        return failure

    # -- one step after the other --------

    def _go_on(self) -> None:
        """Do what is next, unless it has to wait for what a thread is doing."""
        self._has_more = True
        if self._is_going_on:
            # Whoever is told asks for more at once.
            return
        self._is_going_on = True
        try:
            while self._has_more:
                self._has_more = False
                self._step()
        finally:
            self._is_going_on = False

    def _step(self) -> None:
        if self._current.is_lent or self._is_writing:
            return
        if self._waiting:
            # Nothing is committed that is not in the journal.
            self._write()
            return
        if not self._is_settling:
            if self._current.is_suspect and self._may_try():
                self._current.recover(reopen=True)
            if self._current.is_suspect:
                self._try_later()
            elif self._is_due or self._long is not None:
                self._commit_and_settle()
        while self._queue and not self._is_held():
            function, waiting = self._queue.popleft()
            self._start(function).chainDeferred(waiting)
        if self._closed is not None and self._current.is_open and not self._is_busy():
            self._close(self._closed)

    def _may_try(self) -> bool:
        """At the end a disk that fails is tried once more."""
        if self._closed is not None:
            self._tries -= 1
        return self._tries >= 0

    def _is_busy(self) -> bool:
        if self._is_writing or self._is_settling or self._current.is_lent or self._waiting or self._queue or self._long:
            return True
        return self._current.has_updates and not self._is_failing

    def _do(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        return deferToThreadPool(self._reactor, self._pool, function, *arguments)

    # -- the journal --------

    def _write(self) -> None:
        """Have in the journal what is waited for."""
        if self._write_call is not None and self._write_call.active():
            self._write_call.cancel()
        self._write_call = None
        if self._is_writing or not self._waiting:
            return
        updates = self._current.unwritten
        told, self._waiting = self._waiting, []
        self._is_writing = True
        maybeDeferred(self._give, updates).addCallbacks(
            self._is_written, self._not_written, callbackArgs=(told, len(updates)), errbackArgs=(told,)
        ).addErrback(self._fault)

    def _give(self, updates: Updates) -> Deferred[None]:
        return self._do(self._file.write, record_of(updates))

    def _is_written(self, _: object, told: list[tuple[Deferred[Any], Any]], count: int) -> None:
        self._is_writing = False
        self._current.written += count
        if self._current.is_written:
            # What came meanwhile changed nothing.
            told += self._waiting
            self._waiting = []
        if self._waiting:
            # The disk is given the next before those of this one are told, and those have the time to ask for more.
            self._write()
        self._tell(told)

    def _tell(self, told: list[tuple[Deferred[Any], Any]]) -> None:
        for deferred, value in told:
            deferred.callback(value)
        self._go_on()

    def _not_written(self, failure: Failure, told: list[tuple[Deferred[Any], Any]]) -> None:
        """Nothing of it is kept, nor of what came after it and may have seen it."""
        self._is_writing = False
        told += self._waiting
        self._waiting = []
        reason = unavailable(failure.value)
        self.log.error("globals.not-written: {reason}", reason=reason)
        self._current.undo()
        for deferred, _ in told:
            deferred.errback(Failure(reason))
        self._go_on()

    # -- committing --------

    def _see_to_commit(self) -> None:
        if self._is_due:
            return
        if self._exceeds(1):
            self._commit()
        else:
            self._commit_later()

    def _commit_later(self) -> None:
        if self._closed is not None:
            # There is no later; what failed once more is given up.
            self._is_due = self._has_more = not self._is_failing
        elif self._commit_call is None:
            self._commit_call = self._reactor.callLater(self._interval, self._commit)

    def _commit(self) -> None:
        """Have the batch committed as soon as it can be."""
        if self._commit_call is not None and self._commit_call.active():
            self._commit_call.cancel()
        self._commit_call = None
        self._is_due = True
        self._go_on()

    def _commit_and_settle(self) -> None:
        """Commit the batch, whose updates are all told; then what takes long is run, or the commit settles."""
        self._is_due = False
        is_committed = self._commit_batch()
        if self._long is not None:
            function, waiting = self._long
            self._long = None
            if is_committed:
                self._current.is_lent = True
                self._run_alone(function, waiting)
            else:
                waiting.errback(StoreUnavailable(FAILING))
        elif self._current.is_unsettled:
            self._is_settling = True
            self._do(self._file.settle).addCallbacks(self._settled, self._not_settled).addErrback(self._fault)

    def _commit_batch(self) -> bool:
        """Whether that is done. Where it fails, all stays in memory and is tried again after an interval."""
        if not self._current.commit():
            self._try_later()
            return False
        self._is_failing = False
        return True

    def _try_later(self) -> None:
        """Take nothing more until that has worked."""
        self._is_failing = True
        while self._queue:
            _, waiting = self._queue.popleft()
            waiting.errback(StoreUnavailable(FAILING))
        if self._long is not None:
            (_, waiting), self._long = self._long, None
            waiting.errback(StoreUnavailable(FAILING))
        self._commit_later()

    def _settled(self, _: object) -> None:
        self._is_settling = False
        self._current.settled()
        self._go_on()

    def _not_settled(self, failure: Failure) -> None:
        """A disk that failed once may say the next time that all is well: what was committed is written anew."""
        self._is_settling = False
        self._current.is_suspect = True
        self.log.error("globals.not-settled: {reason}", reason=unavailable(failure.value))
        self._go_on()

    # -- what takes long --------

    def _run_alone(self, function: Function, waiting: Deferred[Any]) -> None:
        running = self._do(run_alone, self._file, function)
        running.addCallbacks(
            self._has_run, self._has_not_run, callbackArgs=(waiting,), errbackArgs=(function, waiting)
        ).addErrback(self._fault)

    def _has_run(self, result: Any, waiting: Deferred[Any]) -> None:
        self._current.has_back()
        # The result may be what the function raised.
        waiting.callback(result)
        self._go_on()

    def _has_not_run(self, failure: Failure, function: Function, waiting: Deferred[Any]) -> None:
        reason = unavailable(failure.value)
        if failure.check(lmdb.MapFullError):
            # The map can only grow while nobody reads: in the reactor's thread.
            try:
                self._current.grow()
            except StoreUnavailable as error:
                reason = error
            else:
                self._run_alone(function, waiting)
                return
        self._current.is_lent = False
        self._current.is_suspect = True
        self.log.error("globals.not-written: {reason}", reason=reason)
        self._go_on()
        waiting.errback(Failure(reason))

    # -- the end --------

    def _close(self, closed: Deferred[None]) -> None:
        if self._current.has_updates and self._is_lazy:
            self.log.critical("globals.lost: updates of the last interval could not be written")
        if self._commit_call is not None:
            self._commit_call.cancel()
        self._pool.stop()
        try:
            self._current.close()
        except OSError as error:
            # What is left is put right by the next start.
            self.log.error("globals.journal-not-removed: {reason}", reason=unavailable(error))
        closed.callback(None)

    def _fault(self, failure: Failure) -> None:
        """A fault of ours: nobody knows what is done, so all begins again at the last base."""
        self.log.failure("globals.fault", failure)
        self._is_writing = self._is_settling = self._current.is_lent = False
        self._current.is_suspect = True
        told, self._waiting = self._waiting, []
        for deferred, _ in told:
            deferred.errback(Failure(StoreUnavailable(FAILING)))
        self._try_later()
