"""Accounts, tokens, factories and workers: kept in the database, answered from memory.

Polls come thousands a minute and must not each cost a query, so all is read once and held; the database is told of
every change before the caller is. A server that shares its database with others reads anew every few seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from secrets import token_urlsafe
from typing import Any

import sqlalchemy as sa
from attrs import define, evolve, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from pfserver.errors import BadVariable, NoSuchJob
from pfserver.interfaces import IFactories
from pfserver.remote import RIGHTS, Account, Factory, NoSuchAccount, NoSuchFactory, Token, Worker
from pfserver.store.database import Database
from pfserver.store.handouts import Handouts, forget_removed, job_named, name_jobs
from pfserver.store.tables import ACCOUNTS, FACTORIES, TOKENS, WORKERS

#: Seconds after which what others may have changed is read again.
REFRESH = 5.0

#: Seconds between two times that a factory's counters are stored; what a crash loses of them is no harm.
COUNTERS_INTERVAL = 60.0

#: The longest name of an account, a factory or an application.
NAME_LIMIT = 200

_COUNTERS = ("active", "last_seen", "polls", "leased", "finished")

_Change = Callable[[sa.Connection], Any]


@define
class _Kept:
    """What the database holds."""

    accounts: dict[str, Account] = field(factory=dict)
    tokens: dict[str, Token] = field(factory=dict)
    factories: dict[str, Factory] = field(factory=dict)

    def keep_counters(self, counted: Mapping[str, Factory]) -> None:
        """Take over counters that are not stored yet."""
        for name, ours in self.factories.items():
            theirs = counted.get(name)
            if theirs is not None and theirs.created_at == ours.created_at and theirs.polls >= ours.polls:
                self.factories[name] = evolve(ours, **{key: getattr(theirs, key) for key in _COUNTERS})


@implementer(IFactories)
class Factories:
    """See ``IFactories``.

    :param clock: seconds since the epoch.
    :param handouts: the job store's, which gives jobs their names when they are leased.
    """

    log = Logger()

    def __init__(self, database: Database, clock: IReactorTime, handouts: Handouts | None = None) -> None:
        self._database = database
        self._clock = clock
        self._handouts = handouts or Handouts()
        self._kept: _Kept | None = None
        self._read_at = 0.0
        self.changes = 0
        self._counted: Mapping[str, Factory] = {}
        self._stored_at: dict[str, float] = {}

    # -- what is kept --------

    async def _load(self) -> _Kept:
        now = self._clock.seconds()
        stale = not self._database.is_private and now - self._read_at > REFRESH
        while self._kept is None or stale:
            changes = self.changes
            kept = await self._database.read(_read)
            if changes == self.changes:
                kept.keep_counters(self._counted)
                self._kept, self._read_at, stale = kept, now, False
        return self._kept

    async def _change(self, change: _Change) -> Any:
        result = await self._database.write(_apply, change)
        self.changes += 1
        if self._kept is not None:
            self._counted = self._kept.factories
        self._kept = None
        return result

    # -- accounts and tokens --------

    async def account(self, name: str) -> Account | None:
        """See ``IFactories``."""
        return (await self._load()).accounts.get(name)

    async def accounts(self) -> Sequence[Account]:
        """See ``IFactories``."""
        return sorted((await self._load()).accounts.values(), key=lambda account: account.name)

    async def put_account(self, account: Account) -> None:
        """See ``IFactories``."""
        _expect_name(account.name, "an account")
        if not account.rights <= RIGHTS:
            raise BadVariable(f"rights are {', '.join(sorted(RIGHTS))}, not {', '.join(sorted(account.rights))}")
        row = {"name": account.name, "rights": _join(account.rights)}

        def change(connection: sa.Connection) -> None:
            connection.execute(sa.delete(ACCOUNTS).where(ACCOUNTS.c.name == account.name))
            connection.execute(sa.insert(ACCOUNTS), [row])

        await self._change(change)

    async def make_token(self, account: str, label: str) -> str:
        """See ``IFactories``."""
        _expect_name(label, "a token")
        if account not in (await self._load()).accounts:
            raise NoSuchAccount(f"there is no account {account!r}")
        secret = token_urlsafe(32)
        row = {"digest": _digest(secret), "account": account, "label": label, "created_at": self._clock.seconds()}

        def change(connection: sa.Connection) -> None:
            connection.execute(sa.delete(TOKENS).where(TOKENS.c.account == account, TOKENS.c.label == label))
            connection.execute(sa.insert(TOKENS), [row])

        await self._change(change)
        return secret

    async def drop_token(self, account: str, label: str) -> None:
        """See ``IFactories``."""
        where = sa.and_(TOKENS.c.account == account, TOKENS.c.label == label)
        count = await self._change(lambda connection: connection.execute(sa.delete(TOKENS).where(where)).rowcount)
        if not count:
            raise NoSuchAccount(f"{account!r} has no token {label!r}")

    async def account_of_token(self, secret: str) -> str | None:
        """See ``IFactories``."""
        token = (await self._load()).tokens.get(_digest(secret))
        return None if token is None else token.account

    # -- factories --------

    async def factory(self, name: str) -> Factory:
        """See ``IFactories``."""
        try:
            return (await self._load()).factories[name]
        except KeyError:
            raise NoSuchFactory(f"there is no factory {name[:NAME_LIMIT]!r}") from None

    async def factories(self) -> Sequence[Factory]:
        """See ``IFactories``."""
        return sorted((await self._load()).factories.values(), key=lambda factory: factory.name)

    async def put_factory(self, factory: Factory) -> None:
        """See ``IFactories``."""
        _expect_name(factory.name, "a factory")
        for worker in factory.workers:
            _expect_name(worker.application, "an application")
        known = (await self._load()).factories.get(factory.name)
        if known is None:
            factory = evolve(factory, created_at=self._clock.seconds())
        else:
            factory = evolve(known, account=factory.account, own_only=factory.own_only, workers=factory.workers)
        await self._change(lambda connection: _write_factory(connection, factory))

    async def drop_factory(self, name: str) -> None:
        """See ``IFactories``."""
        await self.factory(name)

        def change(connection: sa.Connection) -> None:
            connection.execute(sa.delete(WORKERS).where(WORKERS.c.factory == name))
            connection.execute(sa.delete(FACTORIES).where(FACTORIES.c.name == name))

        await self._change(change)

    def seen(self, factory: Factory, *, leased: int = 0, finished: int = 0) -> None:
        """See ``IFactories``."""
        kept = self._kept
        if kept is None or factory.name not in kept.factories:
            return
        now = self._clock.seconds()
        before = kept.factories[factory.name]
        after = before.seen(now, leased=leased, finished=finished, polls=0 if finished else 1)
        kept.factories[factory.name] = after
        if not before.active or now - self._stored_at.get(factory.name, 0.0) > COUNTERS_INTERVAL:
            self._stored_at[factory.name] = now
            storing: Deferred[Any] = self._database.write(_apply, lambda connection: _write_counters(connection, after))
            storing.addErrback(self._not_stored)

    def _not_stored(self, failure: Failure) -> None:
        self.log.warn("factories.counters-not-stored", reason=failure.getErrorMessage())

    # -- the names under which jobs went out --------

    async def hand_out(self, job_id: int) -> str:
        """See ``IFactories``."""
        name = self._handouts.name_of(job_id)
        if name is None:
            name = await self._database.write(name_jobs, job_id)
            self._handouts.learn(job_id, name)
        return name

    async def job_of(self, name: str) -> int:
        """See ``IFactories``."""
        job_id = self._handouts.job_of(name)
        if job_id is None:
            job_id = await self._database.read(job_named, name)
        if job_id is None:
            raise NoSuchJob("there is no such job")
        return job_id

    async def forget_handouts(self) -> None:
        """See ``IFactories``."""
        self._handouts.clear()
        await self._database.write(_apply, forget_removed)


# -- in the database's threads --------


def _apply(connection: sa.Connection, changes: Sequence[_Change]) -> list[Any]:
    return [change(connection) for change in changes]


def _read(connection: sa.Connection) -> _Kept:
    kept = _Kept()
    for row in connection.execute(sa.select(ACCOUNTS)):
        kept.accounts[row.name] = Account(name=row.name, rights=row.rights.split())
    for row in connection.execute(sa.select(TOKENS)):
        kept.tokens[row.digest] = Token(account=row.account, label=row.label, created_at=row.created_at)
    workers: dict[str, list[Worker]] = {}
    for row in connection.execute(sa.select(WORKERS).order_by(WORKERS.c.application, WORKERS.c.version)):
        worker = Worker(
            application=row.application,
            version=row.version,
            doctypes=row.doctypes.split(),
            formats=row.formats.split(),
        )
        workers.setdefault(row.factory, []).append(worker)
    for row in connection.execute(sa.select(FACTORIES)):
        kept.factories[row.name] = Factory(workers=tuple(workers.get(row.name, ())), **row._mapping)
    return kept


def _write_factory(connection: sa.Connection, factory: Factory) -> None:
    connection.execute(sa.delete(WORKERS).where(WORKERS.c.factory == factory.name))
    connection.execute(sa.delete(FACTORIES).where(FACTORIES.c.name == factory.name))
    values = {column.name: getattr(factory, column.name) for column in FACTORIES.c}
    connection.execute(sa.insert(FACTORIES), [values])
    # One row for an application and a version: the last one counts.
    rows = {(worker.application, worker.version): worker for worker in factory.workers}
    if rows:
        connection.execute(
            sa.insert(WORKERS),
            [
                {
                    "factory": factory.name,
                    "application": worker.application,
                    "version": worker.version,
                    "doctypes": _join(worker.doctypes),
                    "formats": _join(worker.formats),
                }
                for worker in rows.values()
            ],
        )


def _write_counters(connection: sa.Connection, factory: Factory) -> None:
    values = {name: getattr(factory, name) for name in _COUNTERS}
    connection.execute(sa.update(FACTORIES).where(FACTORIES.c.name == factory.name).values(**values))


# -- small things --------


def _digest(secret: str) -> str:
    # Tokens are 256 random bits: a plain digest of them is as good as a slow one.
    return sha256(secret.encode("utf-8", "replace")).hexdigest()


def _join(words: frozenset[str]) -> str:
    return " ".join(sorted(words))


def _expect_name(name: str, what: str) -> None:
    if not name.strip() or len(name) > NAME_LIMIT or not name.isprintable():
        raise BadVariable(f"{what} needs a printable name of at most {NAME_LIMIT} characters")
