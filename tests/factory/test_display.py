"""What a factory shows: lines in a pipe, a status line on a terminal."""

from __future__ import annotations

import io
import os
import pty
import select
import signal
import subprocess

from twisted.trial.unittest import SynchronousTestCase

from pfserver.factory.display import Lines
from pfserver.factory.events import KINDS, PROBLEMS, Event, Status
from tests.factory.support import FactoryCase
from tests.support.process import BIN, PATIENCE, ROOT


class LinesTests(SynchronousTestCase):
    def test_a_line_each(self) -> None:
        out = io.StringIO()
        lines = Lines(out, as_json=False)
        lines.tell(Event("took", "a\x1b[2J\nb.odt for pdf", "job-1"))
        self.assertEqual(out.getvalue(), "took      job-1  a\ufffd[2J\ufffdb.odt for pdf\n")

    def test_json(self) -> None:
        out = io.StringIO()
        Lines(out, as_json=True, clock=lambda: 5.0).tell(Event("away", "gone"))
        self.assertEqual(out.getvalue(), '{"event": "away", "job": "", "text": "gone", "time": 5.0}\n')

    def test_the_status(self) -> None:
        status = Status(finished=3)
        self.assertEqual(status.line(), "waiting for jobs, 3 finished")
        status.working["1"] = "rendering a.odt"
        status.failed = 1
        self.assertEqual(status.line(), "working, 3 finished, 1 failed, rendering a.odt")
        status.stopping = True
        self.assertTrue(status.line().startswith("stopping, "))
        self.assertLess(PROBLEMS, KINDS)


class TerminalTests(FactoryCase):
    def test_a_status_line(self) -> None:
        ours, theirs = pty.openpty()
        self.addCleanup(os.close, ours)
        command = [str(BIN / "pfserver"), "factory", self.forwarder.url, "--name", "My factory"]
        command += ["--command", f"cp '{self.pdf}' %source_dir/%source_base.pdf", "--poll", "0.2"]
        process = subprocess.Popen(
            [*command, "--state", str(self.folder / "factory")],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "120"},
        )
        os.close(theirs)
        self.addCleanup(process.wait, PATIENCE)
        self.addCleanup(process.kill)
        seen = self.read_until(ours, b"waiting for jobs, 0 finished")
        self.assertIn(b"My factory at http://", seen)
        self.submit(self.document())
        seen = self.read_until(ours, b"waiting for jobs, 1 finished")
        self.assertIn(b"note.txt for pdf", seen)
        process.send_signal(signal.SIGINT)
        self.read_until(ours, b"1 finished, 0 failed")
        self.assertEqual(process.wait(PATIENCE), 0)

    def read_until(self, terminal: int, wanted: bytes) -> bytes:
        """What the terminal shows, up to this."""
        seen = b""
        while wanted not in seen:
            ready, _, _ = select.select([terminal], [], [], PATIENCE)
            self.assertTrue(ready, seen)
            seen += os.read(terminal, 65536)
        return seen
