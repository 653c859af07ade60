"""RestartServer under load: what was acknowledged ends complete, whatever was at work when it came."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from twisted.trial.unittest import TestCase

from tests.faults.test_kill import submit_until_dead
from tests.frontends.pageflex.support import packet
from tests.support.process import PATIENCE, ServerProcess, ended, worker_processes
from tests.support.projects import assert_whole, put_project

RESTARTS, RECORDS, SMALL, MERGES = 4, 500, 300, 6


class RestartTests(TestCase):
    timeout = 300

    def test_restarts_under_load(self) -> None:
        folder = Path(self.mktemp())
        put_project(folder / "projects", RECORDS)
        small: list[bytes] = []
        merges: list[bytes] = []
        # One attempt is enough: what a restart cuts short does not count.
        config = 'attempts = 1\nexecutor = "processes:2"\n[backends.merge]\nchunk = 10\n'
        with ServerProcess(folder, config=config) as server:
            process = server.process.pid
            load = [
                threading.Thread(target=submit_until_dead, args=(server, packet("SubmitJob", **job), ids, limit))
                for job, ids, limit in (
                    ({"ProjectName": "noop-output", "JobName": "x"}, small, SMALL),
                    ({"ProjectName": "a.pf", "JobName": "A"}, merges, MERGES),
                )
            ]
            for thread in load:
                thread.start()
            for _ in range(RESTARTS):
                self.until(lambda: any(server.state.glob("output/.T*.partial")) or not load[1].is_alive())
                workers = set(worker_processes(server))
                self.assertEqual(server.talk(packet("RestartServer"))[:8], b"R0000000")
                # The workers are others now.
                self.until(lambda workers=workers: not workers & set(worker_processes(server)))  # type: ignore[misc]
            for thread in load:
                thread.join(PATIENCE)
            self.assertEqual((len(set(small)), len(set(merges))), (SMALL, MERGES))
            self.assertEqual({ended(server, id_) for id_ in small + merges}, {b"SUCCESS"})
            self.assertEqual(server.process.pid, process)
            self.assertIsNone(server.process.poll())
            output = server.state / "output"
            for id_ in small:
                self.assertEqual((output / id_.decode() / "001.txt").read_bytes(), id_ * 1000)
            for id_ in merges:
                assert_whole(self, output / id_.decode(), RECORDS)
            self.assertEqual([path.name for path in output.iterdir() if path.name.startswith(".")], [])
        self.assertGreaterEqual(sum("engine.restarted" in line for line in server.log), RESTARTS)

    def until(self, condition: object) -> None:
        assert callable(condition)
        deadline = time.monotonic() + PATIENCE
        while not condition():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)
