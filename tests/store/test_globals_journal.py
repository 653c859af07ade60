"""The journal of globals, and what is there after kills and failures of the disk; power cuts have their own file."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import threading
import zlib
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase

from pfserver.errors import StoreUnavailable
from pfserver.store.globals import journal, service
from pfserver.store.globals.file import GlobalsFile
from pfserver.store.globals.journal import NAMES, Journal, Updates, record_of
from pfserver.store.globals.service import Globals
from tests.store.globals_support import GlobalsCase, filler, setter, value_of

PAGE = 4096


def broken(*arguments: object) -> None:
    """In place of a flush."""
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def opened_first(opening: Any) -> Any:
    """``GlobalsFile.open``, whose own flush works."""

    def open_(file: GlobalsFile) -> None:
        with mock.patch.object(GlobalsFile, "_flush", lambda file: None):
            opening(file)

    return open_


class SettleTests(GlobalsCase):
    async def _fail(self, durability: str) -> None:
        folder = Path(self.mktemp())
        globals_ = self.make(folder, durability=durability, interval=0.01)
        for number in range(20):
            await globals_.write(setter(globals_, b"before", b"%d" % number))
        with mock.patch.object(GlobalsFile, "_flush", broken):
            globals_._commit()
            await self.settled(globals_)
            self.assertTrue(globals_._current.is_suspect)
            self.assertTrue(self.flushLoggedErrors(StoreUnavailable))
            self.failureResultOf(globals_.write(setter(globals_, b"refused", b"0")), StoreUnavailable)
            self.assertEqual({value_of(globals_, b"%d" % number) for number in range(20)}, {b"before"})
        while globals_._current.is_suspect or globals_._current.batch is not None or globals_._is_settling:
            await deferLater(reactor, 0.01, lambda: None)
        await globals_.write(setter(globals_, b"after", b"0"))
        crashed = self.crashed(folder)
        if durability == "message":
            self.assertEqual(value_of(crashed, b"0"), b"after")
        self.assertEqual({value_of(crashed, b"%d" % number) for number in range(1, 20)}, {b"before"})
        await globals_.close()
        self.assertEqual(value_of(self.make(folder), b"0"), b"after")

    async def test_what_cannot_settle_is_written_anew_with_each_message_on_disk(self) -> None:
        await self._fail("message")

    async def test_what_cannot_settle_is_written_anew_between_intervals(self) -> None:
        await self._fail("interval")

    async def test_the_end_does_not_wait_for_a_disk_that_fails(self) -> None:
        folder = Path(self.mktemp())
        globals_ = self.make(folder, interval=3600)
        await globals_.write(setter(globals_, b"answered"))
        with mock.patch.object(GlobalsFile, "_settle", broken):
            await globals_.close()
        self.assertEqual(value_of(self.make(folder)), b"answered")

    async def test_updates_go_on_while_a_commit_settles_until_they_are_too_many(self) -> None:
        self.patch(service, "OPEN_LIMIT", 3)
        held = threading.Event()
        self.addCleanup(held.set)
        settle = GlobalsFile.settle
        self.patch(GlobalsFile, "settle", lambda file: (held.wait(60), settle(file)))
        globals_ = self.make(interval=3600)
        told = [globals_.write(setter(globals_, b"v", b"%d" % number)) for number in range(3)]
        await gatherResults(told)
        await deferLater(reactor, 0, lambda: None)
        self.assertTrue(globals_._is_settling)
        for number in range(6):
            await globals_.write(setter(globals_, b"v", b"%d" % number))
        waiting = [globals_.write(setter(globals_, b"w", b"%d" % number)) for number in range(6)]
        await deferLater(reactor, 0.05, lambda: None)
        self.assertNoResult(waiting[0])
        held.set()
        await gatherResults(waiting)
        self.assertEqual(value_of(globals_, b"5"), b"w")

    async def test_what_takes_long_waits_until_a_commit_has_settled(self) -> None:
        self.patch(service, "REMOVALS", 10)
        folder, held = Path(self.mktemp()), threading.Event()
        self.addCleanup(held.set)
        settle = GlobalsFile.settle
        self.patch(GlobalsFile, "settle", lambda file: (held.wait(60), settle(file)))
        globals_ = self.make(folder, interval=3600)
        await globals_.write(filler(globals_))
        globals_._commit()
        everything = globals_.key(b"", b"X", [])
        killing = globals_.write(lambda update: update.kill(everything))
        later = globals_.write(setter(globals_, b"new", b"7"))
        await deferLater(reactor, 0.05, lambda: None)
        self.assertNoResult(killing)
        self.assertEqual(value_of(globals_, b"7"), b"v")
        held.set()
        await gatherResults([killing, later])
        for one in (globals_, self.crashed(folder)):
            self.assertEqual([value_of(one, b"6"), value_of(one, b"7")], [None, b"new"])


class StartTests(GlobalsCase):
    """What a start finds, after an end that was none."""

    async def test_the_other_durability_finds_all(self) -> None:
        folder = Path(self.mktemp())
        globals_ = self.make(folder, interval=3600)
        await globals_.write(setter(globals_, b"v"))
        copy = Path(self.mktemp())
        shutil.copytree(folder, copy)
        lazy = self.make(copy, durability="interval")
        self.assertEqual(value_of(lazy), b"v")
        await lazy.close()
        self.assertEqual(value_of(self.make(copy)), b"v")

    async def test_no_journal_is_left_by_an_orderly_end(self) -> None:
        folder = Path(self.mktemp())
        globals_ = self.make(folder)
        await globals_.write(setter(globals_, b"v"))
        await globals_.close()
        self.assertEqual([path.name for path in folder.iterdir()], ["data.mdb"])

    async def test_a_journal_of_another_file_is_refused(self) -> None:
        folder = Path(self.mktemp())
        globals_ = self.make(folder, interval=3600)
        await globals_.write(setter(globals_, b"old"))
        copy = Path(self.mktemp())
        shutil.copytree(folder, copy)
        for name in NAMES:
            (copy / name).unlink()
        other = self.make(copy, interval=3600)
        for number in range(3):
            await other.write(setter(other, b"new", b"%d" % number))
            other._commit()
            await self.settled(other)
        await other.close()
        for name in NAMES:
            shutil.copy(folder / name, copy / name)
        before = (copy / "data.mdb").read_bytes()
        for _ in range(2):
            with self.assertRaises(StoreUnavailable) as caught:
                Globals(copy, reactor).open()
            self.assertIn("do not belong together", str(caught.exception))
        self.assertEqual((copy / "data.mdb").read_bytes(), before)

    async def test_the_map_grows_for_what_the_journal_has(self) -> None:
        folder = Path(self.mktemp())
        globals_ = self.make(folder, interval=3600, map_size=1 << 20)
        for number in range(300):
            await globals_.write(setter(globals_, b"v" * 9000, b"%d" % number))
        copy = Path(self.mktemp())
        shutil.copytree(folder, copy)
        crashed = self.make(copy, map_size=1 << 20)
        self.assertEqual({value_of(crashed, b"%d" % number) for number in range(300)}, {b"v" * 9000})

    async def test_a_start_that_fails_leaves_all_for_the_next(self) -> None:
        folder = Path(self.mktemp())
        globals_ = self.make(folder, interval=3600)
        await globals_.write(setter(globals_, b"v"))
        copy = Path(self.mktemp())
        shutil.copytree(folder, copy)
        for name in ("_repeat", "_settle"):
            with mock.patch.object(GlobalsFile, name, broken), self.assertRaises(StoreUnavailable):
                Globals(copy, reactor).open()
        self.assertEqual(value_of(self.make(copy)), b"v")

    async def test_a_start_that_fails_keeps_a_long_journal(self) -> None:
        self.patch(journal, "KEPT", 1 << 20)
        folder = Path(self.mktemp())
        globals_ = self.make(folder, interval=3600)
        for number in range(100):
            await globals_.write(setter(globals_, b"v" * 30_000, b"%d" % number))
        copy = Path(self.mktemp())
        shutil.copytree(folder, copy)
        with mock.patch.object(GlobalsFile, "_settle", broken), self.assertRaises(StoreUnavailable):
            Globals(copy, reactor).open()
        again = self.make(copy)
        self.assertEqual({value_of(again, b"%d" % number) for number in range(100)}, {b"v" * 30_000})


class EndTests(GlobalsCase):
    async def test_what_waits_is_done_before_the_end(self) -> None:
        self.patch(service, "REMOVALS", 10)
        for durability in ("message", "interval"):
            folder = Path(self.mktemp())
            globals_ = self.make(folder, durability=durability, interval=3600)
            await globals_.write(filler(globals_))
            everything = globals_.key(b"", b"X", [])
            killing = globals_.write(lambda update, key=everything: update.kill(key))
            waiting = [globals_.write(setter(globals_, b"new", b"%d" % number)) for number in range(2)]
            # This one begins a batch of nothing.
            waiting.insert(0, globals_.write(lambda update, key=everything: update.get(key)))
            await globals_.close()
            for one in (killing, *waiting):
                self.successResultOf(one)
            again = self.make(folder)
            self.assertEqual([value_of(again, b"%d" % number) for number in range(3)], [b"new", b"new", None])

    async def test_what_waits_and_changes_nothing_does_not_keep_the_end(self) -> None:
        self.patch(service, "REMOVALS", 10)
        folder = Path(self.mktemp())
        globals_ = self.make(folder, interval=3600)
        await globals_.write(filler(globals_))
        globals_.write(lambda update: update.kill(globals_.key(b"", b"X", [])))
        waiting = globals_.write(lambda update: update.get(globals_.key(b"", b"X", [b"0"])))
        await globals_.close()
        self.assertIsNone(self.successResultOf(waiting))
        self.assertEqual([path.name for path in folder.iterdir()], ["data.mdb"])

    async def test_everybody_is_told_where_the_disk_fails_at_the_end(self) -> None:
        self.patch(service, "REMOVALS", 10)
        held = threading.Event()
        self.addCleanup(held.set)
        self.patch(GlobalsFile, "_flush", lambda file: (held.wait(60), broken()))
        self.patch(GlobalsFile, "open", opened_first(GlobalsFile.open))
        folder = Path(self.mktemp())
        globals_ = self.make(folder, interval=3600)
        await globals_.write(filler(globals_))
        globals_._commit()
        everything = globals_.key(b"", b"X", [])
        killing = globals_.write(lambda update: update.kill(everything))
        later = globals_.write(setter(globals_, b"new", b"7"))
        closing = globals_.close()
        held.set()
        await closing
        self.failureResultOf(killing, StoreUnavailable)
        self.failureResultOf(later, StoreUnavailable)
        self.flushLoggedErrors(StoreUnavailable)
        self.patch(GlobalsFile, "_flush", lambda file: os.fdatasync(file._descriptor))
        self.assertEqual(value_of(self.make(folder), b"7"), b"v")

    async def test_a_disk_that_fails_once_loses_nothing_at_the_end(self) -> None:
        folder = Path(self.mktemp())
        globals_ = self.make(folder, durability="interval", interval=3600)
        await globals_.write(setter(globals_, b"answered"))
        settle, fails = GlobalsFile._settle, [True]
        self.patch(GlobalsFile, "_settle", lambda file: broken() if fails and fails.pop() else settle(file))
        await globals_.close()
        self.assertEqual(value_of(self.make(folder)), b"answered")

    async def test_an_end_that_comes_half_way_is_none(self) -> None:
        folder = Path(self.mktemp())
        globals_ = self.make(folder)
        await globals_.write(setter(globals_, b"answered"))
        real, removed = Path.unlink, []

        def one_only(path: Path, **options: Any) -> None:
            if removed:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            removed.append(path)
            real(path, **options)

        with mock.patch.object(Path, "unlink", one_only):
            await globals_.close()
        self.assertEqual(len(list(folder.iterdir())), 2)
        self.assertEqual(value_of(self.make(folder)), b"answered")


class JournalTests(SynchronousTestCase):
    """The files themselves."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.journal = Journal(self.folder)
        self.journal.open()
        self.addCleanup(self.journal.close)

    def settle(self, number: int) -> None:
        self.journal.settle(number, b"m" * 2 * PAGE)

    def put(self, value: bytes) -> None:
        self.journal.write(record_of([(b"key", value), (b"killed", None)]))

    def found(self) -> list[bytes | None]:
        """The values that a start finds, and nothing of one that is not whole."""
        journal = Journal(self.folder)
        journal.read_base()
        records: list[Updates] = list(journal.records())
        self.assertEqual([record[1] for record in records], [(b"killed", None)] * len(records))
        return [record[0][1] for record in records]

    def test_nothing_is_found_before_the_first_base(self) -> None:
        self.put(b"1")
        self.assertEqual(self.found(), [])

    def test_records_are_found_in_order_before_and_after_a_commit(self) -> None:
        self.settle(1)
        for _ in range(4):
            self.put(b"1")
            self.put(b"v" * 10_000)
            self.assertEqual(self.found(), [b"1", b"v" * 10_000])
            self.journal.turn()
            self.put(b"")
            self.assertEqual(self.found(), [b"1", b"v" * 10_000, b""])
            self.settle(2)
            self.assertEqual(self.found(), [b""])
            self.journal.turn()
            self.settle(3)
            self.assertEqual(self.found(), [])

    def test_a_record_that_is_cut_anywhere_is_none(self) -> None:
        self.settle(1)
        self.put(b"1")
        end = self.journal._end
        self.put(b"v" * 10_000)
        path = self.folder / NAMES[self.journal.number % 2]
        whole = path.read_bytes()
        for length in (end, end + 1, end + 30, end + PAGE, end + 2 * PAGE, end + 10_000):
            path.write_bytes(whole[:length])
            self.assertEqual(self.found(), [b"1"])
            path.write_bytes(whole[:length] + bytes(len(whole) - length))
            self.assertEqual(self.found(), [b"1"])

    def test_a_base_that_is_cut_is_none(self) -> None:
        self.settle(1)
        self.put(b"1")
        self.journal.turn()
        self.put(b"2")
        path = self.folder / NAMES[self.journal.number % 2]
        before = path.read_bytes()
        self.settle(2)
        after = path.read_bytes()
        self.assertEqual(self.found(), [b"2"])
        for length in (1, 40, 70, PAGE + 1, 2 * PAGE, 3 * PAGE - 1):
            path.write_bytes(after[:length] + before[length:])
            self.assertEqual(self.found(), [b"1", b"2"])

    def test_nothing_stays_of_a_base_that_failed(self) -> None:
        self.settle(1)
        self.put(b"1")
        self.journal.turn()
        self.put(b"2")
        with mock.patch.object(os, "fdatasync", broken), self.assertRaises(OSError):
            self.settle(2)
        # It may be there, or not.
        self.assertEqual(self.found(), [b"2"])
        self.assertEqual(self.journal.take_back().transaction, 1)
        self.assertEqual(self.found(), [b"1", b"2"])

    def test_a_record_in_a_value_is_none(self) -> None:
        # An agent who knew all but the token, in a place where records may begin.
        good = record_of([(b"key", b"forged"), (b"killed", None)])
        head = len(good).to_bytes(4, "little") + zlib.crc32(good).to_bytes(4, "little")
        before = len(record_of([(b"key", b"")])) + 24

        def write() -> None:
            self.journal.open()
            self.settle(1)
            self.put(bytes(PAGE - before) + b"t" * 16 + head + good + bytes(PAGE))
            for number in (2, 3):
                self.journal.turn()
                self.settle(number)
            self.put(b"1")

        write()
        self.assertEqual(self.found(), [b"1"])
        # It is only the token that it lacks.
        with mock.patch.object(os, "urandom", lambda length: b"t" * length):
            write()
        self.assertEqual(self.found(), [b"1", b"forged"])

    def test_what_could_not_be_written_is_not_found(self) -> None:
        self.settle(1)
        self.put(b"1")
        with mock.patch.object(os, "fdatasync", broken), self.assertRaises(OSError):
            self.put(b"2" * 10_000)
        self.assertEqual(self.found(), [b"1"])
        self.put(b"3")
        self.assertEqual(self.found(), [b"1", b"3"])

    def test_a_disk_that_is_nearly_full_takes_what_fits(self) -> None:
        self.settle(1)
        _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
        before = self.journal._end
        resource.setrlimit(resource.RLIMIT_FSIZE, (before + 3 * PAGE, most))
        try:
            self.put(b"1")
            self.put(b"2")
            with self.assertRaises(OSError):
                self.put(b"3" * 2 * PAGE)
            self.put(b"4")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        self.assertEqual(self.found(), [b"1", b"2", b"4"])
        self.put(b"5")
        self.assertEqual(self.found(), [b"1", b"2", b"4", b"5"])

    def test_it_gets_shorter_again(self) -> None:
        self.settle(1)
        with mock.patch("pfserver.store.globals.journal.KEPT", 2 << 20):
            for number in range(4):
                self.put(b"v" * (4 << 20 if number == 0 else 1))
                self.journal.turn()
                self.settle(2 + number)
        sizes = [(self.folder / name).stat().st_size for name in NAMES]
        self.assertLessEqual(max(sizes), 2 << 20)
