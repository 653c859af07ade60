"""Retention by a server's process: by age, by count, and never a job whose output stays."""

from __future__ import annotations

import time
from pathlib import Path

from twisted.trial.unittest import TestCase

from tests.frontends.pageflex.support import packet
from tests.support.process import PATIENCE, ServerProcess, ended


class RetentionTests(TestCase):
    timeout = 300

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.output = self.folder / "state" / "output"

    def submit(self, server: ServerProcess) -> str:
        id_ = server.talk(packet("SubmitJob", ProjectName="noop-output", JobName="x"))[10:-2]
        self.assertEqual(ended(server, id_), b"SUCCESS")
        return id_.decode()

    def is_known(self, server: ServerProcess, id_: str) -> bool:
        return server.talk(packet("GetJobStatus", _sys_TransactionID=id_)).startswith(b"R0000000")

    def until_gone(self, server: ServerProcess, id_: str) -> None:
        """Its output goes first: there is none of a job that is not known."""
        deadline = time.monotonic() + PATIENCE
        while self.is_known(server, id_):
            self.assertLess(time.monotonic(), deadline, id_)
            time.sleep(0.02)
        self.assertFalse((self.output / id_).exists())

    def test_by_count(self) -> None:
        with ServerProcess(self.folder) as server:
            ids = [self.submit(server) for _ in range(6)]
            self.assertEqual(sorted(path.name for path in self.output.iterdir()), ids)
        with ServerProcess(self.folder, config="[retention]\ncount = 2\n") as server:
            for id_ in ids[:4]:
                self.until_gone(server, id_)
            self.assertTrue(all(self.is_known(server, id_) for id_ in ids[4:]))
        self.assertEqual(sorted(path.name for path in self.output.iterdir()), ids[4:])

    def test_by_age(self) -> None:
        with ServerProcess(self.folder, config="[retention]\ndays = 0.00002\n") as server:
            self.until_gone(server, self.submit(server))
            self.until_gone(server, self.submit(server))
        self.assertEqual(list(self.output.iterdir()), [])
