"""A server process with a factory registered, and what tests ask it."""

from __future__ import annotations

import time
import xmlrpc.client
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.factory import FactoryProcess
from tests.support.forwarder import Forwarder
from tests.support.process import PATIENCE, ServerProcess

PDF = b"%PDF-1.4\n%%EOF\n"


class FactoryCase(SynchronousTestCase):
    """The server is reached through a forwarder, so that it may go away and come back."""

    config = ""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.forwarder = Forwarder()
        self.addCleanup(self.forwarder.close)
        self.start_server()
        self.register("My factory")
        self.pdf = self.folder / "fixed.pdf"
        self.pdf.write_bytes(PDF)

    def start_server(self) -> None:
        self.server = ServerProcess(self.folder / "server", frontends=("http",), config=self.config)
        self.addCleanup(self.server.close)
        self.server.wait()
        self.forwarder.target = self.server.addresses["http"]

    @property
    def direct(self) -> str:
        """The server's own address."""
        return "http://{}:{}".format(*self.server.addresses["http"])

    def call(self, method: str, *params: Any) -> Any:
        """Call a method of the server with the standard library's client."""
        with xmlrpc.client.ServerProxy(f"{self.direct}/xmlrpc") as proxy:
            return getattr(proxy, method)(*params)

    def register(self, name: str) -> None:
        self.call("pfserver.factories.put", {"name": name, "workers": [{"application": "LibreOffice"}]})

    def start(self, *options: str, name: str = "My factory", state: str = "factory") -> FactoryProcess:
        factory = FactoryProcess(self.folder / state, self.forwarder.url, name, *options)
        self.addCleanup(factory.close)
        return factory

    def start_copying(self, *options: str, name: str = "My factory", state: str = "factory") -> FactoryProcess:
        """One that renders anything to the same PDF, quickly."""
        command = f"cp '{self.pdf}' %source_dir/%source_base.pdf"
        return self.start("--command", command, *options, name=name, state=state)

    def submit(self, path: Path, output_format: str = "pdf", **more: Any) -> str:
        request = {
            "filename": path.name,
            "document": xmlrpc.client.Binary(path.read_bytes()),
            "format": output_format,
            "remote": True,
            **more,
        }
        (job,) = self.call("pfserver.submit", request)
        assert isinstance(job, str)
        return job

    def document(self) -> Path:
        """A document that is quick to check."""
        path = self.folder / "note.txt"
        path.write_text("A note\n")
        return path

    def wait_done(self, job: str) -> dict[str, Any]:
        """The status of a job once it is done."""
        deadline = time.monotonic() + PATIENCE
        while True:
            status = self.call("pfserver.status", job, 0)
            assert isinstance(status, dict)
            if status["state"] == "done":
                return status
            self.assertLess(time.monotonic(), deadline, f"{job} is not done: {status}")
            time.sleep(0.02)

    def texts(self, status: dict[str, Any]) -> str:
        """All messages of a job."""
        return "\n".join(message["text"] for message in status["messages"])

    def fetch(self, job: str, name: str) -> Path:
        """A file that a job has made."""
        struct = self.call("pfserver.fetch", job, name)
        target = self.folder / f"{job}-{name}"
        import base64

        target.write_bytes(base64.b64decode(struct["document"]))
        return target

    def kept(self, state: str = "factory") -> list[str]:
        """What a factory keeps of tasks."""
        return [path.name for path in (self.folder / state / "jobs").glob("*/*") if path.name not in ("boot", "origin")]
