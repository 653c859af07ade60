"""What is left of globals after faults: kills, full disks, maps that cannot grow."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import lmdb
from twisted.internet import reactor

from pfserver.errors import StoreUnavailable
from pfserver.store.globals import service
from pfserver.store.globals.batch import Batch
from pfserver.store.globals.service import Globals
from tests.store.globals_support import GlobalsCase, setter, value_of

#: A child that acknowledges bunches of ten sets on its standard output as soon as it may.
WRITER = """
import sys
from pathlib import Path
from twisted.internet import reactor
from pfserver.store.globals import Globals

# Commits, and what settles, are as often as can be.
globals_ = Globals(Path(sys.argv[1]), reactor, interval=0.001, map_size=1 << 20)
globals_.open()

def go(number):
    def bunch(update):
        for part in range(10):
            update.set(globals_.key(b"", b"X", [b"%d" % number, b"%d" % part]), b"v" * 500)
    def told(_):
        sys.stdout.write(f"{number}\\n")
        sys.stdout.flush()
        go(number + 4)
    globals_.write(bunch).addCallback(told)

for session in range(4):
    reactor.callWhenRunning(go, session + 1)
reactor.run()
"""

#: A child that fills a disk of half a MiB, frees it, and tells what was acknowledged before and after.
FILLER = """
import resource, sys
from pathlib import Path
from twisted.internet import reactor, task
from twisted.internet.defer import ensureDeferred
from pfserver.errors import StoreUnavailable
from pfserver.store.globals import Globals

async def fill(reactor):
    globals_ = Globals(Path(sys.argv[1]), reactor, sys.argv[2], 0.01)
    globals_.open()
    acknowledged, refused = [], 0
    async def put(number):
        key = globals_.key(b"", b"X", [b"%d" % number])
        await globals_.write(lambda update: update.set(key, b"v" * 5000))
        acknowledged.append(number)
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (512 * 1024, most))
    for number in range(1000):
        try:
            await put(number)
        except StoreUnavailable:
            refused = number
            break
        await task.deferLater(reactor, 0)
    seen = all(globals_.view().get(globals_.key(b"", b"X", [b"%d" % one])) for one in acknowledged)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    while True:
        try:
            await put(1000)
            break
        except StoreUnavailable:
            await task.deferLater(reactor, 0.01)
    await globals_.close()
    print(refused, seen, *acknowledged)

