"""What people see of the API, and the methods that are pfserver's own."""

from __future__ import annotations

import base64
import os

from twisted.internet import reactor

from pfserver.documents import sweeper
from pfserver.documents.sweeper import Sweeper
from pfserver.documents.uploads import Uploads
from pfserver.model import job_id_of
from tests.backends.office import samples
from tests.frontends.http.channels import POLL
from tests.frontends.http.support import PDF, HttpCase, encoded


class PeopleTests(HttpCase):
    """Documentation, health, metrics."""

    async def test_documentation(self) -> None:
        status, headers, body = await self.post(b"")
        self.assertEqual((status, headers["Content-Type"]), (200, "text/html; charset=utf-8"))
        self.assertIn(b'<a href="/xmlrpc/jobs.poll">', body)
        status, _, body = await self.post(b"", path="/xmlrpc/jobs.poll")
        self.assertEqual((status, b"Find a job that matches" in body), (200, True))
        self.assertEqual((await self.post(b"", path="/xmlrpc/jobs.nope"))[0], 404)
        self.assertEqual((await self.post(POLL, path="/xmlrpc/jobs.poll"))[0], 405)
        self.assertEqual((await self.post(b"", path="/nothing"))[0], 404)

    async def test_introspection(self) -> None:
        methods = await self.call("system.listMethods")
        self.assertIn("jobs.finish", methods)
        for method in methods:
            self.assertTrue(await self.call("system.methodHelp", method))
            self.assertTrue(all(await self.call("system.methodSignature", method)))
        signature = [["string", "string", "string", "string", "string"]]
        self.assertEqual(await self.call("system.methodSignature", "jobs.finish"), signature)
        await self.fault(-32601, "system.methodHelp", "jobs.nope")

    async def test_health_and_metrics(self) -> None:
        self.assertEqual((await self.post(b"", path="/healthz"))[2], b"ok\n")
        await self.add_factory('a "b"')
        await self.call("jobs.poll", 'a "b"')
        body = (await self.post(b"", path="/metrics"))[2].decode()
        self.assertIn('pfserver_xmlrpc_calls_total{method="jobs.poll"} 1\n', body)
        self.assertIn('pfserver_factory_polls_total{factory="a \\"b\\""} 1\n', body)
        self.assertIn('pfserver_jobs_waiting{queue="default"} 0\n', body)


