"""A fetch that is cancelled, e.g. since the server stops: the job is to go back, not to fail."""

from __future__ import annotations

from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from pfserver.backends.merge.fetch import fetch
from tests.backends.merge.web import Web


class CancelTests(TestCase):
    timeout = 60

    async def cancelled(self, page: str, after: float) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        with Web() as web:
            web.pages |= {"/silent.csv": ..., "/endless.csv": None}
            fetching = Deferred.fromCoroutine(fetch(web.url(page), folder, reactor, limit=1 << 40, seconds=60))
            await deferLater(reactor, after)  # type: ignore[arg-type]
            fetching.cancel()
            with self.assertRaises(CancelledError):
                await fetching

    async def test_while_it_connects(self) -> None:
        await self.cancelled("/silent.csv", 0)

    async def test_while_it_waits_for_the_answer(self) -> None:
        await self.cancelled("/silent.csv", 0.3)

    async def test_while_it_reads(self) -> None:
        await self.cancelled("/endless.csv", 0.3)
