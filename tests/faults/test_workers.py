"""``kill -9`` of worker processes in the middle of a job: it goes on, and every record is produced."""

from __future__ import annotations

import json
import os
import signal
import socket
from pathlib import Path

from twisted.trial.unittest import TestCase

from tests.frontends.pageflex.support import packet
from tests.support.process import ROOT, ServerProcess

#: How often a worker is killed while the job runs.
KILLS = 6


class WorkerTests(TestCase):
    timeout = 300

    def test_killed_workers_are_replaced_and_no_record_is_lost(self) -> None:
        config = 'executor = "processes:2"\n[backends.merge]\nchunk = 50\n'
        submit = packet(
            "SubmitJob",
            ProjectName="Price List/Price List.pf",
            JobName="Single Pages",
            _sys_ClientJobMonitor="true",
        )
        projects = ROOT / "examples" / "projects"
        with ServerProcess(Path(self.mktemp()), config=config, projects=projects) as server:
            client = socket.create_connection(server.pageflex, 120)
            self.addCleanup(client.close)
            client.sendall(submit)
            received, killed = b"", 0
            while more := client.recv(65536):
                received += more
                # Each piece of the stream is a moment in the middle of the job.
                if killed < KILLS and b"J0000112" in received:
                    killed += self._kill_one(server)
            self.assertGreater(killed, 0)
            self.assertIn(
                b"J0000020: Job completed successfully. 5000 documents and 5000 pages produced.\r\n", received
            )
            [folder] = (server.state / "output").iterdir()
            self.assertEqual(len(list(folder.glob("*.pdf"))), 5000)
            for path in folder.glob("*.pdf"):
                self.assertEqual((path.read_bytes()[:5], path.read_bytes()[-6:].strip()), (b"%PDF-", b"%%EOF"))
            self.assertEqual(len(json.loads((folder / "job.json").read_text())["records"]), 5000)

    def _kill_one(self, server: ServerProcess) -> int:
        """Kill a worker of the server, found among its children; gives how many were killed."""
        for pid in _children(server.process.pid):
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            if b"spawn_main" in command:
                os.kill(pid, signal.SIGKILL)
                return 1
        return 0


def _children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (task / "children").read_text().split()]
    return found
