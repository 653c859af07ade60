"""``pfserver globals`` and ``pfserver locks`` against a real server."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pfserver.client.omi_blocking import BlockingOMIClient
from pfserver.client.omi_calls import Login
from tests.support.process import BIN, PATIENCE, ROOT, ServerProcess


class CommandTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = Path(self.mktemp())
        self.server = ServerProcess(folder, frontends=("omi",))
        self.addCleanup(self.server.close)
        self.server.wait()

    def run_(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        address = "{}:{}".format(*self.server.addresses["omi"])
        environment = {**os.environ, "PFSERVER_OMI": address, "PYTHONPATH": str(ROOT), "TERM": "dumb"}
        command = [str(BIN / "pfserver"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=environment)

    def assert_prints(self, output: str, *arguments: str, code: int = 0) -> None:
        done = self.run_(*arguments)
        self.assertEqual((done.stdout, done.returncode), (output, code), done.stderr)

    def test_globals(self) -> None:
        self.assert_prints("", "globals", "set", '^X(1,"a")', "häl lo")
        self.assert_prints("", "globals", "set", "^X(2)", "two\tparts")
        self.assert_prints("häl lo\n", "globals", "get", '^X(1,"a")')
        self.assert_prints("", "globals", "get", "^X(1)", code=1)
        self.assert_prints("", "globals", "get", "-e", "other", "^X(2)", code=1)
        self.assert_prints("1\n2\n", "globals", "order", '^X("")', "-n", "9")
        self.assert_prints("1\n", "globals", "order", "-r", "^X(2)")
        self.assert_prints("^X\n", "globals", "order", "^%", "-n", "9")
        self.assert_prints('^X(1,"a")=häl lo\n^X(2)=two\ufffdparts\n', "globals", "query", "^X", "-n", "9")
        self.assert_prints('^X(1,"a")=häl lo\n', "globals", "query", "-r", "^X(2)")
        self.assert_prints("", "globals", "kill", "^X(1)")
        self.assert_prints("^X(2)=two\ufffdparts\n", "globals", "query", "^X", "-n", "9")

    def test_locks(self) -> None:
        self.assert_prints("", "locks")
        host, port = self.server.addresses["omi"]
        with BlockingOMIClient(host, port, Login(client=4711, environment="e")) as client:
            client.lock("X", 1, "a")
            client.lock("X", 1, "a")
            self.assert_prints('^X(1,"a") in e by $Job 4711 of session 2, 2 times\n', "locks")
            listed = json.loads(self.run_("locks", "--json").stdout)
        self.assertEqual((listed["reference"], listed["client"], listed["count"]), ('^X(1,"a")', "4711", "2"))
        self.assert_prints("", "locks")

    def test_errors(self) -> None:
        done = self.run_("globals", "get", "^X(1")
        self.assertEqual(done.returncode, 64)
        self.assertIn("is no reference", done.stderr)
        done = self.run_("globals", "set", '^X("")', "v")
        self.assertEqual((done.returncode, done.stdout), (65, ""))
        self.assertIn("(3)", done.stderr)
        done = self.run_("--omi", "127.0.0.1:1", "globals", "get", "^X")
        self.assertEqual(done.returncode, 69)
