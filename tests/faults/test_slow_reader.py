"""A client that never reads what its monitor is told: the server's memory stays flat, and nobody else notices."""

from __future__ import annotations

import re
import socket
import threading
from pathlib import Path

from twisted.trial.unittest import TestCase

from tests.frontends.pageflex.support import packet
from tests.support.process import PATIENCE, ServerProcess, ended

NOTES, WIDTH = 100_000, 1000

#: MiB: far below the 100 MiB that are told, far above what one group of messages on its way takes.
GROWTH = 30


class SlowReaderTests(TestCase):
    timeout = 300

    def memory(self, server: ServerProcess, kind: str) -> float:
        """In MiB, of the server's process: VmRSS, or VmHWM for the most that there ever was."""
        status = Path(f"/proc/{server.process.pid}/status").read_text()
        match = re.search(rf"^{kind}:\s+(\d+) kB$", status, re.MULTILINE)
        assert match is not None
        return int(match[1]) / 1024

    def submit(self, server: ServerProcess, notes: int) -> socket.socket:
        client = socket.create_connection(server.pageflex, PATIENCE)
        self.addCleanup(client.close)
        variables = {"Notes": str(notes), "Width": str(WIDTH), "_sys_ClientJobMonitor": "true"}
        client.sendall(packet("SubmitJob", ProjectName="noop-chatty", JobName="x", **variables))
        return client

    def read(self, client: socket.socket) -> tuple[bytes, int]:
        """All to the end: the beginning, and how many lines there were."""
        first, lines = b"", 0
        while more := client.recv(1 << 16):
            first = first or more
            lines += more.count(b"\n")
        return first, lines

    def test_the_server_keeps_nothing_for_it_and_serves_the_others(self) -> None:
        with ServerProcess(Path(self.mktemp())) as server:
            # What the first job of a kind takes once, for all.
            self.read(self.submit(server, 3000))
            before = self.memory(server, "VmHWM")
            stuck = self.submit(server, NOTES)
            id_ = stuck.recv(19)[10:18]
            read: list[tuple[bytes, int]] = []
            other = self.submit(server, NOTES)
            reader = threading.Thread(target=lambda: read.append(self.read(other)))
            reader.start()
            served = 0
            while ended_now(server, id_) not in (b"SUCCESS", b"FAILED"):
                reply = server.talk(packet("SubmitJob", ProjectName="noop", JobName="x"))
                self.assertEqual(ended(server, reply[10:-2]), b"SUCCESS")
                served += 1
            reader.join(PATIENCE)
            self.assertGreater(served, 0)
            self.assertEqual(read[0][1], NOTES + 5)
            self.assertLess(self.memory(server, "VmHWM") - before, GROWTH)
            # And it may read yet, all of it.
            self.assertEqual(self.read(stuck)[1], NOTES + 5)
            self.assertLess(self.memory(server, "VmHWM") - before, GROWTH)


def ended_now(server: ServerProcess, id_: bytes) -> bytes:
    """A job's status as it is."""
    reply = server.talk(packet("GetJobStatus", _sys_TransactionID=id_.decode()))
    return reply.removeprefix(b"R0000000: Job Status = ").strip()
