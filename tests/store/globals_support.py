"""What the tests of the globals' service share."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lmdb
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from pfserver.store.globals.batch import Batch
from pfserver.store.globals.service import Globals


class GlobalsCase(TestCase):
    def make(self, folder: Path | None = None, **options: Any) -> Globals:
        made = Globals(folder or Path(self.mktemp()), reactor, **options)
        made.open()
        self.addCleanup(made.close)
        return made

    def crashed(self, folder: Path) -> Globals:
        """What a start finds after a kill at this moment, in a copy."""
        copy = Path(self.mktemp())
        shutil.copytree(folder, copy)
        return self.make(copy)

    def watch_commits(self) -> list[int]:
        """How many updates are in each batch that is committed from now on."""
        sizes: list[int] = []
        commit = Batch.commit
        self.patch(Batch, "commit", lambda batch: (commit(batch), sizes.append(batch.size)))
        return sizes

    async def settled(self, globals_: Globals) -> None:
        """Wait until no thread has anything to do."""
        while globals_._is_settling or globals_._is_writing:
            await deferLater(reactor, 0.001, lambda: None)


def setter(globals_: Globals, value: bytes, *subscripts: bytes) -> Callable[[Any], None]:
    """A function that sets ``^X(subscripts)``."""
    key = globals_.key(b"", b"X", subscripts)
    return lambda update: update.set(key, value)


def filler(globals_: Globals, count: int = 100) -> Callable[[Any], None]:
    """A function that sets ``^X(0)`` and so on."""

    def fill(update: Any) -> None:
        for number in range(count):
            setter(globals_, b"v", b"%d" % number)(update)

    return fill


def value_of(globals_: Globals, *subscripts: bytes) -> bytes | None:
    """The value of ``^X(subscripts)`` as a reader sees it."""
    key = globals_.key(b"", b"X", subscripts)
    found: bytes | None = globals_.view().get(key)
    return found


def no_space(batch: Batch) -> None:
    """In place of ``Batch.commit``."""
    batch.abort()
    raise lmdb.DiskError("mdb_txn_commit: No space left on device")
