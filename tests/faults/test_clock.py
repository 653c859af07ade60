"""The time of day of a running server is set, far forward and far back: nothing ends early, nothing lives for ever."""

from __future__ import annotations

import base64
import os
import socket
import time
import xmlrpc.client
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pfserver.engine.leases import SWEEP_INTERVAL
from tests.frontends.pageflex.support import packet
from tests.support.process import PATIENCE, ServerProcess, ended
from tests.support.wall_clock import WallClock, compiler

DAY = 86_400

PDF = base64.b64encode(b"%PDF-1.4\n%%EOF\n").decode()

#: A day: far longer than the test, far shorter than the jumps.
RETENTION = "[retention]\ndays = 1\n"


class ClockTests(SynchronousTestCase):
    def setUp(self) -> None:
        if compiler() is None:
            message = "a C compiler is needed: apt-get install gcc libc6-dev"
            if os.environ.get("CI"):
                self.fail(message)
            self.skipTest(message)
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.clock = WallClock(self.folder)

    def start(self, config: str = RETENTION) -> None:
        environment = self.clock.environment
        self.server = ServerProcess(
            self.folder / "server", config=config, frontends=("pageflex", "http"), environment=environment
        )
        self.addCleanup(self.server.close)
        self.server.wait()

    def call(self, method: str, *params: Any) -> Any:
        with xmlrpc.client.ServerProxy("http://{}:{}/xmlrpc".format(*self.server.addresses["http"])) as proxy:
            return getattr(proxy, method)(*params)

    def add_remote_job(self) -> str:
        document = {"filename": "note.txt", "document": xmlrpc.client.Binary(b"A note\n"), "format": "pdf"}
        (name,) = self.call("pfserver.submit", {**document, "remote": True})
        return str(name)

    def job(self, project: str) -> bytes:
        reply = self.server.talk(packet("SubmitJob", ProjectName=project, JobName="x"))
        self.assertRegex(reply, rb"\AR0000000: T\d{7}\r\n\Z")
        return reply[10:-2]

    def monitor(self) -> socket.socket:
        """A job that is at work and followed."""
        client = socket.create_connection(self.server.pageflex, PATIENCE)
        self.addCleanup(client.close)
        client.sendall(packet("SubmitJob", ProjectName="noop-slow", JobName="x", _sys_ClientJobMonitor="true"))
        received = b""
        while b"Machine name" not in received:
            received += client.recv(4096)
        return client

    def rest(self, client: socket.socket) -> bytes:
        received = b""
        while more := client.recv(4096):
            received += more
        return received

    def assertKept(self, *jobs: bytes) -> None:
        for job in jobs:
            self.assertEqual(ended(self.server, job), b"SUCCESS")
            self.assertTrue((self.server.state / "output" / job.decode() / "001.txt").exists())

    def assertLeased(self, job: str, leased: str, jump: str) -> None:
        """The server has looked for what is over: nobody else gets the job, and its holder may finish it."""
        # A slow machine looks later, which only makes the test see less.
        time.sleep(SWEEP_INTERVAL + 1)
        self.assertEqual(self.call("jobs.poll", "f"), {}, f"{jump}: the lease ran out")
        self.call("jobs.finish", "f", leased, "pdf", PDF)
        self.assertEqual(self.call("pfserver.status", job, 0)["outcome"], "SUCCESS")

    def test_the_clock_is_set_while_jobs_are_leased_run_and_wait_for_retention(self) -> None:
        self.start()
        self.call("pfserver.factories.put", {"name": "f", "workers": [{"application": "LibreOffice"}]})
        for moved in (30 * DAY, -30 * DAY):
            name = self.add_remote_job()
            leased = self.call("jobs.poll", "f")["job"]
            done = self.job("noop-output")
            self.assertEqual(ended(self.server, done), b"SUCCESS")
            monitor = self.monitor()
            self.clock.move(moved)
            # What runs ends, and its monitor hears it.
            self.assertIn(b"J0000020: ", self.rest(monitor))
            self.assertLeased(name, leased, f"{moved} s")
            self.assertKept(done)
            # And the same while no server looks: the jobs' times are of the clock as it was then.
            name = self.add_remote_job()
            leased = self.call("jobs.poll", "f")["job"]
            later = self.job("noop-output")
            self.assertEqual(ended(self.server, later), b"SUCCESS")
            self.assertEqual(self.server.terminate(), 0)
            self.start()
            self.server.wait_for_log("clock.was-set")
            self.assertLeased(name, leased, f"{moved} s and a restart")
            self.assertKept(done, later)
            self.assertEqual(self.server.terminate(), 0)
            self.clock.move(0)
            self.start()

    def test_leases_and_retention_end_in_their_time_though_the_clock_is_set_back(self) -> None:
        short = "[frontends.http]\nlease_seconds = 1\n[retention]\ndays = 0.00003\n"
        for restart in (False, True):
            self.start(short)
            self.call("pfserver.factories.put", {"name": "f", "workers": [{"application": "LibreOffice"}]})
            self.add_remote_job()
            self.assertTrue(self.call("jobs.poll", "f"))
            done = self.job("noop-output")
            if restart:
                self.assertEqual(ended(self.server, done), b"SUCCESS")
                self.assertEqual(self.server.terminate(), 0)
            self.clock.move(-30 * DAY)
            if restart:
                self.start(short)
            again = self.until(lambda: self.call("jobs.poll", "f"), "the lease lives for ever")
            self.call("jobs.finish", "f", again["job"], "pdf", PDF)
            output = self.server.state / "output" / done.decode()
            self.until(lambda output=output: not output.exists(), "the job is kept for ever")
            self.assertEqual(self.server.terminate(), 0)
            self.clock.move(0)

    def until(self, condition: Callable[[], Any], otherwise: str) -> Any:
        deadline = time.monotonic() + PATIENCE
        while not (found := condition()):
            self.assertLess(time.monotonic(), deadline, otherwise)
            time.sleep(0.1)
        return found

    def test_the_library_moves_the_time_of_day(self) -> None:
        """Otherwise all of this says nothing."""
        self.start()
        for moved in (30 * DAY, -30 * DAY):
            self.clock.move(moved)
            self.server.talk(b"<no-packet/>")
            day = time.strftime("%Y-%m-%d", time.gmtime(time.time() + moved))
            self.until(lambda day=day: self.server.log[-1].startswith(day), "the log has the time of day")  # type: ignore[misc]
