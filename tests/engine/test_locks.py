"""The lock table against a plain model."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from pfserver.engine.locks import LockTable
from pfserver.model import HeldLock

Name = tuple[bytes, tuple[bytes, ...]]

names = st.tuples(st.sampled_from([b"A", b"B"]), st.lists(st.sampled_from([b"1", b"2"]), max_size=3).map(tuple))
sessions = st.integers(1, 3)
clients = st.sampled_from([b"10", b"11"])


def lock(name: bytes, subscripts: tuple[bytes, ...], session: int, client: bytes) -> HeldLock:
    return HeldLock(b"", name, subscripts, session, client, "", 1)


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
            if owner != [session, client] and other[0] == name[0]
            if other[1][: len(name[1])] == name[1] or name[1][: len(other[1])] == other[1]
        ]
        granted = self.table.take(lock(*name, session, client))
        assert granted is not bool(in_the_way)
        if granted:
            key = name, session, client
            self.model[key] = self.model.get(key, 0) + 1

    @rule(name=names, session=sessions, client=clients)
    def give_back(self, name: Name, session: int, client: bytes) -> None:
        self.table.give_back(lock(*name, session, client))
        key = name, session, client
        if self.model.get(key, 0) > 1:
            self.model[key] -= 1
        else:
            self.model.pop(key, None)

    @rule(session=sessions, client=st.none() | clients)
    def release(self, session: int, client: bytes | None) -> None:
        self.table.release(session, client)
        self.model = {key: n for key, n in self.model.items() if key[1] != session or client not in (None, key[2])}

    @invariant()
    def alike(self) -> None:
        held = {((one.name, one.subscripts), one.session, one.client): one.count for one in self.table.held()}
        assert held == self.model
        if not self.model:
            assert not self.table._nodes and not self.table._owned


class LockTableTests(SynchronousTestCase):
    def test_against_a_model(self) -> None:
        run_state_machine_as_test(Locks, settings=settings(max_examples=60, stateful_step_count=40, deadline=None))

    def test_a_full_table_grants_no_more(self) -> None:
        table = LockTable(most=2)
        granted = [table.take(lock(b"A", (b"%d" % n,), 1, b"1")) for n in range(3)]
        self.assertEqual(granted, [True, True, False])
        self.assertTrue(table.take(lock(b"A", (b"0",), 1, b"1")))
        table.release(1)
        self.assertTrue(table.take(lock(b"A", (b"2",), 1, b"1")))
