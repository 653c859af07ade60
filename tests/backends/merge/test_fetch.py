"""A fetch that is broken off: where the server stops, the job is to go back, not to fail."""

from __future__ import annotations

from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from pfserver.backends.merge.fetch import fetch
from pfserver.errors import JobFailed
from tests.backends.merge.web import Web


class CancelTests(TestCase):
    timeout = 60

    async def test_a_time_out_is_said_whatever_it_breaks_into(self) -> None:
        with Web() as web, self.assertRaisesRegex(JobFailed, "was not fetched within 0 seconds"):
            await fetch(web.url("/silent.csv"), Path(), reactor, limit=1, seconds=0)

    async def assert_cancelled(self, page: str, after: float) -> None:
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
        await self.assert_cancelled("/silent.csv", 0)

    async def test_while_it_waits_for_the_answer(self) -> None:
        await self.assert_cancelled("/silent.csv", 0.3)

    async def test_while_it_reads(self) -> None:
        await self.assert_cancelled("/endless.csv", 0.3)
