"""All connections of a front end, and their end."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pfserver.host.connections import Connections


class Connection:
    """Goes at once when it is closed, or only when it is aborted."""

    def __init__(self, all_of_them: Connections[Connection], *, goes: bool) -> None:
        self.told: list[str] = []
        self._all = all_of_them
        self._goes = goes
        all_of_them.add(self)

    def close(self) -> None:
        self.told.append("close")
        if self._goes:
            self._all.discard(self)

    def abort(self) -> None:
        self.told.append("abort")
        self._all.discard(self)


class ConnectionsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.all: Connections[Connection] = Connections(self.clock, 10)

    def close(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.all.close_all())

    def test_those_that_are_open(self) -> None:
        one, other = Connection(self.all, goes=True), Connection(self.all, goes=True)
        self.assertEqual((len(self.all), set(self.all)), (2, {one, other}))
        self.all.discard(one)
        self.all.discard(one)
        self.assertEqual(list(self.all), [other])

    def test_one_may_go_while_they_are_looked_at(self) -> None:
        for _ in range(3):
            Connection(self.all, goes=True)
        for one in self.all:
            one.close()
        self.assertEqual(len(self.all), 0)

    def test_none(self) -> None:
        self.successResultOf(self.close())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_all_go(self) -> None:
        both = [Connection(self.all, goes=True) for _ in range(2)]
        self.successResultOf(self.close())
        self.assertEqual([one.told for one in both], [["close"], ["close"]])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_stays(self) -> None:
        goes, stays = Connection(self.all, goes=True), Connection(self.all, goes=False)
        closing = self.close()
        self.clock.advance(9.9)
        self.assertNoResult(closing)
        self.clock.advance(0.1)
        self.successResultOf(closing)
        self.assertEqual((goes.told, stays.told), (["close"], ["close", "abort"]))

    def test_one_takes_its_time(self) -> None:
        slow = Connection(self.all, goes=False)
        closing = self.close()
        self.clock.advance(5)
        self.all.discard(slow)
        self.successResultOf(closing)
        self.assertEqual((slow.told, self.clock.getDelayedCalls()), (["close"], []))
