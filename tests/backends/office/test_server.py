"""Conversions by the server's own LibreOffice, asked for over the Pageflex socket API and over XML-RPC."""

from __future__ import annotations

import base64
import xmlrpc.client
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.backends.office import samples
from tests.backends.office.test_backend import need_office
from tests.frontends.pageflex.support import packet
from tests.support.process import ServerProcess, ended


class ServerTests(SynchronousTestCase):
    """A whole server."""

    def setUp(self) -> None:
        need_office()
        self.folder = Path(self.mktemp()).absolute()
        self.server = ServerProcess(self.folder, frontends=("pageflex", "http"))
        self.addCleanup(self.server.close)
        self.server.wait()

    def submit(self, document: str, **variables: str) -> list[str]:
        """The lines that answer a packet, with those of its monitor."""
        named = {f"_sys_{name}": value for name, value in variables.items()}
        data = packet("SubmitJob", ProjectName=document, _sys_ClientJobMonitor="TRUE", **named)
        return self.server.talk(data).decode("cp1252").splitlines()

    def call(self, method: str, *params: Any) -> Any:
        with xmlrpc.client.ServerProxy("http://{}:{}/xmlrpc".format(*self.server.addresses["http"])) as proxy:
            return getattr(proxy, method)(*params)

    def test_packet_and_monitor(self) -> None:
        samples.odt(self.server.projects / "letter.odt", pages=3)
        lines = self.submit("letter.odt", OutputFormat="png", Pages="2-", Resolution="50")
        self.assertEqual(lines[0], "R0000000: T0000001")
        self.assertEqual(
            lines[-3:],
            [
                "J0000101: Job Status = SUCCESS",
                "J0000020: Job completed successfully. 1 documents and 2 pages produced.",
                "J0000001: Transaction T0000001 ended",
            ],
        )
        self.assertFalse([line for line in lines if line.startswith("J0000117")], "a variable was not known")
        made = self.server.state / "output" / "T0000001"
        self.assertEqual(sorted(path.name for path in made.glob("*.png")), ["letter-0002.png", "letter-0003.png"])
        # The same job, seen from the other side.
        status = self.call("pfserver.status", "T0000001", 0)
        self.assertEqual((status["outcome"], status["pages"]), ("SUCCESS", 2))

    def test_bad_documents(self) -> None:
        samples.odt(self.server.projects / "letter.odt")
        (self.server.projects / "cut.odt").write_bytes((self.server.projects / "letter.odt").read_bytes()[:900])
        for document, variables, words in (
            ("cut.odt", {}, "damaged"),
            ("none.odt", {}, "no document"),
            ("../letter.odt", {}, "leaves"),
            ("letter.odt", {"OutputFormat": "exe"}, "_sys_OutputFormat"),
            ("letter.odt", {"Pages": "x"}, "_sys_Pages"),
        ):
            (line,) = self.submit(document, **variables)
            self.assertTrue(line.startswith("R0005"), line)
            self.assertIn(words, line)
        # What only shows when the document is opened ends the job.
        lines = self.submit("letter.odt", Pages="7-9")
        self.assertEqual(lines[-2:], ["J0000022: Job has failed. 0 documents and 0 pages produced.", lines[-1]])
        self.assertTrue(any("J0005017" in line and "no such pages: 7-9" in line for line in lines), lines)
        self.assertEqual(self.submit("letter.odt")[-3], "J0000101: Job Status = SUCCESS")

    def test_password(self) -> None:
        samples.odt(self.folder / "plain.odt", body="Secret on page")
        locked = self.server.projects / "locked.odt"
        samples.encrypt(self.folder / "plain.odt", self.folder / "profile", locked)
        (line,) = self.submit("locked.odt")
        self.assertIn("encrypted", line)
        lines = self.submit("locked.odt", Password="open sesame")
        self.assertEqual(lines[-3], "J0000101: Job Status = SUCCESS")
        request = {"filename": "up.odt", "document": xmlrpc.client.Binary(locked.read_bytes())}
        self.assertRaises(xmlrpc.client.Fault, self.call, "pfserver.submit", request)
        self.assertEqual(self.call("pfserver.submit", {**request, "password": "open sesame"}), ["T0000002"])
        self.assertEqual(ended(self.server, b"T0000002"), b"SUCCESS")
        made = self.folder / "fetched.pdf"
        made.write_bytes(base64.b64decode(self.call("pfserver.fetch", "T0000002", "up.pdf")["document"]))
        self.assertIn("Secret on page 1", samples.pdf_text(made))
        # It stands in no database and in no log.
        self.assertEqual(self.server.terminate(), 0)
        for path in self.server.state.glob("jobs.sqlite*"):
            self.assertNotIn(b"open sesame", path.read_bytes())
        self.assertNotIn("open sesame", "".join(self.server.log))
