"""Factories and servers that are not ours: the standard library's XML-RPC server, others that are none."""

from __future__ import annotations

import base64
import gzip
import http.server
import socketserver
import threading
import xmlrpc.client
import xmlrpc.server
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.factory.support import PDF
from tests.support.factory import FactoryProcess


class ForeignServer:
    """An Officeshots server of the standard library: hands out its jobs once, keeps what comes back."""

    def __init__(self, jobs: list[Any]) -> None:
        self.jobs = jobs
        self.results: list[tuple[str, str, str, bytes]] = []
        self.arrived = threading.Event()
        self._server = xmlrpc.server.SimpleXMLRPCServer(("127.0.0.1", 0), logRequests=False)
        self._server.register_function(self.poll, "jobs.poll")
        self._server.register_function(self.finish, "jobs.finish")
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Its address, with the path that it listens on."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/RPC2"

    def poll(self, factory: str) -> Any:
        """The next job."""
        return self.jobs.pop(0) if self.jobs else {}

    def finish(self, factory: str, job: str, output_format: str, document: Any) -> str:
        """Takes a result."""
        data = base64.b64decode(document if isinstance(document, str) else document.data)
        self.results.append((factory, job, output_format, data))
        self.arrived.set()
        return "result"

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


def job(**changes: Any) -> dict[str, Any]:
    """What ``jobs.poll`` answers."""
    return {
        "job": "4975c9c6-79a0-43a1-8134-0ba5c0a80105",
        "application": "OpenOffice.org Writer",
        "version": "3.0",
        "pageStart": 1,
        "pageEnd": 0,
        "format": "pdf",
        "filename": "note.txt",
        "doctype": "txt",
        "document": base64.encodebytes(b"A note\n" * 30).decode("ascii"),
        **changes,
    }


class ForeignTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.pdf = self.folder / "fixed.pdf"
        self.pdf.write_bytes(PDF)

    def serve(self, *jobs: Any) -> ForeignServer:
        server = ForeignServer(list(jobs))
        self.addCleanup(server.close)
        return server

    def work(self, url: str, *options: str, command: str = "") -> FactoryProcess:
        command = command or f"cp '{self.pdf}' %source_dir/%source_base.pdf"
        factory = FactoryProcess(self.folder / "state", url, "My factory", "--command", command, *options)
        self.addCleanup(factory.close)
        return factory

    def test_a_job(self) -> None:
        server = self.serve(job())
        factory = self.work(server.url)
        factory.wait_for("finished")
        self.assertEqual(server.results, [("My factory", job()["job"], "pdf", PDF)])
        self.assertEqual(factory.terminate(), 0)

    def test_large_documents(self) -> None:
        text = b"A line that is quite long\n" * 100_000
        self.pdf.write_bytes(PDF + b"%" * 3_000_000)
        server = self.serve(job(document=base64.b64encode(text).decode("ascii")))
        factory = self.work(
            server.url, "--result", "%source_dir/copy.pdf", command=f"cp '{self.pdf}' %source_dir/copy.pdf"
        )
        factory.wait_for("finished")
        self.assertEqual(server.results[0][3], self.pdf.read_bytes())

    def test_what_others_call_nothing(self) -> None:
        server = self.serve([], "", False, {"job": ""}, job())
        self.work(server.url).wait_for("finished")

    def test_a_document_as_base64_and_pages_as_texts(self) -> None:
        document = xmlrpc.client.Binary(b"A note\n")
        server = self.serve(job(document=document, pageStart="2", pageEnd="", format="", doctype=""))
        self.work(server.url).wait_for("finished")
        self.assertEqual(server.results[0][2], "pdf")

    def test_names_that_want_to_leave_the_folder(self) -> None:
        server = self.serve(
            job(filename="../../../evil.txt", job="../../job"),
            job(filename="-rf.txt", job="2"),
            job(filename="C:\\x\\y;$(touch z).txt", job="3", doctype="../txt"),
        )
        factory = self.work(server.url)
        factory.wait_for("finished", 2)
        factory.wait_for("released", 1)
        self.assertEqual([result[1] for result in server.results], ["../../job", "2"])
        self.assertEqual(sorted(path.name for path in self.folder.iterdir()), ["fixed.pdf", "state"])

    def test_a_document_that_cannot_be_rendered(self) -> None:
        server = self.serve(job(doctype="odt", filename="x.odt"), job(job="2"))
        factory = self.work(server.url)
        (event,) = factory.wait_for("released")
        self.assertIn("the server gives it to others when its lock runs out", event["text"])
        factory.wait_for("finished")

    def test_answers_that_are_no_jobs(self) -> None:
        broken = job()
        del broken["document"]
        server = self.serve(broken, job(pageStart="x"), job(document="***"), job(job="2"))
        factory = self.work(server.url)
        factory.wait_for("finished")
        self.assertEqual(len(factory.of("away")), 3)
        self.assertEqual([result[1] for result in server.results], ["2"])

    def test_a_server_that_is_something_else(self) -> None:
        class Quiet(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                """Nobody wants to know."""

        with socketserver.TCPServer(("127.0.0.1", 0), Quiet) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
            thread.start()
            factory = self.work(f"http://127.0.0.1:{server.server_address[1]}")
            self.assertEqual(factory.join(), 65)
            self.assertIn("HTTP status 501", "".join(factory.log))
            server.shutdown()
            thread.join(10)

    def test_answers_are_not_unpacked(self) -> None:
        """A piece of a gzip becomes whatever its sender likes."""
        asked = []

        class Packing(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked.append(self.headers.get_all("Accept-Encoding"))
                body = gzip.compress(xmlrpc.client.dumps(({},), methodresponse=True).encode("ascii"))
                self.send_response(200)
                self.send_header("Content-Encoding", "gzip")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Nobody wants to know."""

        with socketserver.TCPServer(("127.0.0.1", 0), Packing) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
            thread.start()
            factory = self.work(f"http://127.0.0.1:{server.server_address[1]}")
            (event, *_) = factory.wait_for("away")
            self.assertIn("the server's answer is no XML-RPC", event["text"])
            self.assertEqual(asked[0], ["identity"])
            server.shutdown()
            thread.join(10)

    def test_no_method_of_that_name(self) -> None:
        class Other(ForeignServer):
            def poll(self, factory: str) -> Any:
                raise xmlrpc.client.Fault(-32601, "no such method")

        server = Other([])
        self.addCleanup(server.close)
        factory = self.work(server.url)
        self.assertEqual(factory.join(), 65)
        self.assertIn("pfserver: no such method", "".join(factory.log))

    def test_addresses_that_are_none(self) -> None:
        for url in ("ftp://x", "http://", "http://:1"):
            self.assertEqual(self.work(url).join(), 64)

    def test_a_token_does_not_travel_in_the_open(self) -> None:
        factory = self.work("http://192.0.2.1:8010", "--token", "secret")
        self.assertEqual(factory.join(), 64)
        self.assertIn("only over https://", "".join(factory.log))
