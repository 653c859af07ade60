"""``jobs.poll`` and ``jobs.finish``: jobs go out once, results come in once, whatever is lost on the way."""

from __future__ import annotations

import base64
import errno
import os
import socket
import struct
import uuid
import xmlrpc.client
import zipfile
from unittest.mock import patch

from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred, gatherResults
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from pfserver.errors import JobFailed, StoreUnavailable
from pfserver.frontends.http import jobs
from pfserver.model import JobRequest, Outcome, State, job_id_of
from pfserver.numbers import Number
from pfserver.remote import Worker
from pfserver.wire.xmlrpc import INTERNAL
from tests.frontends.http.support import PDF, HttpCase, encoded


class PollTests(HttpCase):
    """Jobs go out."""

    async def test_nothing_to_do(self) -> None:
        await self.add_factory()
        self.assertEqual(await self.call("jobs.poll", "My factory"), {})
        status, headers, body = await self.post(
            b"<methodCall><methodName>jobs.poll</methodName><params><param><value>My factory</value></param></params>"
            b"</methodCall>"
        )
        self.assertEqual((status, headers["Content-Type"]), (200, "text/xml"))
        self.assertIn(b"<struct></struct>", body)
        self.assertTrue((await self.factories.factory("My factory")).active)

    async def test_a_job(self) -> None:
        await self.add_factory()
        (name,) = await self.submit(pages="2-4")
        job = await self.call("jobs.poll", "My factory")
        self.assertEqual(
            sorted(job),
            sorted(
                ["job", "application", "version", "pageStart", "pageEnd", "format", "filename", "doctype", "document"]
            ),
        )
        self.assertEqual(str(uuid.UUID(job["job"])), job["job"])
        self.assertEqual((job["application"], job["version"]), ("LibreOffice Writer", "7.4"))
        self.assertEqual((job["pageStart"], job["pageEnd"], job["format"]), (2, 4, "pdf"))
        self.assertEqual((job["filename"], job["doctype"]), ("letter.odt", "odt"))
        self.assertEqual(base64.b64decode(job["document"]), (self.projects / "letter.odt").read_bytes())
        self.assertEqual(await self.call("jobs.poll", "My factory"), {})
        stored = await self.engine.job(job_id_of(name))
        self.assertEqual((stored.state, stored.node), (State.LEASED, "My factory"))
        factory = await self.factories.factory("My factory")
        self.assertEqual((factory.polls, factory.leased), (2, 1))

    async def test_a_job_that_cannot_be_handed_out_waits_for_the_next_who_asks(self) -> None:
        await self.add_factory()
        (name,) = await self.submit()
        refused = StoreUnavailable("nothing could be stored: database or disk is full")
        with patch.object(self.factories, "hand_out", side_effect=refused):
            await self.fault(-32500, "jobs.poll", "My factory")
        self.assertEqual((await self.engine.job(job_id_of(name))).state, State.QUEUED)
        self.assertTrue((await self.call("jobs.poll", "My factory"))["job"])

    async def test_defaults(self) -> None:
        await self.add_factory()
        await self.submit(format="")
        job = await self.call("jobs.poll", "My factory")
        self.assertEqual((job["pageStart"], job["pageEnd"], job["format"]), (1, 0, ""))

    async def test_unknown_factory(self) -> None:
        self.assertIn("no factory", await self.fault(1, "jobs.poll", "Nobody"))

    async def test_arguments(self) -> None:
        await self.fault(-32602, "jobs.poll")
        await self.fault(-32602, "jobs.poll", 7)
        await self.fault(-32602, "jobs.poll", "a", "b")
        await self.fault(-32601, "jobs.nope")

    async def test_matching(self) -> None:
        await self.add_factory("word", workers=(Worker(application="Word", version="2003 SP2", formats={"pdf"}),))
        await self.submit()
        self.assertEqual(await self.call("jobs.poll", "word"), {})
        await self.submit(applications=[{"application": "Word", "version": "2003 SP2"}])
        self.assertEqual((await self.call("jobs.poll", "word"))["application"], "Word")
        await self.submit(applications=[{"application": "Word", "version": "2000"}])
        await self.submit(applications=[{"application": "Word"}], format="png")
        self.assertEqual(await self.call("jobs.poll", "word"), {})

    async def test_any_application(self) -> None:
        """A factory is told which of its programs it is to run, whatever was asked for."""
        workers = (
            Worker(application="Calligra", version="3.2", doctypes={"ods"}),
            Worker(application="LibreOffice", version="7.4"),
        )
        await self.add_factory(workers=workers)
        for asked in ({"applications": [], "remote": True}, {"applications": [{"application": "libreoffice"}]}):
            await self.submit(**asked)
            job = await self.call("jobs.poll", "My factory")
            self.assertEqual((job["application"], job["version"]), ("LibreOffice", "7.4"))

    async def test_document_that_cannot_be_read(self) -> None:
        await self.add_factory()
        (name,) = await self.submit()

        def refuse(path: object) -> None:
            raise PermissionError(13, "Permission denied", str(path))

        self.patch(jobs, "FileSource", refuse)
        self.assertEqual(await self.call("jobs.poll", "My factory"), {})
        job = await self.engine.job(job_id_of(name))
        self.assertEqual(job.outcome, Outcome.FAILED)
        told = [message.text for message in await self.engine.messages(job.id)]
        self.assertIn("the document cannot be read: Permission denied", told)

    async def test_document_that_has_gone(self) -> None:
        await self.add_factory()
        (gone,), (good,) = await self.submit(), await self.submit()
        document = (self.projects / "letter.odt").read_bytes()
        (self.projects / "letter.odt").unlink()
        self.assertEqual(await self.call("jobs.poll", "My factory"), {})
        self.assertEqual((await self.engine.job(job_id_of(gone))).outcome, Outcome.FAILED)
        self.assertEqual((await self.engine.job(job_id_of(good))).outcome, Outcome.FAILED)
        (self.projects / "letter.odt").write_bytes(document)

    async def test_many_jobs_of_one_account_do_not_hide_those_of_another(self) -> None:
        await self.add_factory()
        (self.projects / "note.txt").write_text("A note\n")
        variables = {"_sys_Application": "LibreOffice Writer"}
        busy = JobRequest(project="note.txt", variables=variables, account="busy@example.org")
        await self.engine.submit_group([busy] * 300)
        small = JobRequest(project="letter.odt", variables=variables, account="small@example.org")
        await self.engine.submit_group([small] * 2)
        polled = [(await self.call("jobs.poll", "My factory"))["filename"] for _ in range(5)]
        self.assertEqual(polled, ["note.txt", "letter.odt", "note.txt", "letter.odt", "note.txt"])

    async def test_two_factories_two_hundred_jobs(self) -> None:
        await self.add_factory("one")
        await self.add_factory("two")
        for _ in range(4):
            applications = [{"application": "LibreOffice Writer"}] * 50
            self.assertEqual(len(await self.submit(applications=applications)), 50)
        seen: list[str] = []

        async def work(factory: str) -> None:
            while job := await self.call("jobs.poll", factory):
                seen.append(job["job"])
                await self.call("jobs.finish", factory, job["job"], "pdf", encoded(PDF))

        await gatherResults([ensureDeferred(work(name)) for name in ("one", "two", "one", "two")])
        self.assertEqual((len(seen), len(set(seen))), (200, 200))
        jobs = await self.engine.jobs(limit=500)
        self.assertEqual({(job.state, job.outcome, job.attempts) for job in jobs}, {(State.DONE, Outcome.COMPLETED, 1)})
        finished = [factory.finished for factory in await self.factories.factories()]
        self.assertEqual(sum(finished), 200)


