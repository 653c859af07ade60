"""An M routine started over OMI is a job like any other: every dialect sees it, and its output is a document."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import TestCase

from pfserver.client.blocking import BlockingClient
from pfserver.client.errors import ServerRefused
from pfserver.client.omi_blocking import BlockingOMIClient
from tests.peers.mumps import distribution
from tests.support.process import ServerProcess

CONFIG = """
[frontends.omi.routines.REPORT]
backend = "mumps"
"""

REPORT = """REPORT(title,rows) ; a report
 write title,! new row for row=1:1:rows write row,!
 quit
wait for  hang 1
 quit
"""


class MumpsJobTests(TestCase):
    def setUp(self) -> None:
        distribution()
        folder = Path(self.mktemp())
        (folder / "projects" / "routines").mkdir(parents=True)
        (folder / "projects" / "routines" / "REPORT.m").write_text(REPORT, encoding="ascii")
        self.server = ServerProcess(folder, config=CONFIG, frontends=("omi", "pageflex"))
        self.addCleanup(self.server.close)
        self.server.wait()
        self.client = BlockingOMIClient(*self.server.addresses["omi"])
        self.addCleanup(self.client.close)

    def _watched(self, job: bytes) -> list[str]:
        return [line.text for line in BlockingClient(*self.server.pageflex).watch(f"T{int(job):07d}")]

    def test_a_routine_is_run_and_seen_by_every_dialect(self) -> None:
        started = self.client.start_job("REPORT", ["Tulips", 3])
        job = started.process
        lines = self._watched(job)
        self.assertIn("Job Status = SUCCESS", "\n".join(lines))
        self.assertEqual(self.client.get("%PFJOB", job, "project"), b"^REPORT")
        self.assertEqual(self.client.get("%PFJOB", job, "outcome"), b"20")
        self.assertEqual(self.client.get("%PFJOB", job, "output", 1), b"output.txt")
        [output] = (self.server.state / "output").rglob("output.txt")
        self.assertEqual(output.read_text(), "Tulips\n1\n2\n3\n")

    def test_it_can_be_cancelled(self) -> None:
        started = self.client.start_job("REPORT", label="wait")
        BlockingClient(*self.server.pageflex).cancel(f"T{int(started.process):07d}")
        self.assertIn("Job Status = CANCELLED", "\n".join(self._watched(started.process)))

    def test_other_routines_are_refused(self) -> None:
        with self.assertRaises(ServerRefused):
            self.client.start_job("OTHER")