class OwnMethodTests(HttpCase):
    """``pfserver.*``."""

    async def test_upload(self) -> None:
        await self.add_factory()
        document = (self.projects / "letter.odt").read_bytes()
        (self.projects / "letter.odt").unlink()
        (name,) = await self.submit(filename="C:\\x\\mine.odt", document=encoded(document))
        job = await self.call("jobs.poll", "My factory")
        self.assertEqual((job["filename"], base64.b64decode(job["document"])), ("mine.odt", document))
        self.assertEqual(len(self.uploads()), 1)
        await self.call("jobs.finish", "My factory", job["job"], "pdf", encoded(PDF))
        self.assertEqual((await self.engine.artifacts(job_id_of(name)))[0].name, "mine.pdf")

    async def test_uploads_are_swept(self) -> None:
        document = encoded((self.projects / "letter.odt").read_bytes())
        (name,) = await self.submit(document=document)
        (upload,) = self.uploads()
        # Whatever a file says of its own age: the clock may have been set.
        os.utime(self.state / "uploads" / upload, (1, 1))
        sweeping = Sweeper(self.engine, self.factories, Uploads(self.state), reactor)
        self.patch(sweeper, "SWEEP_AGE", 0.0)
        await sweeping.sweep()
        self.assertEqual(self.uploads(), [upload])
        await self.call("pfserver.cancel", name)
        self.patch(sweeper, "SWEEP_AGE", 3600.0)
        await sweeping.sweep()
        self.assertEqual(self.uploads(), [upload])
        self.patch(sweeper, "SWEEP_AGE", 0.0)
        await sweeping.sweep()
        self.assertEqual(self.uploads(), [])

    async def test_refused_documents_are_removed(self) -> None:
        await self.fault(6, "pfserver.submit", self.request(document=encoded(b"nonsense")))
        samples.ods(self.projects / "sheet.ods")
        await self.fault(
            6, "pfserver.submit", self.request(document=encoded((self.projects / "sheet.ods").read_bytes()))
        )
        self.assertEqual(self.uploads(), [])

    def request(self, **changes: object) -> dict[str, object]:
        return {"filename": "letter.odt", "applications": [{"application": "Writer"}], **changes}

    async def test_refused(self) -> None:
        for changes in (
            {"filename": "a.exe"},
            {"filename": 7},
            {"pages": "x"},
            {"format": "exe"},
            {"colour": "blue"},
            {"applications": "Writer"},
            {"applications": ["Writer"]},
            {"applications": [{"application": "x"}] * 51},
            {"password": "secret"},
            {"queue": "nowhere"},
            {"priority": True},
            {"priority": 1_000_001},
            {"priority": -1_000_001},
            {"format": "png", "resolution": 300},
            {"filename": "../letter.odt"},
            {"filename": "missing.odt"},
            {"document": 7},
        ):
            text = await self.fault(-32602, "pfserver.submit", self.request(**changes))
            self.assertNotIn("secret", text)
        self.assertEqual(await self.engine.jobs(), [])

    async def test_one_job_for_each_application(self) -> None:
        names = await self.submit(applications=[{"application": "Writer"}, {"application": "Word", "version": "2003"}])
        statuses = [await self.call("pfserver.status", name, 0) for name in names]
        self.assertEqual([one["application"] for one in statuses], ["Writer", "Word"])
        self.assertEqual(len({one["group"] for one in statuses}), 1)
        self.assertTrue(statuses[0]["group"])

    async def test_remote(self) -> None:
        await self.add_factory()
        await self.submit(applications=[], remote=True)
        self.assertEqual((await self.call("jobs.poll", "My factory"))["application"], "LibreOffice Writer")

    async def test_unknown_jobs(self) -> None:
        await self.fault(-32602, "pfserver.status", "7", 0)
        await self.fault(3, "pfserver.status", "T0000007", 0)
        (name,) = await self.submit()
        await self.fault(3, "pfserver.fetch", name, "../../jobs.sqlite")


class ManageTests(HttpCase):
    """Factories and accounts over XML-RPC."""

    async def test_factories(self) -> None:
        worker = {"application": "Writer", "version": "7.4", "doctypes": ["odt"], "formats": ["pdf"]}
        put = {"name": "f", "account": "a@example.org", "workers": [worker]}
        self.assertIs(await self.call("pfserver.factories.put", put), True)
        (shown,) = await self.call("pfserver.factories.list")
        self.assertEqual((shown["name"], shown["workers"], shown["active"]), ("f", [worker], False))
        self.assertIs(await self.call("pfserver.factories.drop", "f"), True)
        self.assertEqual(await self.call("pfserver.factories.list"), [])
        await self.fault(1, "pfserver.factories.drop", "f")
        for bad in ({}, {"name": "f", "workers": [7]}, {"name": "f", "x": 1}):
            await self.fault(-32602, "pfserver.factories.put", bad)
        bad_worker = {**worker, "doctypes": ["exe"]}
        await self.fault(-32602, "pfserver.factories.put", {**put, "workers": [bad_worker]})

    async def test_accounts(self) -> None:
        await self.call("pfserver.accounts.put", "A@Example.org", ["work"])
        self.assertEqual(await self.call("pfserver.accounts.list"), [{"name": "a@example.org", "rights": ["work"]}])
        await self.fault(-32602, "pfserver.accounts.put", "a@example.org", ["root"])
        await self.fault(-32602, "pfserver.accounts.make_token", "nobody", "x")
