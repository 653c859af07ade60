"""``kill -9`` of the server at random moments under load: what was acknowledged exists afterwards and ends."""

from __future__ import annotations

import os
import random
import threading
import time
from pathlib import Path

from twisted.trial.unittest import TestCase

from tests.frontends.pageflex.support import packet
from tests.support.process import PATIENCE, ServerProcess, ended

#: How often the server is killed.
KILLS = int(os.environ.get("PFSERVER_KILLS", "50"))

#: Clients that submit all the time.
CLIENTS = 4


class KillTests(TestCase):
    timeout = 900

    def test_every_acknowledged_job_survives_and_ends_and_no_output_is_half(self) -> None:
        seed = int(os.environ.get("PFSERVER_SEED", str(random.randrange(1 << 30))))
        self.addCleanup(lambda: self._note(seed))
        dice = random.Random(seed)
        folder = Path(self.mktemp())
        acknowledged: list[bytes] = []
        # With a server killed all the time even the default of three attempts may be spent.
        for _ in range(KILLS):
            server = ServerProcess(folder)
            try:
                server.wait()
                load = [
                    threading.Thread(target=self._submit_until_dead, args=(server, acknowledged))
                    for _ in range(CLIENTS)
                ]
                for thread in load:
                    thread.start()
                # The moment is the dice's, not the machine's speed: nothing is asserted about how far it came.
                time.sleep(dice.uniform(0.0, 0.25))
                server.kill()
                for thread in load:
                    thread.join(PATIENCE)
            finally:
                server.close()
        self.assertGreater(len(acknowledged), KILLS)
        self.assertEqual(len(set(acknowledged)), len(acknowledged), "an id was given twice")
        with ServerProcess(folder) as server:
            statuses = {id_: ended(server, id_) for id_ in acknowledged}
        wrong = {id_: status for id_, status in statuses.items() if status not in (b"SUCCESS", b"FAILED")}
        self.assertEqual(wrong, {}, f"seed {seed}")
        for id_, status in statuses.items():
            output = folder / "state" / "output" / id_.decode() / "001.txt"
            if status == b"SUCCESS":
                self.assertEqual(output.read_bytes(), id_ * 1000, f"seed {seed}")
            else:
                self.assertFalse(output.parent.exists())
        left = [path.name for path in (folder / "state" / "output").iterdir() if path.name.startswith(".")]
        self.assertEqual(left, [])

    def _submit_until_dead(self, server: ServerProcess, acknowledged: list[bytes]) -> None:
        data = packet("SubmitJob", ProjectName="noop-output", JobName="x")
        while True:
            try:
                reply = server.talk(data)
            except OSError:
                return
            if reply.startswith(b"R0000000: T") and reply.endswith(b"\r\n"):
                acknowledged.append(reply[10:-2])
            elif not reply:
                return

    def _note(self, seed: int) -> None:
        (Path(self.mktemp()).parent / "seed").write_text(str(seed))
