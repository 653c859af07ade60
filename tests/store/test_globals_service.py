"""When updates of globals are seen and when they are on disk: batches, durability, growth."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.internet.task import deferLater

from pfserver.errors import ConfigurationError, StoreUnavailable
from pfserver.store.globals import service
from pfserver.store.globals.batch import Batch
from pfserver.store.globals.journal import Journal
from pfserver.store.globals.service import Globals
from tests.store.globals_support import GlobalsCase, no_space, setter, value_of


class MessageTests(GlobalsCase):
    async def test_an_update_is_seen_at_once_and_told_when_it_is_in_the_journal(self) -> None:
        folder, steps = Path(self.mktemp()), []
        write = Journal.write
        self.patch(Journal, "write", lambda journal, record: (write(journal, record), steps.append("written")))
        globals_ = self.make(folder, interval=3600)
        writing = globals_.write(setter(globals_, b"v"))
        writing.addCallback(lambda _: steps.append("told"))
        self.assertEqual(value_of(globals_), b"v")
        self.assertNoResult(writing)
        await writing
        self.assertEqual(steps, ["written", "told"])

    async def test_updates_are_made_in_their_order_and_see_one_another(self) -> None:
        globals_ = self.make()
        key = globals_.key(b"", b"X", [])

        def add(update: Any) -> bytes:
            value = (update.get(key) or b"") + b"x"
            update.set(key, value)
            return value

        first = await gatherResults([globals_.write(add) for _ in range(3)])
        # The first of these is committed while the others queue up.
        rest = [globals_.write(add)]
        await self._next_turn()
        rest += [globals_.write(add) for _ in range(3)]
        self.assertEqual([len(one) for one in first + await gatherResults(rest)], [1, 2, 3, 4, 5, 6, 7])

    async def _next_turn(self) -> None:
        await deferLater(reactor, 0, lambda: None)

    def watch_records(self) -> list[int]:
        """How many updates are in each record that is written from now on."""
        sizes: list[int] = []
        record = service.record_of
        self.patch(service, "record_of", lambda updates: (sizes.append(len(updates)), record(updates))[1])
        return sizes

    async def test_messages_of_one_turn_share_a_record(self) -> None:
        globals_, sizes = self.make(), self.watch_records()
        await gatherResults([globals_.write(setter(globals_, b"v", b"%d" % number)) for number in range(50)])
        self.assertEqual(sizes, [50])

    async def test_what_comes_while_a_record_is_written_shares_the_next(self) -> None:
        globals_, sizes = self.make(), self.watch_records()
        written = [globals_.write(setter(globals_, b"v", b"first"))]
        await self._next_turn()
        written += [globals_.write(setter(globals_, b"v", b"%d" % number)) for number in range(9)]
        await gatherResults(written)
        self.assertEqual(sizes, [1, 9])

    async def test_what_changes_nothing_is_told_without_a_record(self) -> None:
        globals_, sizes = self.make(), self.watch_records()
        self.assertEqual(await globals_.write(lambda update: update.define(globals_.key(b"", b"X", []))), 0)
        self.assertEqual(sizes, [])

    async def test_very_many_that_change_nothing(self) -> None:
        globals_ = self.make()
        key = globals_.key(b"", b"X", [])
        writing = globals_.write(setter(globals_, b"v"))
        for _ in range(3000):
            self.assertEqual(await globals_.write(lambda update: update.get(key)), b"v")
        await writing

    async def test_all_is_committed_after_the_interval(self) -> None:
        globals_, commits = self.make(interval=0.01), self.watch_commits()
        for number in range(3):
            await globals_.write(setter(globals_, b"v", b"%d" % number))
        while sum(commits) < 3:
            await self._next_turn()
        self.assertIsNone(globals_._current.batch)

    async def test_what_raises_is_told_and_leaves_nothing_while_others_are_kept(self) -> None:
        globals_ = self.make()

        def bad(update: Any) -> None:
            setter(globals_, b"bad", b"bad")(update)
            raise ZeroDivisionError

        good, failed = globals_.write(setter(globals_, b"1", b"a")), globals_.write(bad)
        later = globals_.write(setter(globals_, b"2", b"b"))
        await self.assertFailure(failed, ZeroDivisionError)
        await gatherResults([good, later])
        self.assertEqual([value_of(globals_, one) for one in (b"a", b"bad", b"b")], [b"1", None, b"2"])

    async def test_all_is_there_after_a_reopening(self) -> None:
        folder = Path(self.mktemp())
        globals_ = self.make(folder)
        await globals_.write(setter(globals_, b"kept", b"1"))
        last = globals_.write(setter(globals_, b"last", b"2"))
        await globals_.close()
        self.successResultOf(last)
        again = self.make(folder)
        self.assertEqual([value_of(again, b"1"), value_of(again, b"2")], [b"kept", b"last"])

    async def test_nothing_is_written_after_the_end(self) -> None:
        globals_ = self.make()
        await globals_.close()
        await self.assertFailure(globals_.write(setter(globals_, b"v")), StoreUnavailable)

    async def test_a_large_tree_is_removed_while_the_reactor_goes_on(self) -> None:
        self.patch(service, "REMOVALS", 10)
        # Short keys, and such as share a bucket.
        kinds: list[tuple[str, list[bytes]]] = [("message", []), ("interval", []), ("message", [b"s" * 255] * 3)]
        for durability, level in kinds:
            globals_, places = self.make(durability=durability), []
            keys = [globals_.key(b"", b"X", [*level, b"%d" % number]) for number in range(100)]
            await globals_.write(lambda update, keys=keys: [update.set(key, b"v") for key in keys] and None)
            run = Batch.run

            def watch(batch: Any, function: Any, allowance: Any = None, run: Any = run, places: Any = places) -> Any:
                places.append(allowance)
                return run(batch, function, allowance)

            self.patch(Batch, "run", watch)
            everything = globals_.key(b"", b"X", [])
            killing = globals_.write(lambda update, key=everything: update.kill(key))
            # Nothing is acknowledged yet, so all is still to be seen.
            self.assertEqual(value_of(globals_, *level, b"7"), b"v")
            waiting = globals_.write(setter(globals_, b"new", *level, b"7"))
            await gatherResults([killing, waiting])
            self.assertIn(None, places)
            self.assertEqual([value_of(globals_, *level, b"6"), value_of(globals_, *level, b"7")], [None, b"new"])
            self.patch(Batch, "run", run)

    async def test_what_cannot_be_written_is_told_and_the_next_works(self) -> None:
        folder = Path(self.mktemp())
        globals_ = self.make(folder, interval=3600)
        await globals_.write(setter(globals_, b"before"))
        with mock.patch.object(os, "fdatasync", side_effect=OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))):
            failing = [globals_.write(setter(globals_, b"lost"))]
            await self._next_turn()
            # It may have seen what is not kept.
            failing.append(globals_.write(setter(globals_, b"lost", b"later")))
            for one in failing:
                failed = await self.assertFailure(one, StoreUnavailable)
                self.assertEqual(str(failed), "globals cannot be written: No space left on device")
        self.assertEqual([value_of(globals_), value_of(globals_, b"later")], [b"before", None])
        crashed = self.crashed(folder)
        self.assertEqual([value_of(crashed), value_of(crashed, b"later")], [b"before", None])
        await globals_.write(setter(globals_, b"after"))
        self.assertEqual(value_of(globals_), b"after")

    def test_an_unknown_durability_is_refused(self) -> None:
        with self.assertRaises(ConfigurationError):
            Globals(Path(self.mktemp()), reactor, "never")


class IntervalTests(GlobalsCase):
    async def test_an_update_is_answered_and_seen_at_once(self) -> None:
        globals_ = self.make(durability="interval", interval=3600)
        self.successResultOf(globals_.write(setter(globals_, b"v")))
        self.assertEqual(value_of(globals_), b"v")

    async def test_closing_writes_what_is_open(self) -> None:
        folder = Path(self.mktemp())
        globals_ = self.make(folder, durability="interval", interval=3600)
        self.successResultOf(globals_.write(setter(globals_, b"v")))
        await globals_.close()
        self.assertEqual(value_of(self.make(folder)), b"v")

    async def test_updates_beyond_the_limit_are_committed_early(self) -> None:
        self.patch(service, "OPEN_LIMIT", 3)
        globals_, commits = self.make(durability="interval", interval=3600), self.watch_commits()
        for _ in range(2):
            for number in range(4):
                self.successResultOf(globals_.write(setter(globals_, b"v", b"%d" % number)))
            await self.settled(globals_)
        # The fourth came while the others settled; with two more there are three.
        self.assertEqual(commits, [3, 3])

    async def test_bytes_beyond_the_limit_are_committed_early(self) -> None:
        self.patch(service, "OPEN_BYTES", 1000)
        globals_, commits = self.make(durability="interval", interval=3600), self.watch_commits()

        def fail(update: Any) -> None:
            setter(globals_, b"v" * 500)(update)
            raise ZeroDivisionError

        for number in range(5):
            # What was undone does not count.
            self.failureResultOf(globals_.write(fail), ZeroDivisionError)
            self.successResultOf(globals_.write(setter(globals_, b"v" * 400, b"%d" % number)))
            await self.settled(globals_)
        # A kill keeps nothing but its key.
        key = globals_.key(b"", b"X", [b"k" * 255] * 4)
        self.assertIsNone(self.successResultOf(globals_.write(lambda update: update.kill(key))))
        self.assertEqual(commits, [3, 3])

    async def test_what_was_answered_is_kept_until_it_can_be_written(self) -> None:
        folder = Path(self.mktemp())
        globals_ = self.make(folder, durability="interval", interval=3600)
        self.successResultOf(globals_.write(setter(globals_, b"answered")))
        with mock.patch.object(Batch, "commit", no_space):
            globals_._commit()
        self.failureResultOf(globals_.write(setter(globals_, b"refused")), StoreUnavailable)
        self.assertEqual(value_of(globals_), b"answered")
        globals_._commit()
        self.successResultOf(globals_.write(setter(globals_, b"later", b"1")))
        await globals_.close()
        again = self.make(folder)
        self.assertEqual([value_of(again), value_of(again, b"1")], [b"answered", b"later"])


class AtOnceTests(GlobalsCase):
    """``try_write``: at once or not at all."""

    def setUp(self) -> None:
        self.globals = self.make(durability="interval", interval=3600, map_size=1 << 20)
        self.successResultOf(self.globals.write(setter(self.globals, b"before")))
        self.key = self.globals.key(b"", b"X", [b"1"])

    def put(self, update: Any, value: bytes) -> bytes:
        update.set(self.key, value)
        return b"done"

    def test_it_is_seen(self) -> None:
        self.assertEqual(self.globals.try_write(self.put, b"v"), b"done")
        self.assertEqual(value_of(self.globals, b"1"), b"v")

    async def test_it_is_on_disk_after_the_commit(self) -> None:
        self.globals.try_write(self.put, b"v")
        await self.globals.close()
        self.assertEqual(value_of(self.make(self.globals._file._folder), b"1"), b"v")

    def test_it_counts_for_the_limit(self) -> None:
        self.patch(service, "OPEN_LIMIT", 3)
        self.assertEqual([self.globals.try_write(self.put, b"v") for _ in range(3)], [b"done", b"done", None])
        self.assertIsNone(self.globals._current.batch)

    async def test_not_where_it_is_waited_for(self) -> None:
        safe = self.make()
        waiting = safe.write(setter(safe, b"v"))
        self.assertIsNone(safe.try_write(self.put, b"v"))
        await waiting
        self.assertIsNone(value_of(safe, b"1"))

    def test_what_raises_leaves_nothing(self) -> None:
        def fail(update: Any) -> None:
            self.put(update, b"v")
            raise ZeroDivisionError

        self.assertRaises(ZeroDivisionError, self.globals.try_write, fail)
        self.assertEqual([value_of(self.globals), value_of(self.globals, b"1")], [b"before", None])

    def test_what_takes_long_is_not_done(self) -> None:
        self.patch(service, "REMOVALS", 1)
        self.globals.try_write(self.put, b"v")
        everything = self.globals.key(b"", b"X", [])
        self.assertIsNone(self.globals.try_write(lambda update: update.kill(everything) or b"done"))
        self.assertEqual([value_of(self.globals), value_of(self.globals, b"1")], [b"before", b"v"])

    def test_what_does_not_fit_into_the_map_is_written_when_it_has_grown(self) -> None:
        keys = [self.globals.key(b"", b"X", [b"%d" % number]) for number in range(2000)]

        def fill(update: Any) -> bytes:
            for key in keys:
                update.set(key, b"v" * 1000)
            return b"done"

        self.assertIsNone(self.globals.try_write(fill))
        self.assertEqual([value_of(self.globals), value_of(self.globals, b"1")], [b"before", None])
        self.assertEqual(self.successResultOf(self.globals.write(fill)), b"done")
        self.assertEqual(self.globals.try_write(self.put, b"w"), b"done")
        self.assertEqual([value_of(self.globals, b"1"), value_of(self.globals, b"1999")], [b"w", b"v" * 1000])

    async def test_not_while_the_disk_is_full_and_not_after_the_end(self) -> None:
        with mock.patch.object(Batch, "commit", no_space):
            self.globals._commit()
        self.assertIsNone(self.globals.try_write(self.put, b"v"))
        self.globals._commit()
        self.successResultOf(self.globals.write(setter(self.globals, b"later")))
        closing = self.globals.close()
        self.assertIsNone(self.globals.try_write(self.put, b"v"))
        await closing


class GrowthTests(GlobalsCase):
    async def _fill(self, durability: str) -> None:
        folder = Path(self.mktemp())
        globals_ = self.make(folder, durability=durability, interval=3600, map_size=1 << 20)
        keys = [globals_.key(b"", b"X", [b"%d" % number]) for number in range(4000)]

        def part(start: int) -> Callable[[Any], None]:
            def fill(update: Any) -> None:
                for key in keys[start : start + 400]:
                    update.set(key, b"v" * 1000)

            return fill

        await gatherResults([globals_.write(part(start)) for start in range(0, 2000, 400)])
        for start in range(2000, 4000, 400):
            await globals_.write(part(start))
        await globals_.close()
        again = self.make(folder, map_size=1 << 20)
        self.assertEqual({again.view().get(key) for key in keys}, {b"v" * 1000})

    async def test_the_map_grows_with_each_message_on_disk(self) -> None:
        await self._fill("message")

    async def test_the_map_grows_between_intervals(self) -> None:
        await self._fill("interval")
