"""The job database on a real PostgreSQL: several nodes share it, and none gets another's job."""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path

import sqlalchemy as sa
from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred, gatherResults
from twisted.internet.task import Clock
from twisted.trial.unittest import SkipTest, TestCase

from pfserver.client.xmlrpc import FileSource, XMLRPCClient
from pfserver.errors import StoreUnavailable, WrongState
from pfserver.model import Artifact, JobRequest, Outcome, Progress, State
from pfserver.store import database as module
from pfserver.store.database import Database
from pfserver.store.jobs import JobStore
from tests.backends.office import samples
from tests.frontends.pageflex.support import packet
from tests.support.forwarder import Forwarder
from tests.support.process import ServerProcess, ended
from tests.support.projects import assert_whole, put_project
from tests.support.servers import postgresql, postgresql_programs


class PostgresqlCase(TestCase):
    timeout = 300

    def setUp(self) -> None:
        if postgresql_programs() is None:
            if os.environ.get("CI"):
                self.fail("PostgreSQL is missing: apt-get install postgresql")
            raise SkipTest("apt-get install postgresql")
        stack = ExitStack()
        self.addCleanup(stack.close)
        # Not below the test's own folder: the database's account must be able to get there.
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="pfserver-"))
        self.url = stack.enter_context(postgresql(Path(folder, "postgresql")))


class DataSourceTests(PostgresqlCase):
    """Records of a project come from a table or a query, and a packet may ask for others."""

    def test_records(self) -> None:
        engine = sa.create_engine(self.url.replace("postgresql:", "postgresql+psycopg:"))
        self.addCleanup(engine.dispose)
        with engine.begin() as connection:
            connection.execute(sa.text('CREATE TABLE "Price List" (n integer PRIMARY KEY, name text)'))
            for number in range(1, 301):
                connection.execute(sa.text('INSERT INTO "Price List" VALUES (:n, :name)'), {"n": number, "name": "é"})
        folder = Path(self.mktemp())
        put_project(folder / "projects", 0)
        project = folder / "projects" / "a.pf"
        text = project.read_text()
        with ServerProcess(folder, config='executor = "processes:1"\n') as server:

            def produced(data: str, records: int, **variables: str) -> None:
                project.write_text(text.replace('source = "d.csv"', f'source = "{self.url}"\n{data}'))
                submit = packet("SubmitJob", ProjectName="a.pf", JobName="A", **variables)
                id_ = server.talk(submit)[10:-2]
                self.assertEqual(ended(server, id_), b"SUCCESS", server.log)
                assert_whole(self, server.state / "output" / id_.decode(), records)

            produced('table = "Price List"', 300)
            produced('query = "SELECT n FROM \\"Price List\\" WHERE name LIKE \'é%\'"', 300)
            query = 'SELECT n FROM "Price List" WHERE n % 3 = 0'
            produced('table = "Price List"', 100, _sys_JobSQLQuery=query)
        with engine.connect() as connection:
            self.assertEqual(connection.scalar(sa.text('SELECT count(*) FROM "Price List"')), 300)


class StoreTests(PostgresqlCase):
    async def test_two_nodes_share_a_queue(self) -> None:
        clock = Clock()
        stores = []
        for _ in range(2):
            database = Database(self.url, reactor)
            database.open()
            self.addCleanup(database.close)
            self.assertFalse(database.is_private)
            stores.append(JobStore(database, clock))
        one, two = stores
        asked = [JobRequest(project="p.pf", job="Job 1", backend="merge", variables={"n": str(n)}) for n in range(60)]
        added = await one.add(asked, messages=[(114, "a note")])
        claims = [store.claim("default", ["merge", "other"], 5, node=str(n)) for n in range(6) for store in stores]
        taken = [job for jobs in await gatherResults(claims) for job in jobs]
        self.assertEqual(sorted(job.id for job in taken), [job.id for job in added])
        job = taken[0]
        progress = Progress(documents=1, pages=2, total=1)
        artifact = Artifact(name="001.pdf", media_type="application/pdf", size=3, pages=2)
        await one.append(job.id, messages=[(114, "more")], progress=progress, artifacts=[artifact])
        with self.assertRaises(WrongState):
            await two.finish(job.id, Outcome.FAILED, node="somebody else")
        done = await two.finish(job.id, Outcome.COMPLETED, node=job.node, messages=[(20, "done")])
        self.assertEqual((done.state, done.documents, done.messages), (State.DONE, 1, 3))
        self.assertEqual(
            [message.text for message in await one.messages(job.id, after=0, limit=9)][1:], ["more", "done"]
        )
        self.assertEqual(await one.artifacts(job.id), [artifact])

    async def test_a_commit_whose_answer_is_lost_is_not_done_twice(self) -> None:
        target = sa.make_url(self.url)
        forwarder = Forwarder(("127.0.0.1", target.port))
        self.addCleanup(forwarder.close)
        database = Database(target.set(port=forwarder.port).render_as_string(), reactor)
        database.open()
        self.addCleanup(database.close)
        store = JobStore(database, Clock())
        [first] = await store.add([JobRequest(project="first.pf", backend="merge")])
        lost = forwarder.lost
        forwarder.lose_answers_to(b"COMMIT", 1)
        groups = [store.add([JobRequest(project=f"{n}.pf", backend="merge")]) for n in range(20)]
        added = [job for group in await gatherResults(groups) for job in group]
        self.assertEqual(forwarder.lost, lost + 1)
        self.assertEqual([job.id for job in await store.find(after=first.id, limit=99)], [job.id for job in added])
        forwarder.lose_answers_to(b"COMMIT", 1)
        claimed = await store.claim("default", ["merge"], 21, node="1")
        self.assertEqual((forwarder.lost, len(claimed)), (lost + 2, 21))
        # What nobody can be asked about is not tried again.
        self.patch(module, "ASKED_AGAIN", (0.0, 0.1))
        commit = sa.event.listens_for(database._writing, "commit")
        commit(lambda connection: forwarder.cut())
        group = [store.add([JobRequest(project="a.pf", backend="merge")]) for _ in range(2)]
        for one in group:
            with self.assertRaisesRegex(StoreUnavailable, "not known whether"):
                await one

    async def test_factories_at_two_nodes(self) -> None:
        stores = []
        for _ in range(2):
            database = Database(self.url, reactor)
            database.open()
            self.addCleanup(database.close)
            stores.append(JobStore(database, Clock()))
        asked = [JobRequest(project="a.odt", backend="factory", account=f"owner-{n % 3}") for n in range(60)]
        await stores[0].add(asked)
        taken: list[int] = []

        async def work(number: int) -> None:
            store = stores[number % 2]
            while job := await store.lease(
                f"factory-{number}", lambda jobs: jobs[0], backends=["factory"], expires_at=300, kind="any"
            ):
                taken.append(job.id)
                await store.finish(job.id, Outcome.COMPLETED, node=f"factory-{number}")

        # All want the same job at each moment; nobody goes away while some are left.
        await gatherResults([ensureDeferred(work(number)) for number in range(4)])
        self.assertEqual(sorted(taken), list(range(1, 61)))


