"""Globals against a plain-Python model: collation, all operations, keys of any length."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path as FilePath
from typing import Any

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase, TestCase

from pfserver.errors import ReferenceTooLong
from pfserver.interfaces import ENVIRONMENT_BYTES
from pfserver.store.globals.batch import Batch
from pfserver.store.globals.collation import decode, encode
from pfserver.store.globals.file import GlobalsFile
from pfserver.store.globals.keys import KEY_BYTES, key_of
from pfserver.store.globals.nodes import Nodes
from pfserver.store.globals.service import Globals
from pfserver.store.globals.view import TooMuch
from tests.store.globals_model import Collated, Model, Path, collated

NUMBERS = st.one_of(
    st.integers(-1000, 1000).map(lambda number: b"%d" % number),
    st.integers(-(10**20), 10**20).map(lambda number: b"%d" % number),
    st.decimals(-1000, 1000, places=3).map(lambda number: str(number).encode()),
    st.sampled_from([b"0", b"-0", b"1.0", b"01", b".5", b"-.5", b"0.5", b"1E5", b"+1", b"-", b".", b"1.", b"-."]),
    st.integers(0, 60).map(lambda zeros: b"1" + b"0" * zeros),
    st.integers(0, 60).map(lambda zeros: b"-." + b"0" * zeros + b"12"),
)
STRINGS = st.one_of(
    st.binary(min_size=1, max_size=6),
    st.lists(st.sampled_from([b"\0", b"\1", b"\2", b"\xff", b"a", b"0"]), min_size=1, max_size=5).map(b"".join),
)
SUBSCRIPTS = st.one_of(NUMBERS, STRINGS)
#: Few different ones, so that they meet; some make keys of more than one piece, and pieces that are 0xFF all through.
FEW = st.sampled_from(
    [
        *(b"1", b"2", b"-1", b".5", b"10", b"a", b"a\0", b"a\0b", b"a\1"),
        *(b"\xff", b"\xff" * 255, b"\xff" * 1100, b"x" * 255, b"x" * 254, b"\0" * 255),
    ]
)
PATHS = st.tuples(
    st.sampled_from([b"", b"a", b"a\0b", b"/var/m.gld", b"\xff" * 254, b"\xff" * 255, b"a" * 250 + b"\xff" * 5]),
    st.sampled_from([b"X", b"X1", b"%X", b"Y"]),
    st.lists(FEW, max_size=5).map(tuple),
)
STARTS = st.tuples(PATHS, st.booleans()).map(lambda pair: (*pair[0][:2], (*pair[0][2], b"")) if pair[1] else pair[0])


class CollationTests(SynchronousTestCase):
    @given(SUBSCRIPTS, SUBSCRIPTS)
    def test_encoded_subscripts_compare_as_collated(self, one: bytes, other: bytes) -> None:
        self.assertEqual(encode(one) < encode(other), Collated(one) < Collated(other))
        self.assertEqual(encode(one) == encode(other), one == other)

    @given(SUBSCRIPTS)
    def test_decoding_gives_the_subscript(self, subscript: bytes) -> None:
        encoded = encode(subscript)
        self.assertEqual(decode(encoded[:-1]), subscript)
        self.assertEqual(encoded.index(b"\0"), len(encoded) - 1)

    @given(st.lists(SUBSCRIPTS, max_size=4), st.lists(SUBSCRIPTS, max_size=4))
    def test_keys_compare_as_nodes_are_walked(self, one: list[bytes], other: list[bytes]) -> None:
        keys = key_of(b"", b"X", one), key_of(b"", b"X", other)
        self.assertEqual(keys[0] < keys[1], collated(tuple(one)) < collated(tuple(other)))
        self.assertEqual(keys[1].startswith(keys[0]), other[: len(one)] == one)

    def test_a_key_beyond_all_limits_is_refused(self) -> None:
        with self.assertRaises(ReferenceTooLong):
            key_of(b"", b"X", [b"x" * KEY_BYTES])

    def test_an_environment_beyond_its_limit_is_refused(self) -> None:
        key_of(b"e" * ENVIRONMENT_BYTES, b"X", [])
        with self.assertRaises(ReferenceTooLong):
            key_of(b"e" * (ENVIRONMENT_BYTES + 1), b"X", [])


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), PATHS, st.binary(max_size=3)),
        st.tuples(st.just("set"), PATHS, st.binary(max_size=3)),
        st.tuples(st.just("kill"), PATHS, st.just(b"")),
    ),
    min_size=1,
    max_size=30,
)


class BatchCase(SynchronousTestCase):
    """One file for all examples: each begins with a transaction that is never committed."""

    def setUp(self) -> None:
        self.folder = FilePath(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        self.file = GlobalsFile(self.folder)
        self.file.open()
        self.addCleanup(self.file.close)

    def batch(self) -> Batch:
        """One that is open."""
        batch = Batch(self.file)
        batch.again()
        return batch


class OperationTests(BatchCase):
    @given(OPERATIONS, st.lists(STARTS, min_size=1, max_size=20))
    @settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    def test_every_operation_equals_the_model(self, operations: list[Any], starts: list[Path]) -> None:
        model, batch = Model(), self.batch()
        self.addCleanup(batch.abort)

        def update(globals_: Any) -> None:
            for verb, path, value in operations:
                if verb == "set":
                    model.set(path, value)
                    globals_.set(key_of(*path), value)
                else:
                    model.kill(path)
                    globals_.kill(key_of(*path))

        batch.run(update)
        for path in [*starts, *model.nodes]:
            self._compare(batch.view, model, path)
        batch.abort()

    def _compare(self, view: Any, model: Model, path: Path) -> None:
        key = key_of(*path)
        for reverse in (False, True):
            self.assertEqual(view.order(key, reverse), model.order(path, reverse), ("order", path, reverse))
            self.assertEqual(view.query(key, reverse), model.query(path, reverse), ("query", path, reverse))
        if not path[2] or path[2][-1]:
            self.assertEqual(view.get(key), model.get(path))
            self.assertEqual(view.define(key), model.define(path), ("define", path))

    @given(OPERATIONS, OPERATIONS)
    @settings(max_examples=50, deadline=None)
    def test_a_function_that_raises_leaves_nothing(self, before: list[Any], after: list[Any]) -> None:
        assume(before)
        batch = self.batch()
        self.addCleanup(batch.abort)

        def apply(globals_: Any, operations: list[Any]) -> None:
            for verb, path, value in operations:
                if verb == "set":
                    globals_.set(key_of(*path), value)
                else:
                    globals_.kill(key_of(*path))

        def fail(globals_: Any) -> None:
            apply(globals_, after)
            raise ZeroDivisionError

        batch.run(lambda globals_: apply(globals_, before))
        expected = {path: batch.view.get(key_of(*path)) for _, path, _ in before + after}
        with self.assertRaises(ZeroDivisionError):
            batch.run(fail)
        self.assertEqual({path: batch.view.get(key_of(*path)) for path in expected}, expected)
        batch.abort()


#: Keys of any bytes, of one piece to four, that often share pieces or differ only where one ends.
RUNS = st.tuples(st.sampled_from([b"\0", b"a", b"\xff"]), st.sampled_from([1, 2, 500, 502, 503, 509, 510, 511, 600]))
KEYS = st.lists(RUNS.map(lambda run: run[0] * run[1]), min_size=1, max_size=3).map(b"".join)


class NodesTests(BatchCase):
    """Keys of any length and any bytes, against a sorted list."""

    @given(st.lists(KEYS, min_size=1, max_size=12, unique=True), st.lists(KEYS, max_size=12), KEYS)
    @settings(max_examples=300, deadline=None)
    def test_all_are_found_from_both_sides(self, keys: list[bytes], places: list[bytes], removed: bytes) -> None:
        transaction = self.file.update()
        try:
            nodes = Nodes(transaction, self.file.rests)
            for key in keys:
                nodes.put(key, key[:5])
            self._compare(nodes, sorted(keys), places)
            gone = [key for key in keys if key.startswith(removed)]
            self.assertEqual(nodes.remove(removed, None), len(gone))
            self._compare(nodes, sorted(set(keys) - set(gone)), places)
        finally:
            transaction.abort()

    def _compare(self, nodes: Nodes, keys: list[bytes], places: list[bytes]) -> None:
        for place in [*keys, *places]:
            self.assertEqual(nodes.get(place), place[:5] if place in keys else None)
            self.assertEqual(nodes.at_or_after(place), next((key for key in keys if key >= place), None))
            self.assertEqual(nodes.before(place), next((key for key in reversed(keys) if key < place), None))


class RemovalTests(BatchCase):
    """Removing is bounded, however long the keys are."""

    def test_no_more_is_removed_than_allowed(self) -> None:
        # Keys of one LMDB key, of one in a bucket, and of one in a bucket's bucket.
        for level in ([], [b"s" * 255] * 2, [b"s" * 255] * 4):
            batch = self.batch()
            keys = [key_of(b"", b"X", [*level, b"%d" % number]) for number in range(500)]

            def fill(update: Any, keys: list[bytes] = keys) -> None:
                for key in keys:
                    update.set(key, b"v")

            batch.run(fill)
            # Above the buckets, and within the one that all are in.
            for place in ([], level):
                removed = self.nodes(batch).remove(key_of(b"", b"X", place), 100)
                self.assertEqual(removed, 101)
                left = [key for key in keys if batch.view.get(key) is not None]
                self.assertEqual(len(left), 500 - 101)
                # A pointer to what is left is still there.
                self.assertEqual(batch.view.define(key_of(b"", b"X", [])), 10)
                batch.again()
            with self.assertRaises(TooMuch):
                batch.run(lambda update: update.kill(key_of(b"", b"X", [])), 100)
            self.assertEqual(sum(batch.view.get(key) is not None for key in keys), 500)
            batch.run(lambda update: update.kill(key_of(b"", b"X", [])), 500)
            self.assertEqual(batch.view.define(key_of(b"", b"X", [])), 0)
            batch.abort()

    def test_what_takes_as_long_counts_with_it(self) -> None:
        batch = self.batch()
        key = key_of(b"", b"X", [b"1"])

        def work(update: Any) -> None:
            for _ in range(2):
                update.set(key, b"v")
                update.charge(50)
            update.kill(key)

        with self.assertRaises(TooMuch):
            batch.run(work, 100)
        batch.run(work, 101)
        batch.run(work)
        batch.abort()

    @staticmethod
    def nodes(batch: Any) -> Nodes:
        """The nodes that a batch works on."""
        nodes: Nodes = batch._update._nodes
        return nodes


class LongKeyTests(TestCase):
    async def test_keys_beyond_the_limit_of_lmdb_stay_in_order(self) -> None:
        globals_ = Globals(FilePath(self.mktemp()), reactor)
        globals_.open()
        self.addCleanup(globals_.close)
        long = [b"s" * 255] * 3
        paths = [(*long, b"%d" % number, b"t" * 200) for number in (2, 10, -1, 1)]

        def fill(update: Any) -> None:
            for path in paths:
                update.set(globals_.key(b"", b"X", path), path[3])

        await globals_.write(fill)

        def walk(view: Any) -> list[bytes]:
            found, subscripts = [], view.query(globals_.key(b"", b"X", []))
            while subscripts is not None:
                found.append(subscripts[3])
                subscripts = view.query(globals_.key(b"", b"X", subscripts))
            return found

        self.assertEqual(walk(globals_.view()), [b"-1", b"1", b"2", b"10"])
        await globals_.write(lambda update: update.kill(globals_.key(b"", b"X", [*long, b"1"])))
        level = globals_.key(b"", b"X", [*long, b"-1"])
        self.assertEqual(globals_.view().order(level), b"2")
        await globals_.write(lambda update: update.kill(globals_.key(b"", b"X", long[:1])))
        self.assertEqual(globals_.view().define(globals_.key(b"", b"X", [])), 0)
        self.assertEqual(globals_.view().order(globals_.key(b"", b"%", [])), b"")
