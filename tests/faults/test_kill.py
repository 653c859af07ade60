"""``kill -9`` of the server at random moments under load: what was acknowledged exists afterwards and ends well."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

from twisted.trial.unittest import TestCase

from tests.frontends.pageflex.support import packet
from tests.support.process import PATIENCE, ServerProcess, ended
from tests.support.projects import assert_whole, put_project

#: How often the server is killed.
KILLS = int(os.environ.get("PFSERVER_KILLS", "50"))

#: Each so many kills, one in the middle of a merge job that has written something.
MERGE_EVERY = 5

#: Clients that submit small jobs all the time.
CLIENTS = 3

#: Records of a merge job.
RECORDS = 60

#: A server that is killed all the time begins a job more often than the default allows; then failing would be right.
CONFIG = 'attempts = 1000\nexecutor = "processes:1"\n[backends.merge]\nchunk = 10\n'

SMALL = packet("SubmitJob", ProjectName="noop-output", JobName="x")
MERGE = packet("SubmitJob", ProjectName="a.pf", JobName="A")


class KillTests(TestCase):
    timeout = 900

    def setUp(self) -> None:
        seed = int(os.environ.get("PFSERVER_SEED", str(random.randrange(1 << 30))))
        self.said = f"seed {seed}"
        self.dice = random.Random(seed)
        self.folder = Path(self.mktemp())
        put_project(self.folder / "projects", RECORDS)
        self.small: list[bytes] = []
        self.merges: list[bytes] = []

    def test_every_acknowledged_job_survives_and_ends_well_and_no_output_is_half(self) -> None:
        in_the_middle = 0
        for number in range(KILLS):
            server = ServerProcess(self.folder, config=CONFIG)
            try:
                in_the_middle += self.kill_under_load(server.wait(), wait_for_merge=number % MERGE_EVERY == 0)
            finally:
                server.close()
        acknowledged = self.small + self.merges
        self.assertGreater(len(self.small), KILLS)
        self.assertGreater(len(self.merges), KILLS // MERGE_EVERY)
        self.assertGreater(in_the_middle, 0)
        self.assertEqual(len(set(acknowledged)), len(acknowledged), "an id was given twice")
        with ServerProcess(self.folder, config=CONFIG) as server:
            statuses = {id_: ended(server, id_) for id_ in acknowledged}
        wrong = {id_: status for id_, status in statuses.items() if status != b"SUCCESS"}
        self.assertEqual(wrong, {}, self.said)
        output = self.folder / "state" / "output"
        for id_ in self.small:
            self.assertEqual([path.name for path in (output / id_.decode()).iterdir()], ["001.txt"], self.said)
            self.assertEqual((output / id_.decode() / "001.txt").read_bytes(), id_ * 1000, self.said)
        for id_ in self.merges:
            assert_whole(self, output / id_.decode(), RECORDS, self.said)
        self.assertEqual([path.name for path in output.iterdir() if path.name.startswith(".")], [], self.said)
        self.assertEqual(list((self.folder / "state" / "backends" / "merge").iterdir()), [], self.said)

    def kill_under_load(self, server: ServerProcess, *, wait_for_merge: bool) -> bool:
        """Kill it while clients submit; gives whether a merge job had written something of itself by then."""
        load = [threading.Thread(target=submit_until_dead, args=(server, SMALL, self.small)) for _ in range(CLIENTS)]
        # One a life: a merge job takes longer than most lives.
        load.append(threading.Thread(target=submit_until_dead, args=(server, MERGE, self.merges, 1)))
        for thread in load:
            thread.start()
        if wait_for_merge:
            until(lambda: self.has_begun(server))
        # The moment is the dice's, not the machine's speed: nothing is asserted about how far it came.
        time.sleep(self.dice.uniform(0.0, 0.2))
        begun = self.has_begun(server)
        server.kill()
        for thread in load:
            thread.join(PATIENCE)
        return begun

    def has_begun(self, server: ServerProcess) -> bool:
        try:
            return any(server.state.glob("output/.*.partial/.part-*"))
        except FileNotFoundError:
            # One ended while we looked.
            return False


def submit_until_dead(server: ServerProcess, data: bytes, acknowledged: list[bytes], limit: int = 1 << 30) -> None:
    for _ in range(limit):
        try:
            reply = server.talk(data)
        except OSError:
            return
        if reply.startswith(b"R0000000: T") and reply.endswith(b"\r\n"):
            acknowledged.append(reply[10:-2])
        elif not reply:
            return


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)
