"""One job, every dialect: what OMI starts is seen over HTTP and by Pageflex clients of a real server."""

from __future__ import annotations

import time
import xmlrpc.client
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pfserver.client.omi_blocking import BlockingOMIClient
from tests.frontends.pageflex.support import packet
from tests.support.process import PATIENCE, ServerProcess, ended

CONFIG = """
[frontends.omi.routines.OUTPUT]
project = "noop-output"
job = "Job 1"

[frontends.omi.routines.STUCK]
project = "noop-stuck"
"""


def until(condition: Callable[[], bool]) -> None:
    """Ask again and again until it is so, or give up; the assertions that follow say what is wrong."""
    deadline = time.monotonic() + PATIENCE
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)


class DialectTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.server = ServerProcess(Path(self.mktemp()), config=CONFIG, frontends=("pageflex", "omi", "http"))
        self.addCleanup(self.server.close)
        self.server.wait()
        self.agent = BlockingOMIClient(*self.server.addresses["omi"])
        self.addCleanup(self.agent.close)
        self.http = xmlrpc.client.ServerProxy("http://{}:{}/xmlrpc".format(*self.server.addresses["http"]))
        self.addCleanup(self.http("close"))

    def start(self, routine: str) -> str:
        """Start a job by operation 61; gives the name that it has elsewhere."""
        started = self.agent.start_job(routine)
        while started.is_pending:
            started = self.agent.job_status(started.number)
        return f"T{int(started.process):07d}"

    def status(self, name: str) -> Any:
        """What XML-RPC tells of a job."""
        return self.http.pfserver.status(name, 0)

    def node(self, name: str, field: str) -> bytes | None:
        """What ``^%PFJOB`` tells of it."""
        return self.agent.get("%PFJOB", int(name[1:]), field)

    def test_a_job_of_omi_is_followed_over_http_and_by_a_pageflex_client(self) -> None:
        name = self.start("OUTPUT")
        self.assertEqual(ended(self.server, name.encode()), b"SUCCESS")
        status = self.status(name)
        self.assertEqual((status["job"], status["state"], status["outcome"]), (name, "done", "SUCCESS"))
        self.assertEqual([one["name"] for one in status["artifacts"]], ["001.txt"])
        fetched: Any = self.http.pfserver.fetch(name, "001.txt")
        self.assertEqual(b64decode(fetched["document"]), name.encode() * 1000)
        # The lines that a monitor has are those that XML-RPC tells.
        log = self.server.talk(packet("GetTaskLog", _sys_TransactionID=name)).decode()
        for message in status["messages"]:
            self.assertIn(f"J{message['number']:07d}: {message['text']}", log)
        self.assertIn(f"Transaction {name} ended", log)
        self.assertEqual((self.node(name, "state"), self.node(name, "outcome")), (b"done", b"20"))

    def test_it_is_seen_while_it_runs_and_cancelled_from_elsewhere(self) -> None:
        name = self.start("STUCK")
        until(lambda: self.status(name)["state"] == "running")
        self.assertEqual(self.status(name)["state"], "running")
        line = self.server.talk(packet("GetJobStatus", _sys_TransactionID=name))
        self.assertEqual(line.strip(), b"R0000000: Job Status = RUNNING, 0 documents")
        self.assertEqual(self.node(name, "state"), b"running")
        self.assertTrue(self.http.pfserver.cancel(name))
        self.assertEqual(ended(self.server, name.encode()), b"CANCELLED")
        self.assertEqual((self.node(name, "outcome"), self.status(name)["outcome"]), (b"23", "CANCELLED"))
