"""How programs end, with a shell for M."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from pfserver.backends.mumps.process import GRACE, Ended, MProcess
from tests.backends.mumps.test_backend import lives


class Starter(Clock):
    """Starts real processes; time passes when the test says so."""

    def spawnProcess(self, *arguments: Any, **options: Any) -> Any:
        return reactor.spawnProcess(*arguments, **options)


class Watched(MProcess):
    """Tells when the program has exited, and what it printed."""

    def __init__(self, *arguments: Any) -> None:
        self.exited: Deferred[None] = Deferred()
        self.printed: Deferred[bytes] = Deferred()
        super().__init__(*arguments)

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        super().childDataReceived(childFD, data)
        if not self.printed.called:
            self.printed.callback(data)

    def processExited(self, reason: Failure) -> None:
        super().processExited(reason)
        self.exited.callback(None)


class ProcessTests(TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.clock = Starter()
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        os.mkfifo(self.folder / "pipe")
        self.output = (self.folder / "output.txt").open("wb", buffering=0)
        self.addCleanup(self.output.close)

    def start(self, script: str) -> Watched:
        environment = {"PATH": os.defpath}
        return Watched(
            self.clock, ["/bin/sh", "-c", script], environment, self.folder.absolute(), self.output, 1_000_000
        )

    def assert_ended(self, ended: Ended, code: int, printed: bytes) -> None:
        self.assertEqual((ended.code, ended.size), (code, len(printed)))
        self.assertEqual((self.folder / "output.txt").read_bytes(), printed)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    async def test_a_child_that_is_left_behind_holds_nothing_open(self) -> None:
        process = self.start("sleep 600 & head -c 60000 /dev/zero; exit 3")
        await process.exited
        self.assertFalse(process.ended.called)
        self.clock.advance(GRACE)
        self.assert_ended(await process.ended, 3, bytes(60_000))

    async def test_a_child_has_time_to_pass_on_what_it_has(self) -> None:
        process = self.start("(read x < pipe; echo late) & exit 0")
        await process.exited
        with (self.folder / "pipe").open("w") as pipe:
            pipe.write("\n")
        self.assert_ended(await process.ended, 0, b"late\n")

    async def test_one_that_ignores_sigterm_is_killed(self) -> None:
        process = self.start("""sh -c 'trap "" TERM; echo $$; echo > pipe; exec sleep 600' & read x < pipe; exit 0""")
        printed = await process.printed
        await process.exited
        self.assertTrue(lives(int(printed)))
        self.clock.advance(GRACE)
        self.assertFalse(process.ended.called)
        self.clock.advance(GRACE)
        self.assert_ended(await process.ended, 0, printed)
        while lives(int(printed)):
            await deferLater(reactor, 0.01)

    async def test_one_that_has_left_the_group_is_not_waited_for(self) -> None:
        process = self.start("setsid sh -c 'echo $$; echo > pipe; exec sleep 600' & read x < pipe; exit 0")
        printed = await process.printed
        self.addCleanup(os.kill, int(printed), signal.SIGKILL)
        await process.exited
        self.clock.pump([GRACE, GRACE])
        self.assert_ended(await process.ended, 0, printed)
        self.assertTrue(lives(int(printed)))
