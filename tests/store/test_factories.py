"""Accounts, tokens, factories and workers: kept, changed, counted."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred, gatherResults
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from pfserver.errors import BadVariable, NoSuchJob
from pfserver.interfaces import IFactories
from pfserver.remote import Account, Factory, NoSuchAccount, NoSuchFactory, Worker
from pfserver.store.database import Database
from pfserver.store.factories import Factories

WRITER = Worker(application="LibreOffice Writer", version="7.4", doctypes={"odt", "docx"}, formats={"pdf"})


class FactoriesTests(TestCase):
    """On a real database."""

    async def setUp(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        self.clock = Clock()
        self.clock.advance(1000)
        self.url = f"sqlite:///{folder / 'jobs.sqlite'}"
        self.database = Database(self.url, reactor)
        await deferToThread(self.database.open)
        self.addCleanup(deferToThread, self.database.close)
        self.factories = Factories(self.database, self.clock)

    def again(self) -> Factories:
        """As another server, or this one after a restart, sees it."""
        return Factories(self.database, self.clock)

    async def test_interface(self) -> None:
        verifyObject(IFactories, self.factories)

    async def test_accounts(self) -> None:
        self.assertIsNone(await self.factories.account("a@example.org"))
        account = Account(name="a@example.org", rights={"submit"})
        await self.factories.put_account(account)
        self.assertEqual(await self.factories.account("a@example.org"), account)
        await self.factories.put_account(Account(name="a@example.org", rights={"admin", "work"}))
        self.assertEqual([one.rights for one in await self.again().accounts()], [{"admin", "work"}])
        for bad in (Account(name=""), Account(name="a\n"), Account(name="a", rights={"root"})):
            await self.assertFailure(ensureDeferred(self.factories.put_account(bad)), BadVariable)

    async def test_tokens(self) -> None:
        await self.factories.put_account(Account(name="a@example.org"))
        first = await self.factories.make_token("a@example.org", "build machine")
        self.assertEqual(await self.again().account_of_token(first), "a@example.org")
        second = await self.factories.make_token("a@example.org", "build machine")
        self.assertIsNone(await self.factories.account_of_token(first))
        self.assertEqual(await self.factories.account_of_token(second), "a@example.org")
        await self.factories.drop_token("a@example.org", "build machine")
        self.assertIsNone(await self.factories.account_of_token(second))
        self.assertIsNone(await self.factories.account_of_token(""))
        for account in ("a@example.org", "nobody"):
            await self.assertFailure(ensureDeferred(self.factories.drop_token(account, "x")), NoSuchAccount)
        await self.assertFailure(ensureDeferred(self.factories.make_token("nobody", "x")), NoSuchAccount)

    async def test_factories(self) -> None:
        await self.factories.put_factory(Factory(name="My factory", account="a@example.org", workers=(WRITER,)))
        factory = await self.again().factory("My factory")
        self.assertEqual((factory.workers, factory.active, factory.created_at), ((WRITER,), False, 1000))
        await self.factories.put_factory(Factory(name="My factory", account="b", own_only=True, workers=()))
        factory = await self.again().factory("My factory")
        self.assertEqual((factory.workers, factory.account, factory.own_only), ((), "b", True))
        self.assertEqual([one.name for one in await self.factories.factories()], ["My factory"])
        await self.factories.drop_factory("My factory")
        for waiting in (self.factories.factory("My factory"), self.factories.drop_factory("My factory")):
            await self.assertFailure(ensureDeferred(waiting), NoSuchFactory)
        for bad in (Factory(name=" ", account="a"), Factory(name="a", account="a", workers=(Worker(application=""),))):
            await self.assertFailure(ensureDeferred(self.factories.put_factory(bad)), BadVariable)

    async def test_same_worker_twice(self) -> None:
        other = Worker(application="LibreOffice Writer", version="7.4")
        await self.factories.put_factory(Factory(name="f", account="a", workers=(WRITER, other)))
        self.assertEqual((await self.factories.factory("f")).workers, (other,))

    async def test_counters(self) -> None:
        await self.factories.put_factory(Factory(name="f", account="a", workers=(WRITER,)))
        for _ in range(3):
            self.factories.seen(await self.factories.factory("f"))
        self.clock.advance(5)
        self.factories.seen(await self.factories.factory("f"), leased=1)
        self.factories.seen(await self.factories.factory("f"), finished=1)
        factory = await self.factories.factory("f")
        self.assertEqual((factory.polls, factory.leased, factory.finished), (4, 1, 1))
        self.assertEqual((factory.active, factory.last_seen), (True, 1005))
        # The first poll was stored at once, since it makes the factory active; the others are stored later.
        await self.factories.put_account(Account(name="somebody"))
        self.assertEqual((await self.factories.factory("f")).polls, 4)
        stored = await self.again().factory("f")
        self.assertEqual((stored.active, stored.polls), (True, 1))
        self.clock.advance(61)
        self.factories.seen(factory)
        await self.factories.put_account(Account(name="somebody else"))
        self.assertEqual((await self.again().factory("f")).polls, 5)

    async def test_unknown_factory_is_not_counted(self) -> None:
        self.factories.seen(Factory(name="gone", account="a"))
        self.assertEqual(await self.factories.factories(), [])

    async def test_handouts(self) -> None:
        first, again, second = await gatherResults(
            [ensureDeferred(self.factories.hand_out(job_id)) for job_id in (7, 7, 8)]
        )
        self.assertEqual(first, again)
        self.assertEqual(await self.factories.job_of(second), 8)
        await self.assertFailure(ensureDeferred(self.factories.job_of("4975c9c6")), NoSuchJob)
        await self.factories.forget_handouts()
        await self.assertFailure(ensureDeferred(self.factories.job_of(first)), NoSuchJob)


class MatchingTests(SynchronousTestCase):
    """What a worker can do."""

    def test_can(self) -> None:
        self.assertTrue(WRITER.can("libreoffice writer", "7.4", "odt", "pdf"))
        self.assertTrue(WRITER.can("", "", "docx", ""))
        self.assertFalse(WRITER.can("Word", "", "odt", "pdf"))
        self.assertFalse(WRITER.can("", "7.5", "odt", "pdf"))
        self.assertFalse(WRITER.can("", "", "ods", "pdf"))
        self.assertFalse(WRITER.can("", "", "odt", "png"))

    @given(st.sampled_from(["odt", "ods", "odp"]), st.sampled_from(["", "pdf", "png", "odf"]))
    def test_no_limits(self, doctype: str, output_format: str) -> None:
        self.assertTrue(Worker(application="Any").can("any", "", doctype, output_format))
