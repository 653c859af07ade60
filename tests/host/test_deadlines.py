"""Time-outs of the same length for many, by one timer."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pfserver.host.deadlines import Deadlines


class DeadlinesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.over: list[str] = []
        self.deadlines: Deadlines[str] = Deadlines(self.clock, 10.0, self.over.append)

    def test_each_has_its_time(self) -> None:
        self.deadlines.add("first")
        self.clock.advance(4)
        self.deadlines.add("second")
        self.clock.advance(5.9)
        self.assertEqual(self.over, [])
        self.clock.advance(0.1)
        self.assertEqual(self.over, ["first"])
        self.clock.advance(4)
        self.assertEqual(self.over, ["first", "second"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_who_is_discarded_is_never_due(self) -> None:
        self.deadlines.add("first")
        self.deadlines.add("second")
        self.deadlines.discard("first")
        self.deadlines.discard("nobody")
        self.clock.advance(10)
        self.assertEqual(self.over, ["second"])

    def test_added_again_its_time_begins_anew(self) -> None:
        self.deadlines.add("first")
        self.clock.advance(9)
        self.deadlines.add("first")
        self.clock.advance(9)
        self.assertEqual(self.over, [])
        self.clock.advance(1)
        self.assertEqual(self.over, ["first"])

    def test_one_that_is_due_may_discard_and_add_others(self) -> None:
        def due(item: str) -> None:
            self.over.append(item)
            deadlines.discard("second")
            if item == "first":
                deadlines.add("third")

        deadlines: Deadlines[str] = Deadlines(self.clock, 10.0, due)
        deadlines.add("first")
        deadlines.add("second")
        self.clock.advance(10)
        self.clock.advance(10)
        self.assertEqual(self.over, ["first", "third"])

    def test_one_whose_end_fails_does_not_keep_the_others(self) -> None:
        def due(item: str) -> None:
            self.over.append(item)
            if item == "first":
                raise ZeroDivisionError

        deadlines: Deadlines[str] = Deadlines(self.clock, 10.0, due)
        deadlines.add("first")
        deadlines.add("second")
        self.clock.advance(10)
        self.assertEqual(self.over, ["first", "second"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_stopped_it_leaves_no_timer(self) -> None:
        self.deadlines.add("first")
        self.deadlines.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.clock.advance(10)
        self.assertEqual(self.over, [])
