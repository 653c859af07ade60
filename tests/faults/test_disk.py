"""A full disk: what cannot be stored is refused with a clear message, and the service goes on once there is room."""

from __future__ import annotations

import os
import resource
import shutil
import socket
import tempfile
import time
import zipfile
from pathlib import Path

from twisted.trial.unittest import TestCase

from tests.frontends.pageflex.support import packet
from tests.support.disk import SmallDisk
from tests.support.process import PATIENCE, ServerProcess, ended
from tests.support.projects import assert_whole, put_project


class LimitedFileTests(TestCase):
    """Wherever tests run: no file system is mounted for it."""

    timeout = 300

    def test_nothing_is_accepted_that_cannot_be_stored_and_nothing_accepted_is_lost(self) -> None:
        submit = packet("SubmitJob", ProjectName="noop", JobName="x")
        with ServerProcess(Path(self.mktemp())) as server:
            accepted = [server.talk(submit)]
            # A file system without room, as far as this process can tell: no file may grow beyond what the log has.
            log = next(server.state.glob("*-wal"))
            hard = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)[1]
            resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (log.stat().st_size, hard))
            # The log may have room of its own at first; it does not last for all of these.
            refused = [reply for reply in (server.talk(submit) for _ in range(50)) if not reply.startswith(b"R0000000")]
            accepted += [reply for reply in (server.talk(submit) for _ in range(2)) if reply.startswith(b"R0000000")]
            self.assertTrue(refused)
            for reply in refused:
                self.assertRegex(
                    reply, rb"\AR0005121: nothing could be stored: (disk I/O error|database or disk is full)\r\n\Z"
                )
            self.assertRegex(server.talk(packet("GetJobQueueLen")), rb"\AR0000000: \d+ ")
            resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
            accepted.append(server.talk(submit))
            for reply in accepted:
                self.assertRegex(reply, rb"\AR0000000: T\d{7}\r\n\Z")
                self.assertEqual(ended(server, reply[10:-2]), b"SUCCESS")


class FullDiskTests(TestCase):
    """The state folder lies on a file system that is filled until nothing goes any more (ENOSPC)."""

    timeout = 300
    records = 50
    config = 'executor = "processes:1"\n'

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pfserver-disk-"))
        self.addCleanup(shutil.rmtree, self.folder)
        put_project(self.folder / "projects", self.records)
        self.disk = SmallDisk(self, self.folder / "state", "24m")

    def start(self, config: str = "") -> ServerProcess:
        server = ServerProcess(self.folder, config=self.config + config)
        self.addCleanup(server.close)
        return server.wait()

    def monitor(self, server: ServerProcess, **variables: str) -> socket.socket:
        client = socket.create_connection(server.pageflex, PATIENCE)
        self.addCleanup(client.close)
        client.sendall(packet("SubmitJob", JobName="A", _sys_ClientJobMonitor="true", **variables))
        return client

    def until(self, client: socket.socket, what: bytes) -> bytes:
        received = b""
        while what not in received and (more := client.recv(4096)):
            received += more
        self.assertIn(what, received)
        return received

    def test_commits(self) -> None:
        submit = packet("SubmitJob", ProjectName="noop-output", JobName="x")
        server = self.start()
        accepted = [server.talk(submit)]
        self.disk.fill()
        refused: list[bytes] = []
        while len(refused) < 20:
            # The log may have room of its own at first.
            reply = server.talk(submit)
            (accepted if reply.startswith(b"R0000000") else refused).append(reply)
        for reply in refused:
            self.assertRegex(
                reply, rb"\AR0005121: nothing could be stored: (disk I/O error|database or disk is full)\r\n\Z"
            )
        self.assertRegex(server.talk(packet("GetJobQueueLen")), rb"\AR0000000: \d+ ")
        self.disk.free()
        accepted.append(server.talk(submit))
        for reply in accepted:
            self.assertRegex(reply, rb"\AR0000000: T\d{7}\r\n\Z")
            self.assertEqual(ended(server, reply[10:-2]), b"SUCCESS")
            name = reply[10:-2].decode()
            self.assertEqual((server.state / "output" / name / "001.txt").read_text(), name * 1000)

    def test_a_zipped_project_that_finds_no_room_waits(self) -> None:
        with zipfile.ZipFile(self.folder / "projects" / "z.pf", "w") as archive:
            for path in (self.folder / "projects").iterdir():
                if path.name != "z.pf":
                    archive.write(path, path.name)
            archive.writestr("large", os.urandom(4 << 20))
        submit = packet("SubmitJob", ProjectName="z.pf", JobName="A")
        server = self.start("[queues]\ndefault = 0\n")
        accepted = server.talk(submit)[10:-2]
        self.assertEqual(server.terminate(), 0)
        # What was unpacked is removed at the next start; then there is no room for it.
        shutil.rmtree(server.state / "backends")
        self.disk.fill(leave=2 << 20)
        server = self.start()
        server.wait_for_log("job.waits-for-disk")
        self.assertRegex(server.talk(submit), rb"\AR0005121: z.pf could not be unpacked: No space left on device\r\n\Z")
        told, log = b"z.pf could not be unpacked: No space left on device; the job is tried again", b""
        deadline = time.monotonic() + PATIENCE
        while told not in log:
            self.assertLess(time.monotonic(), deadline, log)
            log = server.talk(packet("GetTaskLog", _sys_TransactionID=accepted.decode()))
        self.disk.free()
        self.assertEqual(ended(server, accepted), b"SUCCESS")
        assert_whole(self, server.state / "output" / accepted.decode(), self.records)

    def test_a_query_that_finds_no_room_waits(self) -> None:
        (self.folder / "projects" / "d.csv").write_text(
            "n,text\n" + "".join(f"{n},{'x' * 50_000}\n" for n in range(1, self.records + 1))
        )
        server = self.start()
        self.disk.fill(leave=1 << 20)
        query = {"_sys_JobSQLQuery": "SELECT n FROM data ORDER BY n + 0"}
        client = self.monitor(server, ProjectName="a.pf", **query)
        told = self.until(client, b"is tried again")
        self.assertIn(b"there is no room for the query: ", told)
        self.disk.free()
        told += self.until(client, b"ended")
        self.assertIn(b"J0000020: ", told)
        assert_whole(self, server.state / "output" / told[10 : told.index(b"\r\n")].decode(), self.records)
        left = [path for path in (server.state / "backends" / "merge").iterdir() if path.name != "unpacked"]
        self.assertEqual(left, [])
