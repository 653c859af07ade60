"""Documents on their way in: whole or not at all, nobody's but those who may, and kept for the jobs that need them."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any
from unittest.mock import patch

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase

from pfserver.documents.sweeper import SWEEP_AGE, SWEEP_INTERVAL, Sweeper
from pfserver.documents.uploads import Uploads
from pfserver.frontends.http.exchange import Upload
from pfserver.remote import Account
from pfserver.wire.xmlrpc import Fault, Response, encode_call
from tests.documents.test_sweeper import ClockWithThreads
from tests.frontends.http.channels import ChannelCase, Transport, answer
from tests.frontends.http.support import PDF, HttpCase, encoded

HEAD = b"POST /xmlrpc HTTP/1.1\r\nHost: x\r\n%sContent-Length: %d\r\n\r\n"

SUBMIT = (
    b"<methodCall><methodName>pfserver.submit</methodName><params><param><value><struct>"
    b"<member><name>document</name><value>"
)


class NearlyFull:
    """A file on a disk that takes some bytes of each write, and so many in all."""

    def __init__(self, file: Any, room: int) -> None:
        self._file = file
        self._room = room

    def write(self, data: bytes) -> int:
        if not self._room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        size = min(len(data), self._room, 1000)
        self._room -= size
        self._file.write(bytes(data[:size]))
        return size

    def close(self) -> None:
        self._file.close()


class PlaceTests(SynchronousTestCase):
    def test_on_another_disk(self) -> None:
        """Where an administrator has put the folder; what arrives lies on the same."""
        state, large = Path(self.mktemp()), Path(self.mktemp())
        state.mkdir()
        large.mkdir()
        (state / "uploads").symlink_to(large.absolute())
        uploads = Uploads(state)
        name = uploads.keep("secret")
        arriving, path = uploads.create()
        path.touch()
        self.assertTrue(path.is_relative_to(state / "uploads"))
        self.assertEqual((uploads.names(), uploads.text(name)), ([name], "secret"))
        self.assertFalse(uploads.has(arriving))
        uploads.forget_incoming()
        self.assertEqual((path.exists(), uploads.names()), (False, [name]))


class WriteTests(SynchronousTestCase):
    """A document is in its file, or an error says that it is not."""

    def upload(self, room: int) -> Upload:
        upload = Upload(Uploads(Path(self.mktemp())))
        upload._file = NearlyFull(upload._file, room)  # type: ignore[assignment]
        self.addCleanup(upload.discard)
        return upload

    def test_in_parts(self) -> None:
        data = bytes(range(256)) * 40
        upload = self.upload(len(data))
        upload.write(data)
        upload.close()
        self.assertEqual((upload.size, upload.path.read_bytes()), (len(data), data))

    def test_a_full_disk_is_an_error(self) -> None:
        self.assertRaises(OSError, self.upload(5000).write, bytes(5001))


class ArrivalTests(ChannelCase):
    """While a document arrives."""

    def begin(self, body: bytes, length: int, header: bytes = b"") -> tuple[Transport, Any]:
        transport, channel = self.connect()
        channel.dataReceived(HEAD % (header, length) + body)
        return transport, channel

    async def refused(self, transport: Transport, code: int, words: str) -> None:
        fault = answer(await self.received(transport))
        assert isinstance(fault, Fault), fault
        self.assertEqual(fault.code, code)
        self.assertIn(words, fault.text)
        self.assertEqual(self.uploads(), [])

    async def test_it_may_take_its_time(self) -> None:
        """The sweeper takes it for nothing that a job has left."""
        await self.add_factory()
        await self.submit()
        job = (await self.call("jobs.poll", "My factory"))["job"]
        call = bytes(encode_call("jobs.finish", "My factory", job, "pdf", encoded(PDF + os.urandom(90_000))))
        half = len(call) - 1000
        transport, channel = self.begin(call[:half], len(call))
        timer = ClockWithThreads()
        sweeper = Sweeper(self.engine, self.factories, Uploads(self.state), timer)
        self.assertEqual(len(self.uploads()), 1)
        for _ in range(round(SWEEP_AGE / SWEEP_INTERVAL) + 2):
            await sweeper.sweep()
            timer.advance(SWEEP_INTERVAL)
        channel.dataReceived(call[half:])
        self.assertIsInstance(answer(await self.received(transport)), Response)

    async def test_two_in_one_call(self) -> None:
        transport, _ = self.begin(SUBMIT + b"QQ==</value></member><member><name>document</name>", 100_000)
        await self.refused(transport, -32600, "two members 'document'")

    async def test_without_the_right(self) -> None:
        await self.factories.put_account(Account(name="n@example.org", rights={"work"}))
        token = await self.factories.make_token("n@example.org", "laptop")
        header = b"Authorization: Bearer %s\r\n" % token.encode()
        transport, channel = self.begin(SUBMIT + b"QUFB" * 20_000, 100_000_000, header)
        await self.refused(transport, 2, "no right to submit")
        channel.dataReceived(b"QUFB" * 100_000)
        self.assertEqual(self.uploads(), [])

    async def test_without_the_right_which_is_known_late(self) -> None:
        await self.factories.put_account(Account(name="n@example.org", rights=set()))
        late: Deferred[None] = Deferred()
        account_of_token = self.factories.account_of_token

        async def slowly(token: str) -> str | None:
            await late
            return await account_of_token(token)

        token = await self.factories.make_token("n@example.org", "laptop")
        with patch.object(self.factories, "account_of_token", slowly):
            header = b"Authorization: Bearer %s\r\n" % token.encode()
            transport, _ = self.begin(SUBMIT + b"QUFB" * 20_000, 100_000_000, header)
            self.assertEqual(transport.producerState, "paused")
            late.callback(None)
            await self.refused(transport, 2, "no right to submit")

    async def test_a_full_disk(self) -> None:
        """At the last piece, too, which is written when the document ends."""

        def full(upload: Upload, data: bytes) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        self.patch(Upload, "write", full)
        call = bytes(encode_call("pfserver.submit", {"filename": "a.odt", "document": "QUFB"}))
        transport, _ = self.begin(call, len(call))
        await self.refused(transport, -32500, "could not be stored")
        self.flushLoggedErrors(OSError)


class SettledTests(HttpCase):
    """What a job names is as safe as the job."""

    def setUp(self) -> Any:
        self.done: list[str] = []
        return super().setUp()

    async def test_on_the_disk_before_its_job_is_stored(self) -> None:
        fsync = os.fsync

        def note(handle: int) -> None:
            path = Path(f"/proc/self/fd/{handle}")
            self.done.append(path.readlink().name if path.is_dir() else path.readlink().parent.name + "/")
            fsync(handle)

        submit_group = self.engine.submit_group

        async def stored(requests: Any) -> Any:
            self.done.append("stored")
            return await submit_group(requests)

        self.patch(os, "fsync", note)
        with patch.object(self.engine, "submit_group", stored):
            await self.submit(document=encoded((self.projects / "letter.odt").read_bytes()))
        self.assertEqual(self.done[-3:], ["incoming/", "uploads", "stored"])
        self.assertEqual(Uploads(self.state).names(), self.uploads())

    async def test_not_on_the_disk_no_job(self) -> None:
        def refuse(uploads: Uploads, name: str) -> Path:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        self.patch(Uploads, "settle", refuse)
        document = encoded((self.projects / "letter.odt").read_bytes())
        text = await self.fault(
            -32500, "pfserver.submit", {"filename": "letter.odt", "document": document, "remote": True}
        )
        self.assertIn("could not be stored", text)
        self.assertEqual((await self.engine.jobs(), self.uploads()), ([], []))

    async def test_refused_it_is_removed(self) -> None:
        request = {"filename": "letter.odt", "document": encoded(b"no document"), "remote": True}
        await self.fault(6, "pfserver.submit", request)
        while self.uploads():
            await deferLater(reactor, 0.001)
