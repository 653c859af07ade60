"""Large documents through a real server process: refused before they are sent, or taken with little memory."""

from __future__ import annotations

import base64
import http.client
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from pfserver.wire.xmlrpc import Fault, Reader, Response
from tests.factory.support import FactoryCase

MIB = 1024 * 1024

#: What a server may need for a document of any size: the largest piece that is held, some times over.
ALLOWANCE = 40 * MIB


class Digest:
    """A sink that keeps a digest."""

    def __init__(self) -> None:
        self.size = 0
        self._digest = sha256()

    def write(self, data: bytes) -> None:
        self.size += len(data)
        self._digest.update(data)

    @property
    def value(self) -> str:
        return self._digest.hexdigest()


class LargeTests(FactoryCase):
    """100 MiB."""

    size = 100 * MIB

    def pieces(self) -> Iterator[bytes]:
        """The result: something like a PDF."""
        block = bytes(range(256)) * (3 * 1024)
        left = self.size - 9
        yield b"%PDF-1.4\n"
        while left > 0:
            yield block[:left]
            left -= len(block)

    def finish(self, job: str) -> Iterator[bytes]:
        """A call of ``jobs.finish``, piece by piece."""
        head = "<methodCall><methodName>jobs.finish</methodName><params>"
        for text in ("My factory", job, "pdf"):
            head += f"<param><value><string>{text}</string></value></param>"
        yield f"{head}<param><value><string>".encode()
        for piece in self.pieces():
            yield base64.b64encode(piece)
        yield b"</string></value></param></params></methodCall>"

    def memory(self, line: str) -> int:
        """Bytes of the server's memory: ``VmRSS`` now, ``VmHWM`` at its peak."""
        status = Path(f"/proc/{self.server.process.pid}/status").read_text()
        (found,) = [one for one in status.splitlines() if one.startswith(line)]
        return int(found.split()[1]) * 1024

    def post(self, body: Iterator[bytes], length: int, sink: Digest) -> Response | Fault:
        """Send a call and read its answer as it comes."""
        connection = http.client.HTTPConnection(*self.server.addresses["http"], timeout=60)
        self.addCleanup(connection.close)
        connection.putrequest("POST", "/xmlrpc")
        connection.putheader("Content-Length", str(length))
        connection.endheaders()
        for piece in body:
            connection.send(piece)
        answer = connection.getresponse()
        self.assertEqual(answer.status, 200)
        reader = Reader({("", 0, "document")}, lambda: sink)
        while piece := answer.read(64 * 1024):
            reader.feed(piece)
        result = reader.close()
        assert isinstance(result, Response | Fault)
        return result

    def test_accepted_with_little_memory(self) -> None:
        name = self.submit(self.document())
        job = self.call("jobs.poll", "My factory")["job"]
        idle = self.memory("VmRSS")
        length = sum(len(piece) for piece in self.finish(job))
        result = self.post(self.finish(job), length, Digest())
        self.assertIsInstance(result, Response)
        sent = Digest()
        for piece in self.pieces():
            sent.write(piece)
        status = self.wait_done(name)
        self.assertEqual([one["size"] for one in status["artifacts"]], [float(self.size)])
        # And out again.
        fetch = f"<methodCall><methodName>pfserver.fetch</methodName><params><param><value>{name}</value></param>"
        fetch += "<param><value>note.pdf</value></param></params></methodCall>"
        received = Digest()
        self.post(iter([fetch.encode()]), len(fetch), received)
        self.assertEqual((received.size, received.value), (self.size, sent.value))
        self.assertLess(self.memory("VmHWM") - idle, ALLOWANCE)

    def test_refused_before_it_is_sent(self) -> None:
        result = self.post(iter(()), 200 * MIB * 4 // 3, Digest())
        assert isinstance(result, Fault)
        self.assertEqual(result.code, 7)
        self.assertFalse(list((self.server.state / "uploads").glob("*")))
