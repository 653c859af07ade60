"""What a factory asks a server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from pfserver.factory.errors import NotKept
from pfserver.factory.server import OfficeshotsServer
from pfserver.factory.tasks import Tasks
from tests.factory.test_tasks import file_size_limit


class Calls:
    """Answers a poll with a job."""

    async def call(self, method: str, *params: Any, open_sink: Any = None) -> Any:
        sink = open_sink()
        with file_size_limit(1000):
            sink.write(bytes(1500))
            sink.write(bytes(1500))
        return {"job": "1", "filename": "a.txt", "doctype": "txt", "document": sink}


class PollTests(SynchronousTestCase):
    def test_a_disk_that_fills_up_tells_which_job_is_not_here(self) -> None:
        root = Path(self.mktemp())
        server = OfficeshotsServer(Calls(), "My factory", Tasks(root, "x"))  # type: ignore[arg-type]
        error = self.failureResultOf(Deferred.fromCoroutine(server.poll()), NotKept).value
        self.assertEqual((error.task.job, str(error)), ("1", "the factory's disk cannot be used: File too large"))
        self.assertEqual(sorted(path.name for path in root.glob("*/*")), ["boot", "origin"])