task.react(lambda reactor: ensureDeferred(fill(reactor)))
"""


class Cramped:
    """An LMDB environment whose map cannot grow: it is lost then, and the environment is closed for good."""

    def __init__(self, environment: Any, may_grow: Callable[[], bool]) -> None:
        self._environment = environment
        self._may_grow = may_grow

    def __getattr__(self, name: str) -> Any:
        return getattr(self._environment, name)

    def set_mapsize(self, size: int) -> None:
        if not self._may_grow():
            self._environment.close()
            raise lmdb.MemoryError("mdb_env_set_mapsize: Cannot allocate memory")
        self._environment.set_mapsize(size)


class CrampedTests(GlobalsCase):
    """The address space has no room for a larger map."""

    def setUp(self) -> None:
        self.has_room, self.tries = False, 0
        real = lmdb.open
        self.patch(lmdb, "open", lambda *arguments, **options: Cramped(real(*arguments, **options), self.may_grow))

    def may_grow(self) -> bool:
        self.tries += 1
        return self.has_room

    async def _fill(self, durability: str) -> None:
        folder = Path(self.mktemp())
        globals_ = self.make(folder, durability=durability, interval=3600, map_size=1 << 20)
        acknowledged: list[int] = []
        for number in range(1000):
            try:
                await globals_.write(setter(globals_, b"v" * 3000, b"%d" % number))
            except StoreUnavailable as error:
                # The second where there was no room for a commit, of which all is in the journal.
                self.assertIn(str(error), ("globals cannot be written: Cannot allocate memory", service.FAILING))
                break
            acknowledged.append(number)
            if number % 5 == 4:
                globals_._commit()
                await self.settled(globals_)

        def values() -> set[bytes | None]:
            return {value_of(globals_, b"%d" % number) for number in acknowledged}

        # Nearly all of the map, of which each value takes a page of 4,096 bytes.
        self.assertGreater(len(acknowledged), 200)
        self.assertGreater(self.tries, 1, "it was never tried before there was need")
        self.assertLess(self.tries, 20, "it was tried at every commit")
        self.assertEqual(values(), {b"v" * 3000})
        self.has_room = True
        for number in range(1000, 1300):
            await globals_.write(setter(globals_, b"v" * 3000, b"%d" % number))
            acknowledged.append(number)
        self.assertEqual(values(), {b"v" * 3000})
        await globals_.close()
        globals_ = self.make(folder)
        self.assertEqual(values(), {b"v" * 3000})

    async def test_all_of_the_map_is_used_with_each_message_on_disk(self) -> None:
        await self._fill("message")

    async def test_all_of_the_map_is_used_between_intervals(self) -> None:
        await self._fill("interval")

    async def _keep(self, durability: str) -> None:
        folder = Path(self.mktemp())
        globals_ = self.make(folder, durability=durability, interval=3600)
        await globals_.write(setter(globals_, b"answered"))
        with mock.patch.object(Batch, "commit", map_full):
            globals_._commit()
        self.failureResultOf(globals_.write(setter(globals_, b"refused")), StoreUnavailable)
        self.assertEqual(value_of(globals_), b"answered")
        self.assertEqual(value_of(self.crashed(folder)), b"answered" if durability == "message" else None)
        await globals_.close()
        self.assertEqual(value_of(self.make(folder)), b"answered")

    async def test_what_was_answered_is_kept_until_it_fits_with_each_message_on_disk(self) -> None:
        await self._keep("message")

    async def test_what_was_answered_is_kept_until_it_fits_between_intervals(self) -> None:
        await self._keep("interval")


def map_full(batch: Batch) -> None:
    batch.abort()
    raise lmdb.MapFullError("mdb_txn_commit: Environment mapsize limit reached")


class PanicTests(GlobalsCase):
    """The page that says what is committed cannot be written: LMDB begins nothing any more until it is opened again."""

    async def _panic(self, durability: str) -> None:
        folder = Path(self.mktemp())
        globals_ = self.make(folder, durability=durability, interval=3600)
        await globals_.write(setter(globals_, b"before", b"1"))
        globals_._commit()
        # It settles, or has, when LMDB gives up.
        await globals_.write(setter(globals_, b"answered"))
        with mock.patch.object(Batch, "commit", panic):
            globals_._commit()
            await self.settled(globals_)
        self.failureResultOf(globals_.write(setter(globals_, b"refused")), StoreUnavailable)
        self.assertEqual([value_of(globals_), value_of(globals_, b"1")], [b"answered", b"before"])
        globals_._commit()
        await globals_.write(setter(globals_, b"later", b"2"))
        await globals_.close()
        again = self.make(folder)
        places: list[list[bytes]] = [[], [b"1"], [b"2"]]
        self.assertEqual([value_of(again, *place) for place in places], [b"answered", b"before", b"later"])

    async def test_what_was_answered_is_seen_and_written_with_each_message_on_disk(self) -> None:
        await self._panic("message")

    async def test_what_was_answered_is_seen_and_written_between_intervals(self) -> None:
        await self._panic("interval")

    async def test_what_could_not_be_opened_again_is_opened_by_the_next_reader(self) -> None:
        folder = Path(self.mktemp())
        globals_ = self.make(folder, interval=3600)
        await globals_.write(setter(globals_, b"before"))
        with mock.patch.object(lmdb, "open", side_effect=lmdb.Error("open: Too many open files")):
            with mock.patch.object(Batch, "commit", panic):
                globals_._commit()
            self.failureResultOf(globals_.write(setter(globals_, b"refused")), StoreUnavailable)
            with self.assertRaises(StoreUnavailable):
                value_of(globals_)
        self.assertEqual(value_of(globals_), b"before")
        # Once for the commit, once for the reader.
        self.assertEqual(len(self.flushLoggedErrors(StoreUnavailable)), 2)
        globals_._commit()
        await globals_.write(setter(globals_, b"after"))
        await globals_.close()
        with self.assertRaises(StoreUnavailable):
            value_of(globals_)


def panic(batch: Batch) -> None:
    """In place of ``Batch.commit``."""
    batch.abort()
    batch._file._environment.close()
    raise lmdb.PanicError("mdb_txn_commit: Update of meta page failed or environment had fatal error")


class ThreadTests(GlobalsCase):
    """Faults while the thread runs what takes long."""

    async def test_nothing_is_left_of_what_failed(self) -> None:
        self.patch(service, "REMOVALS", 1)
        globals_ = self.make()
        for number in range(5):
            await globals_.write(setter(globals_, b"before", b"%d" % number))
        everything = globals_.key(b"", b"X", [])

        def fail(update: Any) -> None:
            update.kill(everything)
            raise lmdb.DiskError("mdb_page_flush: Input/output error")

        failed = await self.assertFailure(globals_.write(fail), StoreUnavailable)
        self.assertEqual(str(failed), "globals cannot be written: Input/output error")
        self.assertEqual(value_of(globals_, b"1"), b"before")
        await globals_.write(setter(globals_, b"after", b"2"))
        self.assertEqual([value_of(globals_, b"1"), value_of(globals_, b"2")], [b"before", b"after"])


class KillTests(GlobalsCase):
    def test_every_acknowledged_bunch_is_there_after_a_kill(self) -> None:
        folder = Path(self.mktemp()).absolute()
        for _ in range(5):
            with subprocess.Popen(
                [sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
            ) as child:
                assert child.stdout is not None
                acknowledged = [int(child.stdout.readline()) for _ in range(60)]
                os.kill(child.pid, signal.SIGKILL)
                acknowledged += [int(line) for line in child.stdout.readlines() if line.endswith(b"\n")]
            globals_ = Globals(folder, reactor)
            globals_.open()
            for number in acknowledged:
                self.assertEqual(value_of(globals_, b"%d" % number, b"9"), b"v" * 500)
            for number in range(1, max(acknowledged) + 20):
                parts = {value_of(globals_, b"%d" % number, b"%d" % part) for part in range(10)}
                self.assertEqual(len(parts), 1, "a bunch is there in part")
            self.successResultOf(globals_.close())


class FullDiskTests(GlobalsCase):
    def _fill(self, durability: str) -> None:
        folder = Path(self.mktemp()).absolute()
        told = subprocess.run(
            [sys.executable, "-c", FILLER, str(folder), durability],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
            check=True,
        ).stdout.split()
        refused, acknowledged = int(told[0]), told[2:]
        self.assertGreater(refused, 10, "the disk was never full")
        self.assertEqual(told[1], b"True", "an acknowledged update was not seen any more")
        again = self.make(folder)
        self.assertEqual({value_of(again, number) for number in acknowledged}, {b"v" * 5000})
        self.assertIn(b"1000", acknowledged, "it went on when there was room")

    def test_nothing_acknowledged_is_lost_and_it_goes_on_when_there_is_room(self) -> None:
        self._fill("message")

    def test_the_same_with_an_interval(self) -> None:
        self._fill("interval")
