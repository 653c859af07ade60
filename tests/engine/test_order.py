"""Sorted keys against a sorted list."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pfserver.engine import order
from pfserver.engine.order import SortedKeys

keys = st.binary(max_size=1) | st.lists(st.sampled_from(b"\0\1a"), max_size=3).map(bytes)


class SortedKeysTests(SynchronousTestCase):
    def setUp(self) -> None:
        # So that some keys are several blocks.
        self.patch(order, "BLOCK", 3)

    @settings(max_examples=300, deadline=None)
    @given(st.lists(keys, max_size=60), keys, keys, st.integers(0, 9))
    def test_against_a_list(self, toggled: list[bytes], start: bytes, end: bytes, skipped: int) -> None:
        ordered, plain = SortedKeys(), set[bytes]()
        for key in toggled:
            if key in plain:
                ordered.remove(key)
                plain.remove(key)
            else:
                less, greater = [one for one in plain if one < key], [one for one in plain if one > key]
                place, before, after = ordered.around(key)
                self.assertEqual((before, after), (max(less, default=None), min(greater, default=None)))
                ordered.add(key, place if len(key) == 1 else None)
                plain.add(key)
            self.assertEqual(list(ordered.walk(b"")), sorted(plain))
            self.assertEqual((len(ordered), bool(ordered)), (len(plain), bool(plain)))
        self.assertTrue(all(0 < len(block) <= 3 for block in ordered._blocks))
        self.assertEqual(len(ordered._bounds), max(0, len(ordered._blocks) - 1))
        self.assertEqual([ordered.kept(key) for key in sorted(plain)], sorted(plain))
        start, end = sorted((start, end))
        self.assertEqual(ordered.count(start, end), len([one for one in plain if start <= one < end]))
        self.assertEqual(list(ordered.walk(start, skipped)), sorted(one for one in plain if one >= start)[skipped:])
