"""The lock table against a plain model."""

from __future__ import annotations

import tracemalloc
from collections import Counter

from attrs import evolve
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from pfserver.engine import order
from pfserver.engine.locks import LOCK_BYTES, LockTable
from pfserver.model import HeldLock

#: Environment, name, subscripts.
Name = tuple[bytes, bytes, tuple[bytes, ...]]

#: Bytes that are not what they seem where strings are ended by zeros.
parts = st.sampled_from([b"1", b"2", b"", b"\0", b"\1", b"1\0", b"\0\1", b"\xff"])
few = st.sampled_from([b"1", b"2"])
names = st.tuples(
    st.sampled_from([b"", b"\0", b"e"]), st.sampled_from([b"A", b"B"]), st.lists(few | parts, max_size=4).map(tuple)
)
sessions = st.integers(1, 3)
clients = st.sampled_from([b"10", b"11"])


def lock(name: Name, session: int, client: bytes) -> HeldLock:
    return HeldLock(*name, session, client, "", 1)


def deep(number: int) -> Name:
    return b"", b"A", (b"%d" % number, *[b"a"] * 500)


class Locks(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.table = LockTable()
        self.model: dict[tuple[Name, int, bytes], int] = {}

    @rule(name=names, session=sessions, client=clients)
    def take(self, name: Name, session: int, client: bytes) -> None:
        in_the_way = [
            other
            for (other, *owner), count in self.model.items()
            if owner != [session, client] and other[:2] == name[:2]
            if other[2][: len(name[2])] == name[2] or name[2][: len(other[2])] == other[2]
        ]
        granted = self.table.take(lock(name, session, client))
        assert granted is not bool(in_the_way)
        if granted:
            key = name, session, client
            self.model[key] = self.model.get(key, 0) + 1

    @rule(name=names, session=sessions, client=clients)
    def give_back(self, name: Name, session: int, client: bytes) -> None:
        self.table.give_back(lock(name, session, client))
        self._give_back((name, session, client))

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def give_back_one_that_is_held(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.model)))
        self.table.give_back(lock(*key))
        self._give_back(key)

    def _give_back(self, key: tuple[Name, int, bytes]) -> None:
        if self.model.get(key, 0) > 1:
            self.model[key] -= 1
        else:
            self.model.pop(key, None)

    @rule(session=sessions, client=st.none() | clients)
    def release(self, session: int, client: bytes | None) -> None:
        self.table.release(session, client)
        self.model = {key: n for key, n in self.model.items() if key[1] != session or client not in (None, key[2])}

    @rule(start=st.integers(0, 5), most=st.none() | st.integers(0, 5), environment=st.sampled_from([b"", b"\0", b"e"]))
    def some(self, start: int, most: int | None, environment: bytes) -> None:
        every = self.table.held()
        end = None if most is None else start + most
        assert self.table.held(start, most) == every[start:end]
        of_one = [one for one in every if one.environment == environment]
        assert self.table.held(start, most, environment) == of_one[start:end]

    @invariant()
    def alike(self) -> None:
        held = self.table.held()
        expected = [lock(*key) for key in sorted(self.model)]
        assert [evolve(one, count=1) for one in held] == expected
        assert [one.count for one in held] == [self.model[key] for key in sorted(self.model)]
        environments = Counter(one.environment for one in held)
        assert list(self.table.environments().items()) == sorted(environments.items())
        if not held:
            assert not any(vars(self.table)[one] for one in _ROOMS)


#: What has to be empty, or zero, where there is no lock.
_ROOMS = "_size", "_sizes", "_owners", "_held", "_counts", "_order", "_environments"


class LockTableTests(SynchronousTestCase):
    def test_against_a_model(self) -> None:
        # So that some locks are several blocks.
        self.patch(order, "BLOCK", 3)
        run_state_machine_as_test(Locks, settings=settings(max_examples=100, stateful_step_count=50, deadline=None))

    def granted(self, table: LockTable, session: int, *names: Name) -> list[bool]:
        return [table.take(lock(name, session, b"1")) for name in names]

    def test_a_full_table_grants_no_more(self) -> None:
        names = [(b"", b"A", (b"%d" % number,)) for number in range(3)]
        table = LockTable(most=2 * (LOCK_BYTES + 10))
        self.assertEqual(self.granted(table, 1, *names), [True, True, False])
        self.assertEqual(self.granted(table, 1, names[0]), [True])
        self.assertEqual(self.granted(table, 2, names[2]), [False])
        table.release(1)
        self.assertEqual(self.granted(table, 2, names[2]), [True])

    def test_a_session_has_its_share(self) -> None:
        names = [(b"", b"A", (b"%d" % number,)) for number in range(5)]
        table = LockTable(most_of_session=2 * (LOCK_BYTES + 10))
        self.assertEqual(self.granted(table, 1, *names[:3]), [True, True, False])
        self.assertEqual(self.granted(table, 2, *names[2:]), [True, True, False])
        table.give_back(lock(names[0], 1, b"1"))
        self.assertEqual(self.granted(table, 1, names[4]), [True])

    def test_what_is_counted_is_what_is_needed(self) -> None:
        def flat(number: int) -> HeldLock:
            return lock((b"", b"A", (b"%d" % number,)), 1, b"1")

        def each_its_own(number: int) -> HeldLock:
            return lock((b"%d" % number, b"A", ()), 1, b"%d" % number)

        def deep_ones(number: int) -> HeldLock:
            return lock(deep(number), 1, b"1")

        for kind in (flat, each_its_own, deep_ones):
            table = LockTable()
            tracemalloc.start()
            self.addCleanup(tracemalloc.stop)
            for number in range(1_500):
                self.assertTrue(table.take(kind(number)) and table.take(kind(number)))
            needed, _ = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            self.assertLess(needed, table._size)
            # The key of a deep one has 500 bytes and twice as many for their ends: it is kept once, no beginning of it.
            self.assertLess(table._size, 1_500 * 2_300)
