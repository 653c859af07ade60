"""``kill -9`` of the server around a lease: what a factory was told stays true."""

from __future__ import annotations

import base64
import xmlrpc.client
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.process import ServerProcess

PDF = base64.b64encode(b"%PDF-1.4\n%%EOF\n").decode()


class LeaseKillTests(SynchronousTestCase):
    """The server dies after each answer and comes back."""

    def start(self, folder: Path) -> None:
        self.server = ServerProcess(folder, frontends=("http",))
        self.addCleanup(self.server.close)
        self.server.wait()

    def call(self, method: str, *params: Any) -> Any:
        """Call a method, then kill the server and start another one."""
        with xmlrpc.client.ServerProxy("http://{}:{}/xmlrpc".format(*self.server.addresses["http"])) as proxy:
            result = getattr(proxy, method)(*params)
        self.server.kill()
        self.start(self.server.folder)
        return result

    def test_acknowledged_is_kept(self) -> None:
        self.start(Path(self.mktemp()))
        workers = [{"application": "LibreOffice"}]
        self.call("pfserver.factories.put", {"name": "f", "workers": workers})
        document = {"filename": "note.txt", "document": xmlrpc.client.Binary(b"A note\n"), "format": "pdf"}
        (name,) = self.call("pfserver.submit", {**document, "remote": True})
        job = self.call("jobs.poll", "f")
        self.assertEqual(base64.b64decode(job["document"]), b"A note\n")
        # The lease outlives the server: nobody else gets the job.
        self.assertEqual(self.call("jobs.poll", "f"), {})
        result = self.call("jobs.finish", "f", job["job"], "pdf", PDF)
        self.assertEqual(self.call("jobs.finish", "f", job["job"], "pdf", PDF), result)
        status = self.call("pfserver.status", name, 0)
        self.assertEqual((status["outcome"], [one["name"] for one in status["artifacts"]]), ("SUCCESS", ["note.pdf"]))
        self.assertEqual(self.call("pfserver.fetch", name, "note.pdf")["document"], PDF)
