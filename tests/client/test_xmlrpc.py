"""The blocking XML-RPC client against servers that close, lie, or are something else."""

from __future__ import annotations

import errno
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pfserver.client.errors import NoServer, ServerRefused
from pfserver.client.xmlrpc import FileSource, XMLRPCClient
from pfserver.errors import BadVariable
from pfserver.wire.xmlrpc import encode_fault, encode_response


def http(body: bytes, status: str = "200 OK", more: str = "") -> bytes:
    """An answer."""
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode() + body


class Script:
    """Answers each connection's first requests with what is written down, then closes it."""

    def __init__(self, *connections: list[bytes]) -> None:
        self.requests: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._connections = connections
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def _serve(self) -> None:
        for answers in self._connections:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                for answer in answers:
                    data = b""
                    while b"</methodCall>" not in data and (more := connection.recv(65536)):
                        data += more
                    self.requests.append(data)
                    connection.sendall(answer)

    def close(self) -> None:
        """End it."""
        # Closing alone would not wake who waits for a connection.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)


class XMLRPCClientTests(SynchronousTestCase):
    def call(self, *connections: list[bytes], times: int = 1, method: str = "m", **options: Any) -> Any:
        script = Script(*connections)
        self.addCleanup(script.close)
        with XMLRPCClient(script.url, seconds=5) as client:
            for _ in range(times):
                result = client.call(method, **options)
        return result

    def problem(self, *connections: list[bytes], **options: Any) -> str:
        return str(self.assertRaises(NoServer, self.call, *connections, **options))

    def test_an_answer(self) -> None:
        good = http(bytes(encode_response(["a", "b"])))
        self.assertEqual(self.call([good]), ["a", "b"])
        self.assertEqual(self.call([good, good], times=2), ["a", "b"])

    def test_a_connection_that_was_closed_meanwhile(self) -> None:
        good = http(bytes(encode_response(1)))
        self.assertEqual(self.call([good], [good], times=2), 1)

    def test_what_must_not_be_done_twice_is_not_sent_again(self) -> None:
        good = http(bytes(encode_response(1)))
        # The connection is closed in the very moment in which the second call goes out: nobody knows if it arrived.
        with patch.object(XMLRPCClient, "_is_stale", return_value=False):
            self.assertIn("no server answers", self.problem([good], [good], times=2, method="pfserver.submit"))
            for method in ("jobs.poll", "pfserver.release", "pfserver.factories.drop", "pfserver.accounts.drop_token"):
                self.assertIn("no server answers", self.problem([good], [good], times=2, method=method))
            self.assertEqual(self.call([good], [good], times=2, method="pfserver.status"), 1)
        # Where it was closed before, a new one is made.
        script = Script([good], [good])
        self.addCleanup(script.close)
        with XMLRPCClient(script.url, seconds=5) as client:
            client.call("pfserver.submit")
            while not client._is_stale():
                time.sleep(0.001)
            self.assertEqual(client.call("pfserver.submit"), 1)

    def test_a_fault(self) -> None:
        error = self.assertRaises(ServerRefused, self.call, [http(bytes(encode_fault(3, "no such job")))])
        self.assertEqual((error.number, error.text), (3, "no such job"))

    def test_what_is_no_answer(self) -> None:
        self.assertIn("HTTP status 502", self.problem([http(b"", "502 Bad Gateway")]))
        self.assertIn("no XML-RPC", self.problem([http(b"<html>")]))
        self.assertIn("no XML-RPC", self.problem([http(b"")]))
        self.assertIn("no XML-RPC", self.problem([b"R0000000: hello\r\n"]))
        self.assertIn("no XML-RPC", self.problem([http(bytes(encode_response("x")))[:-9]]))
        self.assertIn("no response", self.problem([http(b"<methodCall><methodName>x</methodName></methodCall>")]))
        self.assertIn("no server answers", self.problem([]))

    @settings(max_examples=50, deadline=None)
    @given(st.binary(max_size=200))
    def test_any_bytes(self, data: bytes) -> None:
        self.problem([data])

    def test_a_document_goes_to_its_sink(self) -> None:
        path = Path(self.mktemp())
        path.write_bytes(b"document" * 20_000)
        source = FileSource(path)
        self.addCleanup(source.close)
        answer = http(bytes(encode_response({"filename": "x", "document": source})))
        got: list[bytes] = []

        class Sink:
            write: Callable[[bytes], None] = staticmethod(got.append)

        self.call([answer], open_sink=Sink)
        self.assertEqual(b"".join(got), path.read_bytes())

    def document(self, size: int = 160_000) -> Path:
        path = Path(self.mktemp())
        path.write_bytes(b"d" * size)
        return path

    def test_a_file_that_cannot_be_written_is_not_the_server_s_fault(self) -> None:
        source = FileSource(self.document())
        self.addCleanup(source.close)
        long = http(bytes(encode_response({"filename": "x", "document": source})))
        script = Script([long], [http(bytes(encode_response("next")))])
        self.addCleanup(script.close)
        with XMLRPCClient(script.url, seconds=5) as client:
            # Nothing can ever be written to this one.
            with Path("/dev/full").open("wb", buffering=0) as full:
                error = self.assertRaises(OSError, client.call, "pfserver.fetch", open_sink=lambda: full)
            self.assertEqual(error.errno, errno.ENOSPC)
            # The rest of that answer is not the next one.
            self.assertIsNone(client._connection.sock)
            self.assertEqual(client.call("m"), "next")

    def test_a_file_that_cannot_be_read_is_not_the_server_s_fault(self) -> None:
        path = self.document()
        shorter, broken = FileSource(path), FileSource(path)
        broken._file.close()
        os.truncate(path, 10)
        # What a bad disk says, without one: nothing lies at the beginning of a process's memory.
        broken._file = Path("/proc/self/mem").open("rb", buffering=0)  # noqa: SIM115 - closed with the source
        for source, words in ((shorter, "shorter"), (broken, str(path))):
            self.addCleanup(source.close)
            script = Script([b""])
            self.addCleanup(script.close)
            with XMLRPCClient(script.url, seconds=5) as client:
                error = self.assertRaises(OSError, client.call, "pfserver.submit", {"document": source})
                self.assertIn(words, str(error))
                self.assertIsNone(client._connection.sock)

    def test_an_answer_that_is_broken_off_is_not_read_on(self) -> None:
        broken = http(b"<methodResponse><params><nonsense/>" + b" " * 200_000)
        script = Script([broken], [http(bytes(encode_response("next")))])
        self.addCleanup(script.close)
        with XMLRPCClient(script.url, seconds=5) as client:
            self.assertIn("no XML-RPC", str(self.assertRaises(NoServer, client.call, "m")))
            self.assertEqual(client.call("m"), "next")

    def test_addresses(self) -> None:
        for url in ("ftp://x", "http://", "http://x:port", "http://x:99999999"):
            self.assertRaises(BadVariable, XMLRPCClient, url)
        self.assertEqual(XMLRPCClient("press.example.org:8010").host, "press.example.org")