class ServerTests(PostgresqlCase):
    def test_a_server_on_it(self) -> None:
        folder = Path(self.mktemp())
        config = f'store = "{self.url}"\n'
        with ServerProcess(folder, config=config) as server:
            replies = [server.talk(packet("SubmitJob", ProjectName="noop-output", JobName="x")) for _ in range(20)]
            for reply in replies:
                self.assertEqual(ended(server, reply[10:-2]), b"SUCCESS")
        with ServerProcess(folder, config=config) as server:
            self.assertEqual(ended(server, replies[0][10:-2]), b"SUCCESS")

    def test_the_jobs_of_a_server_that_died_are_taken_up_by_another(self) -> None:
        def config(name: str) -> str:
            return f'store = "{self.url}"\nmachine_name = "{name}"\nnode_timeout = 1\n'

        root = Path(self.mktemp())
        with ServerProcess(root / "1", config=config("press-1")) as first:
            reply = first.talk(packet("SubmitJob", ProjectName="noop-stuck", JobName="x"))
            name = reply[10:-2].decode()
            while b"RUNNING" not in first.talk(packet("GetJobStatus", _sys_TransactionID=name)):
                time.sleep(0.05)
            with ServerProcess(root / "2", config=config("press-2")) as second:
                first.kill()
                second.wait_for_log("job.taken-up")
                second.talk(packet("CancelJob", _sys_TransactionID=name))
                self.assertEqual(ended(second, name.encode()), b"CANCELLED")
                told = second.talk(packet("GetTaskLog", _sys_TransactionID=name))
        self.assertIn(b"the server press-1, which worked on the job, is silent", told)

    def test_documents_are_converted_by_the_server_that_they_were_sent_to(self) -> None:
        def server(name: str) -> ServerProcess:
            config = f'store = "{self.url}"\nmachine_name = "{name}"\nnode_timeout = 1\nattempts = 9\n'
            config += "[backends.office]\nworkers = 1\n"
            return ServerProcess(root / name, config=config, frontends=("pageflex", "http"), projects=root / "projects")

        def sent_to(server: ServerProcess) -> list[bytes]:
            """Some documents that are sent, and one that both have, with a password that only this one knows."""
            names = []
            with XMLRPCClient("http://{}:{}".format(*server.addresses["http"]), seconds=60) as client:
                for _ in range(3):
                    with closing(FileSource(letter)) as document:
                        names += client.call("pfserver.submit", {"filename": "letter.odt", "document": document})
                names += client.call("pfserver.submit", {"filename": "letter.odt", "password": "none is needed"})
            return [name.encode() for name in names]

        root = Path(self.mktemp()).absolute()
        (root / "projects").mkdir(parents=True)
        letter = samples.odt(root / "projects" / "letter.odt")
        with server("press-2") as second:
            with server("press-1") as first:
                names = sent_to(first)
                while b"RUNNING" not in first.talk(packet("GetJobStatus", _sys_TransactionID=names[0].decode())):
                    time.sleep(0.02)
                first.kill()
            # The other one takes up what the first had begun, and has work of its own; it leaves the documents alone.
            second.wait_for_log("job.taken-up")
            for name in sent_to(second):
                self.assertEqual(ended(second, name), b"SUCCESS", second.log)
            with server("press-1") as first:
                for name in names:
                    self.assertEqual(ended(second, name), b"SUCCESS", first.log)
