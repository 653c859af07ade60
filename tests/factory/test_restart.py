"""Servers that are killed and started again while factories work for them: both are real processes."""

from __future__ import annotations

import os
import shlex

from tests.factory.support import PDF, FactoryCase


class RestartTests(FactoryCase):
    """A server that is killed may have handed out a job whose answer nobody got: its lock has to run out."""

    config = "[frontends.http]\nlease_seconds = 5\n"

    def test_the_server_is_killed_in_the_middle(self) -> None:
        factory = self.start_copying("--jobs", "2")
        jobs = [self.submit(self.document()) for _ in range(30)]
        factory.wait_for("finished", 5)
        self.server.kill()
        self.forwarder.cut()
        factory.wait_for("away")
        self.start_server()
        for job in jobs:
            status = self.wait_done(job)
            self.assertEqual(status["outcome"], "SUCCESS", status)
            self.assertEqual(self.texts(status).count("Job completed successfully"), 1)
        factory.wait_for("back")
        self.assertEqual(factory.terminate(), 0)
        self.assertEqual(self.kept(), [])


class KilledServerTests(FactoryCase):
    """A server that is killed while a factory renders: locks are long, so nobody else may get the job."""

    def test_the_job_ends_exactly_once(self) -> None:
        gate, runs = self.folder / "gate", self.folder / "runs"
        os.mkfifo(gate)
        script = f'echo run >> {runs}; cat {gate} > /dev/null; cp {self.pdf} "$1"'
        command = f"sh -c {shlex.quote(script)} sh %source_dir/%source_base.pdf"
        factory = self.start("--command", command, "--jobs", "2", "--renew", "0.2")
        job = self.submit(self.document())
        factory.wait_for("took")
        with gate.open("w"):  # blocks until the program is at work, and lets it go on at the end
            self.server.kill()
            self.forwarder.cut()
            factory.wait_for("away")
            self.start_server()
            self.assertEqual(self.call("pfserver.status", job, 0)["state"], "leased")
            factory.wait_for("back")
        factory.wait_for("finished")
        status = self.wait_done(job)
        told = self.texts(status)
        self.assertEqual((status["outcome"], len(status["artifacts"])), ("SUCCESS", 1))
        self.assertEqual((told.count("Taken by"), told.count("Job completed successfully")), (1, 1), told)
        self.assertEqual(runs.read_text(), "run\n")
        self.assertEqual(self.fetch(job, "note.pdf").read_bytes(), PDF)
        self.assertEqual(factory.terminate(), 0)
        self.assertEqual((len(factory.of("finished")), factory.of("dropped"), self.kept()), (1, [], []))
