"""The database: one writer thread that commits in groups, and a few threads that read.

Acknowledged means on disk: a write's Deferred fires after its commit. What is asked for while a commit runs is
committed together as the next group, so that many small jobs share one flush of the disk (SQLite: WAL, FULL).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool

from pfserver.errors import PFServerError, StoreUnavailable
from pfserver.store.hand import keep_in_hand
from pfserver.store.statements import execute_at_once

#: So many writes go into one commit at most: a bound on how long the first of them waits.
GROUP_LIMIT = 1000

#: Threads that read; each holds a connection.
READERS = 3

#: Where a server is lost in the middle of a commit it is asked what became of it: the pauses between, in seconds.
ASKED_AGAIN = (0.0, 0.1, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0)

#: Seconds that a connection waits for another process's lock, e.g. a backup's.
BUSY_TIMEOUT = 10.0

Payload = TypeVar("Payload")
Result = TypeVar("Result")

#: Does a group of writes of one kind in a transaction; gives a result, or the error, for each payload in order.
WriteHandler = Callable[[sa.Connection, Sequence[Payload]], Sequence[Result | PFServerError]]

#: Called in the reactor's thread with what is on disk, before the one who asked.
Witness = Callable[[Any], object]

_TRANSACTION_NUMBER = sa.text("SELECT txid_current_if_assigned()")
_TRANSACTION_STATUS = sa.text("SELECT txid_status(:number)")

_Write = tuple[WriteHandler[Any, Any], Any, "Deferred[Any]", Witness | None]
_Outcome = tuple[_Write, Any, bool]


class _CommitUnknown(StoreUnavailable):
    """The server was lost while it committed, and cannot be asked what became of it."""


class Database:
    """Reads and grouped, durable writes on any SQLAlchemy URL; made for SQLite, also PostgreSQL.

    :param url: an SQLAlchemy URL.
    :param reactor: the reactor; results come back in its thread.
    """

    log = Logger()

    def __init__(self, url: str, reactor: Any) -> None:
        self._reactor = reactor
        self._url = sa.make_url(url)
        if self._url.drivername == "postgresql":
            # The driver that pfserver[postgres] brings, whichever this SQLAlchemy would take.
            self._url = self._url.set(drivername="postgresql+psycopg")
        self._queue: SimpleQueue[_Write | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._readers = ThreadPool(1, READERS, name="pfserver-store-reader")
        self._writing = _engine(self._url, read_only=False)
        self._reading = _engine(self._url, read_only=True)
        self._is_postgresql = self._url.get_backend_name() == "postgresql"
        self._writer_connection: sa.Connection | None = None

    @property
    def is_private(self) -> bool:
        """Whether no other server can share it: SQLite, where the state folder's lock sees to that."""
        return self._url.get_backend_name() == "sqlite"

    def open(self) -> None:
        """Bring the schema up to date and start the threads. Blocks; raises ``StoreUnavailable``."""
        from pfserver.store.migrations import upgrade

        try:
            with self._writing.connect() as connection:
                upgrade(connection)
        except (SQLAlchemyError, OSError) as error:
            raise StoreUnavailable(f"the job database cannot be opened: {_reason(error)}") from error
        self._readers.start()
        self._thread = threading.Thread(target=self._write_groups, name="pfserver-store-writer", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Commit what is asked for, then stop the threads. Blocks."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None
            self._readers.stop()
        if self._writer_connection is not None:
            self._writer_connection.close()
            self._writer_connection = None
        self._writing.dispose()
        self._reading.dispose()

    def write(
        self, handler: WriteHandler[Payload, Result], payload: Payload, witness: Witness | None = None
    ) -> Deferred[Result]:
        """Have ``handler`` called with this payload (and others of its kind) inside the next commit.

        The Deferred fires once it is on disk. It fails with the error that the handler gave for the payload, or with
        ``StoreUnavailable`` where the commit failed; then nothing was written. A witness hears of what was written
        before anybody who waits for this commit, and even where the Deferred was cancelled meanwhile.
        """
        done: Deferred[Result] = Deferred()
        if self._thread is None:
            done.errback(StoreUnavailable("the job database is closed"))
            return done
        self._queue.put((handler, payload, done, witness))
        return done

    def read(self, function: Callable[..., Result], *arguments: Any) -> Deferred[Result]:
        """Call ``function(connection, *arguments)`` in a reading thread; fails with ``StoreUnavailable``."""
        return deferToThreadPool(self._reactor, self._readers, self._read, function, *arguments)

    def _read(self, function: Callable[..., Result], *arguments: Any) -> Result:
        try:
            with self._reading.connect() as connection:
                return function(connection, *arguments)
        except SQLAlchemyError as error:
            self.log.failure("store.read-failed")
            raise StoreUnavailable(f"the job database cannot be read: {_reason(error)}") from error

    # -- the writer thread ------------------------------------------------------------------------

    def _write_groups(self) -> None:
        running = True
        while running:
            group: list[_Write] = []
            item = self._queue.get()
            while item is not None:
                group.append(item)
                if len(group) >= GROUP_LIMIT:
                    break
                try:
                    item = self._queue.get_nowait()
                except Empty:
                    break
            running = item is not None
            if group:
                self._reactor.callFromThread(_deliver, self._commit(group))

    def _commit(self, group: Sequence[_Write]) -> list[_Outcome]:
        """Commit a group. Where that fails, each write gets a commit of its own, so that one cannot spoil others."""
        by_handler: dict[WriteHandler[Any, Any], list[_Write]] = {}
        for write in group:
            by_handler.setdefault(write[0], []).append(write)
        outcomes: list[_Outcome] = []
        try:
            with self._writer() as connection:
                for handler, writes in by_handler.items():
                    results = handler(connection, [write[1] for write in writes])
                    for write, result in zip(writes, results, strict=True):
                        outcomes.append((write, result, not isinstance(result, PFServerError)))
        except Exception as error:  # noqa: BLE001 - whatever it was goes to the one who asked, the thread goes on
            if isinstance(error, _CommitUnknown):
                # Done again it might be done twice.
                return [(write, error, False) for write in group]
            if len(group) > 1:
                return [outcome for write in group for outcome in self._commit([write])]
            return [(group[0], self._failure(error), False)]
        return outcomes

    def _writer(self) -> AbstractContextManager[sa.Connection]:
        """A transaction. Jobs in hand are as committed, or forgotten."""
        return self._private_writer() if self.is_private else self._shared_writer()

    @contextmanager
    def _private_writer(self) -> Iterator[sa.Connection]:
        # One connection for good: to borrow it from the pool for each group costs as much as the commit.
        if self._writer_connection is None:
            self._writer_connection = self._writing.connect()
            keep_in_hand(self._writer_connection)
        try:
            with self._writer_connection.begin():
                yield self._writer_connection
        except BaseException:
            self._writer_connection.close()
            self._writer_connection = None
            raise

    @contextmanager
    def _shared_writer(self) -> Iterator[sa.Connection]:
        with self._writing.connect() as connection:
            transaction = connection.begin()
            try:
                yield connection
                number = connection.scalar(_TRANSACTION_NUMBER) if self._is_postgresql else None
            except BaseException:
                transaction.rollback()
                raise
            try:
                transaction.commit()
            except DBAPIError as error:
                if not error.connection_invalidated or number is None or not self._was_committed(number):
                    raise

    def _was_committed(self, number: int) -> bool:
        """What became of a commit in which the server was lost."""
        for pause in ASKED_AGAIN:
            time.sleep(pause)
            with suppress(SQLAlchemyError), self._reading.connect() as connection:
                status = connection.scalar(_TRANSACTION_STATUS, {"number": number})
                self.log.warn("store.connection-lost", transaction=status)
                if status != "in progress":
                    return bool(status == "committed")
        raise _CommitUnknown("the job database was lost: it is not known whether this is stored")

    def _failure(self, error: Exception) -> Exception:
        if isinstance(error, PFServerError):
            return error
        self.log.failure("store.write-failed")
        if isinstance(error, SQLAlchemyError):
            return StoreUnavailable(f"nothing could be stored: {_reason(error)}")
        return error


def _deliver(outcomes: Sequence[_Outcome]) -> None:
    for (_, _, _, witness), result, good in outcomes:
        if good and witness is not None:
            witness(result)
    for (_, _, done, _), result, good in outcomes:
        if good:
            done.callback(result)
        else:
            done.errback(result)


def _reason(error: Exception) -> str:
    """What the database said, without SQL, parameters or paths."""
    text = str(error.orig) if isinstance(error, DBAPIError) and error.orig is not None else type(error).__name__
    return text.splitlines()[0][:200]


def _engine(url: sa.URL, *, read_only: bool) -> sa.Engine:
    if url.get_backend_name() != "sqlite":
        return sa.create_engine(url, pool_size=READERS if read_only else 1, max_overflow=0, pool_pre_ping=True)
    engine = sa.create_engine(
        url,
        poolclass=sa.QueuePool,
        pool_size=READERS if read_only else 1,
        max_overflow=0,
        connect_args={"check_same_thread": False, "timeout": BUSY_TIMEOUT, "isolation_level": None},
    )

    @sa.event.listens_for(engine, "connect")
    def set_up(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        if read_only:
            cursor.execute("PRAGMA query_only = ON")
        else:
            cursor.execute("PRAGMA journal_mode = WAL")
            cursor.execute("PRAGMA synchronous = FULL")
        cursor.close()

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        # The driver begins nothing by itself (isolation_level None); a writer takes its lock at once, since a
        # transaction that starts as a reader may find that it cannot become a writer any more.
        execute_at_once(connection, "BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine
