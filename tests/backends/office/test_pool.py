"""LibreOffices that crash, hang and do not start: the job ends in time with a clear message, and the pool recovers."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest.mock import Mock

from attrs import evolve
from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock, deferLater
from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from pfserver.backends.office import OfficeBackendPlugin, pool
from pfserver.backends.office.backend import OfficeBackend
from pfserver.backends.office.listener import Launch, Listener
from pfserver.backends.office.pool import Pool
from pfserver.numbers import Number
from tests.backends.office import samples
from tests.backends.office.fakes import FakeServices
from tests.backends.office.test_backend import Office, soffice_of

#: The real LibreOffice, unless a file says how one that shall listen goes wrong.
WRAPPER = """#!/bin/sh
case "$*" in *--accept=*)
    [ -e '{folder}/broken' ] && exit 1
    [ -e '{folder}/hangs' ] && exec sleep 3600
esac
exec '{soffice}' "$@"
"""


class LaterClock:
    """The reactor's, which a test may set forward: timers are not moved by that."""

    def __init__(self) -> None:
        self.later = 0.0
        self.callLater = reactor.callLater  # type: ignore[attr-defined]

    def seconds(self) -> float:
        return float(reactor.seconds()) + self.later  # type: ignore[attr-defined]


class PoolCase(Office):
    """One LibreOffice, behind a wrapper."""

    def setUp(self) -> None:
        super().setUp()
        samples.odt(self.root / "a.odt")
        self.clock = LaterClock()
        self.events: list[dict[str, Any]] = []
        self.patch(Pool, "log", Logger(observer=self.events.append))
        self.wrapper = self.root.parent / "soffice"
        self.wrapper.write_text(WRAPPER.format(folder=self.root.parent, soffice=shutil.which("soffice")))
        self.wrapper.chmod(0o755)

    def build(self, **options: object) -> OfficeBackend:
        services = FakeServices(reactor=reactor, clock=self.clock, projects_root=self.root, state=self.state)
        backend = OfficeBackendPlugin().build(services, {"workers": 1, "soffice": str(self.wrapper), **options})
        assert backend is not None
        self.addCleanup(lambda: ensureDeferred(self.stop(backend)))
        return backend

    def pool(self, backend: OfficeBackend) -> Pool:
        assert backend._pool is not None
        return backend._pool

    def let(self, name: str) -> Path:
        """From now on, this goes wrong with LibreOffices that shall listen; until the file is removed."""
        path = self.root.parent / name
        path.touch()
        return path

    def warm(self, backend: OfficeBackend) -> bool:
        (listener,) = self.listeners(backend)
        return listener.launch.warm

    def logged(self, word: str) -> int:
        return sum(event["log_format"].startswith(word) for event in self.events)


class CrashTests(PoolCase):
    """A crash is LibreOffice's fault once, and the document's the second time."""

    def crash(self, times: int) -> None:
        """Let so many LibreOffices that listen crash in the middle of a conversion."""
        original = Listener.request

        def request(listener: Listener, message: Mapping[str, Any], timeout: float) -> Deferred[Mapping[str, Any]]:
            nonlocal times
            if message["do"] != "convert" or not times:
                return original(listener, message, timeout)
            times -= 1
            pids = soffice_of(listener.group)
            self.assertEqual(len(pids), 1)
            os.kill(pids[0], signal.SIGSTOP)
            answer = original(listener, message, timeout)
            os.kill(pids[0], signal.SIGSEGV)
            os.kill(pids[0], signal.SIGCONT)
            return answer

        self.patch(Listener, "request", request)

    async def test_once(self) -> None:
        backend = self.build()
        self.crash(1)
        await self.convert(backend, "a.odt")
        self.assertEqual((self.pool(backend).started, self.logged("office.again")), (2, 1))

    async def test_twice(self) -> None:
        backend = self.build()
        self.crash(2)
        await self.fails(backend, "a.odt", Number.DOCUMENT_BROKEN, "crashed on the document, twice")
        self.assertEqual(self.pool(backend).started, 2)
        await self.convert(backend, "a.odt")
        self.assertTrue(self.warm(backend))

    async def cold_crashes(self, backend: OfficeBackend, times: int, job: Deferred[Any]) -> None:
        """Kill the LibreOffices that are started for a document as soon as they are there."""
        seen: set[int] = set()
        while len(seen) < times and not job.called:
            for listener in self.listeners(backend):
                for pid in set(soffice_of(listener.group)) - seen:
                    seen.add(pid)
                    os.kill(pid, signal.SIGSEGV)
            await deferLater(reactor, 0.001)  # type: ignore[arg-type]
        await job

    async def test_a_cold_one_once(self) -> None:
        backend = self.build(warm=False)
        await self.cold_crashes(backend, 1, ensureDeferred(self.convert(backend, "a.odt")))
        self.assertEqual(self.logged("office.again"), 1)

    async def test_a_cold_one_twice(self) -> None:
        backend = self.build(warm=False)
        job = ensureDeferred(self.fails(backend, "a.odt", Number.DOCUMENT_BROKEN, "crashed on the document, twice"))
        await self.cold_crashes(backend, 2, job)
        await self.convert(backend, "a.odt")


class StoppingTests(SynchronousTestCase):
    def test_one_that_does_not_end_is_killed_whatever_it_still_says(self) -> None:
        clock, process = Clock(), Mock(pid=2**22 + 1)
        launch = Launch(
            python="p",
            soffice="s",
            pdftoppm="",
            profile=Path("none"),
            work=Path("none"),
            confine=True,
            readable=(),
            warm=True,
        )
        listener = Listener(Mock(spawnProcess=lambda *a, **k: process), clock, launch, lambda listener: None)
        listener.childDataReceived(1, b'{"ready": true, "memory": 1}\n')
        listener.request({"do": "convert"}, 60)
        listener.childDataReceived(1, b'{"files": []}\n')
        listener.rest(10)
        listener.stop()
        listener.childDataReceived(1, b'{"rested": true, "memory": 1}\n')
        clock.advance(3)
        process.signalProcess.assert_called_once_with("KILL")


class StartTests(PoolCase):
    """A LibreOffice that does not start."""

    async def test_a_bad_start_makes_it_cold_for_a_while(self) -> None:
        backend = self.build()
        wrong = self.let("broken")
        await self.convert(backend, "a.odt")
        self.assertFalse(self.warm(backend))
        # Not yet mended when it is tried again: the pause grows.
        self.clock.later += 61
        await self.convert(backend, "a.odt")
        self.assertFalse(self.warm(backend))
        self.assertEqual([event["again_in"] for event in self.events if "again_in" in event], [60, 120])
        wrong.unlink()
        self.clock.later += 61
        await self.convert(backend, "a.odt")
        self.assertFalse(self.warm(backend))
        self.assertEqual(self.logged("office.warm"), 0)
        self.clock.later += 61
        await self.convert(backend, "a.odt")
        self.assertTrue(self.warm(backend))
        self.assertEqual((self.logged("office.cold"), self.logged("office.warm")), (2, 1))

    async def test_a_restart_tries_it_at_once(self) -> None:
        backend = self.build()
        wrong = self.let("broken")
        await self.convert(backend, "a.odt")
        wrong.unlink()
        await backend.restart()
        await self.convert(backend, "a.odt")
        self.assertTrue(self.warm(backend))

    async def test_a_start_that_hangs_takes_no_more_than_the_job_has(self) -> None:
        backend = self.build(timeout=1.0)
        wrong = self.let("hangs")
        await self.fails(backend, "a.odt", Number.BACKEND_BROKEN, "did not start in time on the server")
        self.assertEqual(self.listeners(backend), [])
        # The next job does not wait for the same in vain.
        self.pool(backend)._options = evolve(self.pool(backend)._options, timeout=60.0)
        await self.convert(backend, "a.odt")
        self.assertFalse(self.warm(backend))
        wrong.unlink()
        self.clock.later += 61
        await self.convert(backend, "a.odt")
        self.assertTrue(self.warm(backend))


class PingTests(PoolCase):
    """A LibreOffice that was idle for long is asked for a sign of life."""

    async def test_one_that_hangs_is_replaced(self) -> None:
        backend = self.build()
        await self.convert(backend, "a.odt")
        (listener,) = self.listeners(backend)
        for pid in soffice_of(listener.group):
            os.kill(pid, signal.SIGSTOP)
        self.clock.later += pool.PING_AFTER
        self.patch(pool, "PING_TIMEOUT", 0.5)
        await self.convert(backend, "a.odt")
        self.assertEqual((self.pool(backend).started, self.logged("office.unwell")), (2, 1))

    async def test_one_that_answers_is_kept(self) -> None:
        backend = self.build()
        await self.convert(backend, "a.odt")
        self.clock.later += pool.PING_AFTER
        await self.convert(backend, "a.odt")
        self.assertEqual(self.pool(backend).started, 1)
