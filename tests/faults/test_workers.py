"""``kill -9`` of worker processes in the middle of jobs: they go on, and every record is produced."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from pathlib import Path

import pikepdf
from twisted.trial.unittest import TestCase

from tests.faults.test_kill import submit_until_dead
from tests.frontends.pageflex.support import packet
from tests.support.process import PATIENCE, ROOT, ServerProcess, ended, worker_processes
from tests.support.projects import assert_whole, put_project

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
            received = b""
            killed: set[int] = set()
            while more := client.recv(65536):
                received += more
                # Each piece of the stream is a moment in the middle of the job.
                if len(killed) < KILLS and b"J0000112" in received:
                    killed |= kill_one(server, killed)
            self.assertGreater(len(killed), 1)
            self.assertIn("merge.chunk-lost", "".join(server.log))
            self.assertIn(
                b"J0000020: Job completed successfully. 5000 documents and 5000 pages produced.\r\n", received
            )
            [folder] = (server.state / "output").iterdir()
            names = [f"{number:04d}.pdf" for number in range(1, 5001)]
            self.assertEqual(sorted(path.name for path in folder.iterdir()), [*names, "job.json"])
            for name in names:
                with pikepdf.open(folder / name) as document:
                    self.assertEqual(len(document.pages), 1)
            self.assertEqual(len(json.loads((folder / "job.json").read_text())["records"]), 5000)

    def test_workers_die_under_load_and_every_acknowledged_job_ends_complete(self) -> None:
        records, jobs = 200, 12
        folder = Path(self.mktemp())
        put_project(folder / "projects", records)
        config = 'executor = "processes:2"\nattempts = 1000\n[backends.merge]\nchunk = 10\n'
        submit = packet("SubmitJob", ProjectName="a.pf", JobName="A")
        acknowledged: list[bytes] = []
        with ServerProcess(folder, config=config) as server:
            load = [
                threading.Thread(target=submit_until_dead, args=(server, submit, acknowledged, jobs // 3))
                for _ in range(3)
            ]
            for thread in load:
                thread.start()
            killed: set[int] = set()
            deadline = time.monotonic() + PATIENCE
            # Each worker dies once it is there: at its start, in a chunk, or while it joins pages.
            while len(killed) < 2 * KILLS and time.monotonic() < deadline:
                killed |= kill_one(server, killed)
                time.sleep(0.02)
            for thread in load:
                thread.join(PATIENCE)
            self.assertEqual(len(killed), 2 * KILLS)
            self.assertEqual(len(set(acknowledged)), jobs)
            self.assertEqual({ended(server, id_) for id_ in acknowledged}, {b"SUCCESS"})
            for id_ in acknowledged:
                assert_whole(self, server.state / "output" / id_.decode(), records)
            left = [path.name for path in (server.state / "output").iterdir() if path.name.startswith(".")]
            self.assertEqual(left, [])


def kill_one(server: ServerProcess, but: set[int]) -> set[int]:
    """Kill a worker that was not killed yet; gives its id, nothing where there is none."""
    for worker in set(worker_processes(server)) - but:
        os.kill(worker, signal.SIGKILL)
        return {worker}
    return set()
