"""Merge jobs while things die: workers, the server, the disk, the submitter's patience."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pypdfium2
from twisted.trial.unittest import TestCase

from tests.frontends.pageflex.support import packet
from tests.support.disk import SmallDisk
from tests.support.process import PATIENCE, ServerProcess, worker_processes
from tests.support.projects import put_project


def first_words(path: Path) -> list[str]:
    """What each page begins with."""
    document = pypdfium2.PdfDocument(path)
    try:
        return [page.get_textpage().get_text_range().split(" Lorem")[0].split("Lorem")[0].strip() for page in document]
    finally:
        document.close()


class Monitor:
    """A submission that is followed while a test does something else."""

    def __init__(self, server: ServerProcess, **variables: str) -> None:
        self._socket = socket.create_connection(server.pageflex, PATIENCE)
        self._socket.sendall(packet("SubmitJob", ProjectName="a.pf", _sys_ClientJobMonitor="true", **variables))
        self.text = ""

    def until(self, what: str) -> str:
        """Read until something was told, or to the end; gives all that was told."""
        while what not in self.text and (more := self._socket.recv(4096)):
            self.text += more.decode("cp1252")
        return self.text

    def close(self) -> None:
        self._socket.close()

    @property
    def transaction(self) -> str:
        """The id of the job."""
        match = re.match(r"R0000000: (T\d+)", self.until("\r\n"))
        assert match, self.text
        return match[1]


class FaultCase(TestCase):
    timeout = 300
    config = 'executor = "processes:2"\n[backends.merge]\nchunk = 10\n'
    records = 1000

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pfserver-fault-"))
        self.addCleanup(shutil.rmtree, self.folder)
        put_project(self.folder / "projects", self.records)

    def start(self) -> ServerProcess:
        server = ServerProcess(self.folder, config=self.config)
        self.addCleanup(server.close)
        return server.wait()

    def monitor(self, server: ServerProcess, job: str = "A", **variables: str) -> Monitor:
        monitor = Monitor(server, JobName=job, **variables)
        self.addCleanup(monitor.close)
        return monitor

    def until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                self.fail(f"{what} did not happen")
            threading.Event().wait(0.02)

    def output(self, transaction: str) -> Path:
        return self.folder / "state" / "output" / transaction

    def assertComplete(self, folder: Path) -> None:
        expected = [f"record {n}" for n in range(1, self.records + 1)]
        self.assertEqual(first_words(folder / "001.pdf"), expected)
        ledger = json.loads((folder / "job.json").read_text())
        self.assertEqual((ledger["documents"], ledger["failures"]), (self.records, 0))
        self.assertEqual(sorted(path.name for path in folder.iterdir()), ["001.pdf", "job.json"])


class WorkerTests(FaultCase):
    records = 3000

    def test_workers_that_are_killed_lose_nothing(self) -> None:
        server = self.start()
        monitor = self.monitor(server)
        killed: set[int] = set()
        monitor.until("J0000112")
        for _ in range(5):
            self.until(lambda: bool(set(worker_processes(server)) - killed), "a new worker")
            victim = (set(worker_processes(server)) - killed).pop()
            os.kill(victim, signal.SIGKILL)
            killed.add(victim)
        text = monitor.until("ended")
        self.assertIn("J0000020: Job completed", text)
        self.assertComplete(self.output(monitor.transaction))
        self.assertIn("merge.chunk-lost", "".join(server.log))

    def test_workers_end_with_a_server_that_is_killed(self) -> None:
        server = self.start()
        monitor = self.monitor(server)
        self.until(lambda: len(worker_processes(server)) == 2, "two workers")
        workers = worker_processes(server)
        server.kill()
        self.until(lambda: not any(Path(f"/proc/{one}").exists() for one in workers), "the workers' end")
        # And whoever comes next takes the job up again.
        again = self.start()
        status = packet("GetJobStatus", _sys_TransactionID=monitor.transaction)
        self.until(lambda: b"SUCCESS" in again.talk(status), "success")
        self.assertComplete(self.output(monitor.transaction))


class CancelTests(FaultCase):
    records = 20_000

    def test_a_cancelled_job_keeps_what_it_has(self) -> None:
        server = self.start()
        monitor = self.monitor(server)
        monitor.until("J0000112")
        self.assertTrue(
            server.talk(packet("CancelJob", _sys_TransactionID=monitor.transaction)).startswith(b"R0000000")
        )
        self.assertIn("J0000023: Cancelled by user", monitor.until("ended"))
        folder = self.output(monitor.transaction)
        ledger = json.loads((folder / "job.json").read_text())
        documents = ledger["documents"]
        self.assertTrue(0 < documents < self.records)
        pages = [words for path in sorted(folder.glob("*.pdf")) for words in first_words(path)]
        # Each worker ended before its next record: those of the first worker's chunk may be followed by a gap.
        self.assertEqual(pages, [f"record {entry['record']}" for entry in ledger["records"]])
        self.assertEqual(len(pages), documents)


class SlowCancelTests(FaultCase):
    config = 'executor = "processes:1"\n'

    def test_no_further_record_is_begun(self) -> None:
        rule = "export function Slow() { const end = Date.now() + 100; while (Date.now() < end) {} return ''; }"
        (self.folder / "projects" / "r.js").write_text(rule)
        project = self.folder / "projects" / "a.pf"
        project.write_text(project.read_text() + '[rules]\nscript = "r.js"\nvariables = ["Slow"]\n')
        server = self.start()
        monitor = self.monitor(server)
        output = server.state / "output"
        self.until(lambda: list(output.glob(f".{monitor.transaction}.*.partial")), "the first record")
        server.talk(packet("CancelJob", _sys_TransactionID=monitor.transaction))
        self.assertIn("J0000023: Cancelled by user", monitor.until("ended"))
        ledger = json.loads((self.output(monitor.transaction) / "job.json").read_text())
        # The chunks that were read ahead have 150 records.
        self.assertLess(ledger["documents"], 100)


class DiskTests(FaultCase):
    records = 300

    def setUp(self) -> None:
        super().setUp()
        self.disk = SmallDisk(self, self.folder / "disk", "64k")
        self.config = f'output_roots = ["{self.disk.path}"]\n{self.config}'

    def test_a_full_disk_is_waited_for(self) -> None:
        server = self.start()
        for job in ("A", "B"):
            self.disk.resize("64k")
            monitor = self.monitor(server, job, _sys_FinalOutputDir=str(self.disk.path))
            text = monitor.until("is tried again")
            self.assertIn(
                "J0005014: the output could not be written: No space left on device; the job is tried again", text
            )
            # Others are unharmed: their output lies elsewhere.
            other = self.monitor(server, job)
            self.assertIn("J0000020: ", other.until("ended"))
            self.disk.resize("64M")
            self.assertIn("J0000020: ", monitor.until("ended"))
            folder = self.disk.path / monitor.transaction
            if job == "A":
                self.assertComplete(folder)
            else:
                self.assertEqual(len(list(folder.glob("*.pdf"))), self.records)
            self.assertEqual([path.name for path in self.disk.path.iterdir() if path.name.startswith(".")], [])
            shutil.rmtree(folder)


class ThreadTests(FaultCase):
    config = 'executor = "threads:2"\n[backends.merge]\nchunk = 10\n'
    records = 200

    def test_threads_do_the_same(self) -> None:
        server = self.start()
        monitors = [self.monitor(server) for _ in range(3)]
        for monitor in monitors:
            self.assertIn("J0000020: ", monitor.until("ended"))
            self.assertComplete(self.output(monitor.transaction))
        self.assertEqual(worker_processes(server), [])