class FinishTests(HttpCase):
    """Results come in."""

    async def setUp(self) -> None:
        await super().setUp()
        await self.add_factory()
        await self.add_factory("other")

    async def poll(self, factory: str = "My factory") -> str:
        job = await self.call("jobs.poll", factory)
        name = job["job"]
        assert isinstance(name, str)
        return name

    async def test_result(self) -> None:
        (name,) = await self.submit()
        job = await self.poll()
        result = await self.call("jobs.finish", "My factory", job, "pdf", encoded(PDF))
        self.assertNotEqual(str(uuid.UUID(result)), job)
        status = await self.call("pfserver.status", name, 0)
        self.assertEqual((status["state"], status["outcome"]), ("done", "SUCCESS"))
        self.assertEqual([(one["name"], one["size"]) for one in status["artifacts"]], [("letter.pdf", float(len(PDF)))])
        fetched = await self.call("pfserver.fetch", name, "letter.pdf")
        self.assertEqual(base64.b64decode(fetched["document"]), PDF)
        self.assertEqual(self.uploads(), [])

    async def test_resent(self) -> None:
        (name,) = await self.submit()
        job = await self.poll()
        call = ("jobs.finish", "My factory", job, "pdf", encoded(PDF))
        # Also at once: a connection that was cut while the server still works on the first call.
        results = await gatherResults([ensureDeferred(self.call(*call)) for _ in range(4)])
        results.append(await self.call(*call))
        self.assertEqual(len(set(results)), 1)
        self.assertEqual(len(await self.engine.artifacts(job_id_of(name))), 1)
        self.assertEqual((await self.factories.factory("My factory")).finished, 1)
        await self.fault(4, "jobs.finish", "My factory", job, "pdf", encoded(PDF + b"other"))
        await self.fault(4, "jobs.finish", "other", job, "pdf", encoded(PDF))
        self.assertEqual(self.uploads(), [])

    async def test_lost_reply(self) -> None:
        (name,) = await self.submit()
        job = await self.poll()
        body = "<methodCall><methodName>jobs.finish</methodName><params><param><value>My factory</value></param>"
        body += f"<param><value>{job}</value></param><param><value>pdf</value></param>"
        body += f"<param><value>{encoded(PDF)}</value></param></params></methodCall>"
        head = f"POST /xmlrpc HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"

        def send_and_vanish() -> None:
            with socket.create_connection(("127.0.0.1", self.number), timeout=30) as connection:
                # Closed by a reset, as when a machine loses its network.
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.sendall((head + body).encode())

        await deferToThread(send_and_vanish)
        # Whether the first call was still taken or not: the second one does what is left to do.
        call = ("jobs.finish", "My factory", job, "pdf", encoded(PDF))
        self.assertEqual(await self.call(*call), await self.call(*call))
        stored = await self.engine.job(job_id_of(name))
        self.assertEqual((stored.outcome, stored.attempts), (Outcome.COMPLETED, 1))
        self.assertEqual(len(await self.engine.artifacts(stored.id)), 1)
        self.assertEqual((await self.factories.factory("My factory")).finished, 1)

    async def test_the_last_lease_ran_out(self) -> None:
        (name,) = await self.submit()
        for attempt in range(1, 4):
            job = await self.poll()
            if attempt < 3:
                await self.run_out()
        self.clock.advance(301)
        while (await self.engine.job(job_id_of(name))).state is not State.DONE:
            self.clock.advance(5)
            await deferLater(reactor, 0.001)
        self.assertEqual((await self.engine.job(job_id_of(name))).outcome, Outcome.FAILED)
        await self.fault(4, "jobs.finish", "My factory", job, "pdf", encoded(PDF))
        status = await self.call("pfserver.status", name, 0)
        self.assertTrue(any("3 attempts" in message["text"] for message in status["messages"]))

    async def test_base64_with_white_space(self) -> None:
        (name,) = await self.submit()
        job = await self.poll()
        data = PDF * 1000
        result = await self.call("jobs.finish", "My factory", job, "pdf", xmlrpc.client.Binary(data))
        again = await self.call("jobs.finish", "My factory", job, " PDF ", f"\n {encoded(data)}\n")
        self.assertEqual(result, again)
        self.assertEqual((await self.engine.artifacts(job_id_of(name)))[0].size, len(data))

    async def test_refused(self) -> None:
        (name,) = await self.submit()
        job = await self.poll()
        await self.fault(1, "jobs.finish", "Nobody", job, "pdf", encoded(PDF))
        await self.fault(3, "jobs.finish", "My factory", str(uuid.uuid4()), "pdf", encoded(PDF))
        await self.fault(3, "jobs.finish", "My factory", "x" * 1000, "pdf", encoded(PDF))
        await self.fault(5, "jobs.finish", "My factory", job, "png", encoded(b"\x89PNG\r\n\x1a\n"))
        await self.fault(5, "jobs.finish", "My factory", job, "exe", encoded(PDF))
        await self.fault(6, "jobs.finish", "My factory", job, "pdf", encoded(b"hello"))
        await self.fault(6, "jobs.finish", "My factory", job, "pdf", "")
        await self.fault(-32602, "jobs.finish", "My factory", job, "pdf", "%%%")
        await self.fault(-32602, "jobs.finish", "My factory", job, "pdf", 7)
        await self.fault(4, "jobs.finish", "other", job, "pdf", encoded(PDF))
        self.assertEqual((await self.engine.job(job_id_of(name))).state, State.LEASED)
        await self.call("jobs.finish", "My factory", job, "pdf", encoded(PDF))
        self.assertEqual(self.uploads(), [])

    async def run_out(self) -> None:
        """Let the five minutes pass, and the engine notice it."""
        self.clock.advance(301)
        for _ in range(100):
            if (await self.engine.queue_length()) == 1:
                return
            self.clock.advance(5)
            await deferLater(reactor, 0.01)
        self.fail("the lease did not run out")

    async def test_late_but_nobody_else_has_it(self) -> None:
        (name,) = await self.submit()
        job = await self.poll()
        await self.run_out()
        await self.call("jobs.finish", "My factory", job, "pdf", encoded(PDF))
        stored = await self.engine.job(job_id_of(name))
        self.assertEqual((stored.outcome, stored.attempts), (Outcome.COMPLETED, 1))
        self.assertEqual(await self.call("jobs.poll", "other"), {})

    async def test_late_and_somebody_else_has_it(self) -> None:
        (name,) = await self.submit()
        job = await self.poll()
        await self.run_out()
        self.assertEqual(await self.poll("other"), job)
        await self.fault(4, "jobs.finish", "My factory", job, "pdf", encoded(PDF))
        await self.call("jobs.finish", "other", job, "pdf", encoded(PDF))
        stored = await self.engine.job(job_id_of(name))
        self.assertEqual((stored.outcome, stored.attempts, stored.node), (Outcome.COMPLETED, 2, "other"))

    async def test_renew_and_release(self) -> None:
        (name,) = await self.submit()
        job = await self.poll()
        self.clock.advance(200)
        self.assertIs(await self.call("pfserver.renew", "My factory", job), True)
        self.clock.advance(200)
        await deferLater(reactor, 0.05)
        self.assertEqual((await self.engine.job(job_id_of(name))).state, State.LEASED)
        await self.fault(4, "pfserver.renew", "other", job)
        await self.fault(4, "pfserver.release", "other", job, "no")
        self.assertIs(await self.call("pfserver.release", "My factory", job, "no such font"), True)
        status = await self.call("pfserver.status", name, 0)
        self.assertEqual(status["state"], "queued")
        self.assertTrue(any("no such font" in message["text"] for message in status["messages"]))
        self.assertEqual(await self.poll("other"), job)

    async def test_odf_and_png(self) -> None:
        for output_format, data, expected in (
            ("odf", (self.projects / "letter.odt").read_bytes(), "letter.odt"),
            ("png", b"\x89PNG\r\n\x1a\n", "letter.png"),
        ):
            (name,) = await self.submit(format=output_format)
            job = await self.poll()
            await self.call("jobs.finish", "My factory", job, output_format, encoded(data))
            self.assertEqual((await self.engine.artifacts(job_id_of(name)))[0].name, expected)

    async def test_a_zip_that_is_no_odf(self) -> None:
        await self.submit(format="odf")
        job = await self.poll()
        with zipfile.ZipFile(self.root / "made.docx", "w") as archive:
            archive.writestr("word/document.xml", "<document/>")
        for data in ((self.root / "made.docx").read_bytes(), b"PK\x03\x04 cut off"):
            await self.fault(6, "jobs.finish", "My factory", job, "odf", encoded(data))
        await self.call("jobs.finish", "My factory", job, "odf", encoded((self.projects / "letter.odt").read_bytes()))

    async def test_a_zip_that_cannot_be_unpacked(self) -> None:
        await self.submit(format="odf")
        job = await self.poll()
        data = bytearray((self.projects / "letter.odt").read_bytes())
        # Its first part, mimetype, is said to be encrypted.
        data[6] |= 1
        data[data.index(b"PK\x01\x02") + 8] |= 1
        await self.fault(6, "jobs.finish", "My factory", job, "odf", encoded(bytes(data)))

    async def test_a_result_that_cannot_be_read_back_is_asked_for_again(self) -> None:
        def broken(*_: object) -> int:
            raise OSError(errno.EIO, "Input/output error")

        (name,) = await self.submit()
        job = await self.poll()
        with patch.object(jobs, "page_count", broken):
            text = await self.fault(int(INTERNAL), "jobs.finish", "My factory", job, "pdf", encoded(PDF))
        self.assertIn("could not be read", text)
        await self.call("jobs.finish", "My factory", job, "pdf", encoded(PDF))
        self.assertEqual((await self.engine.job(job_id_of(name))).outcome, Outcome.COMPLETED)

    async def test_a_name_that_no_file_can_have(self) -> None:
        document = encoded((self.projects / "letter.odt").read_bytes())
        for stem in ("a" * 255, "é" * 1000):
            (name,) = await self.submit(filename=f"{stem}.odt", document=document)
            await self.call("jobs.finish", "My factory", await self.poll(), "pdf", encoded(PDF))
            (made,) = (await self.call("pfserver.status", name, 0))["artifacts"]
            self.assertTrue(250 < len(made["name"].encode()) <= 255)
            fetched = await self.call("pfserver.fetch", name, made["name"])
            self.assertEqual(base64.b64decode(fetched["document"]), PDF)

    async def test_a_result_that_cannot_be_kept_now(self) -> None:
        (name,) = await self.submit()
        job = await self.poll()

        def refuse(*_paths: object) -> None:
            raise OSError(errno.EACCES, os.strerror(errno.EACCES), str(self.root))

        with patch.object(jobs, "link_or_copy", refuse):
            text = await self.fault(-32500, "jobs.finish", "My factory", job, "pdf", encoded(PDF))
        self.assertIn("could not be written: Permission denied", text)
        self.assertEqual((await self.engine.job(job_id_of(name))).state, State.LEASED)
        await self.call("jobs.finish", "My factory", job, "pdf", encoded(PDF))

    async def test_a_result_that_can_never_be_kept(self) -> None:
        """What is a file where the output should go: no other result would do better."""
        for cancelled in (False, True):
            (name,) = await self.submit()
            job = await self.poll()
            if cancelled:
                await self.call("pfserver.cancel", name)
            broken = JobFailed(Number.OUTPUT_BROKEN, "the output could not be written: Not a directory")
            with patch.object(self.engine._tools.outputs, "begin", side_effect=broken):
                text = await self.fault(-32500, "jobs.finish", "My factory", job, "pdf", encoded(PDF))
            self.assertEqual(text, broken.text)
            status = await self.call("pfserver.status", name, 0)
            self.assertEqual(status["outcome"], "CANCELLED" if cancelled else "FAILED")
            self.assertIn(broken.text, [message["text"] for message in status["messages"]])
            await self.fault(4, "jobs.finish", "My factory", job, "pdf", encoded(PDF))

    async def test_cancelled_meanwhile(self) -> None:
        (name,) = await self.submit()
        job = await self.poll()
        await self.call("pfserver.cancel", name)
        await self.call("jobs.finish", "My factory", job, "pdf", encoded(PDF))
        self.assertEqual((await self.engine.job(job_id_of(name))).outcome, Outcome.CANCELLED)
