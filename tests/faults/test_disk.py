"""A full disk: what cannot be stored is refused with a clear message, and the service goes on once there is room."""

from __future__ import annotations

import resource
from pathlib import Path

from twisted.trial.unittest import TestCase

from tests.frontends.pageflex.support import packet
from tests.support.process import ServerProcess, ended


class FullDiskTests(TestCase):
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
