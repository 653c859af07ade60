"""``kill -9`` of the server while OMI sets globals: what was answered is there, and bunches are all or nothing."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from twisted.trial.unittest import TestCase

from pfserver.client.errors import NoServer
from pfserver.client.omi_blocking import BlockingOMIClient
from pfserver.wire.omi import Get, Reference, Set
from tests.support.process import PATIENCE, ServerProcess

#: How often the server is killed.
KILLS = int(os.environ.get("PFSERVER_OMI_KILLS", "8"))

SESSIONS, BUNCH = 4, 20


def node(session: int, number: int, part: int) -> Reference:
    """``^X(session,number,part)``."""
    return Reference(b"", b"X", (b"%d" % session, b"%d" % number, b"%d" % part))


class OMIKillTests(TestCase):
    timeout = 600

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        #: By session, the number of the last bunch that was sent, and those that were answered.
        self.sent = [0] * SESSIONS
        self.answered: list[set[int]] = [set() for _ in range(SESSIONS)]

    def test_every_answered_bunch_survives_and_none_is_there_in_part(self) -> None:
        for round_ in range(KILLS):
            enough = threading.Event()
            wanted = [len(answered) + 1 + round_ * 3 for answered in self.answered]
            with ServerProcess(self.folder, frontends=("omi",)) as server:
                self._check(server)
                load = [
                    threading.Thread(target=self._set_until_dead, args=(server, session, wanted, enough))
                    for session in range(SESSIONS)
                ]
                for thread in load:
                    thread.start()
                self.assertTrue(enough.wait(PATIENCE))
                server.kill()
                for thread in load:
                    thread.join(PATIENCE)
        with ServerProcess(self.folder, frontends=("omi",)) as server:
            self._check(server)
        self.assertGreater(sum(map(len, self.answered)), KILLS)

    def _set_until_dead(self, server: ServerProcess, session: int, wanted: list[int], enough: threading.Event) -> None:
        try:
            with BlockingOMIClient(*server.addresses["omi"]) as client:
                while True:
                    number = self.sent[session] + 1
                    self.sent[session] = number
                    answers = client.ask_all([Set(node(session, number, part), b"v" * 100) for part in range(BUNCH)])
                    if any(answer.error is not None for answer in answers):
                        return
                    self.answered[session].add(number)
                    if len(self.answered[session]) >= wanted[session]:
                        enough.set()
        except (NoServer, OSError):
            # Killed, as was to be expected.
            return

    def _check(self, server: ServerProcess) -> None:
        with BlockingOMIClient(*server.addresses["omi"]) as client:
            for session in range(SESSIONS):
                for number in range(1, self.sent[session] + 1):
                    answers = client.ask_all([Get(node(session, number, part)) for part in range(BUNCH)])
                    values = {getattr(answer.reply, "value", None) for answer in answers}
                    if number in self.answered[session]:
                        self.assertEqual(values, {b"v" * 100}, "an answered bunch is lost")
                    self.assertEqual(len(values), 1, "a bunch is there in part")
