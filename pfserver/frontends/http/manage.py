"""``pfserver.factories.*`` and ``pfserver.accounts.*``: who may do what, and which factories there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from pfserver.documents.request import DOCTYPES, FORMATS
from pfserver.errors import NotAllowed
from pfserver.frontends.http.identity import Caller
from pfserver.frontends.http.methods import Context, Registry, expect_members, member
from pfserver.interfaces import IFactories
from pfserver.remote import ADMIN, RIGHTS, WORK, Account, Factory, NoSuchFactory, Worker
from pfserver.wire.xmlrpc import BAD_PARAMS, Fault, Value


class ManageMethods:
    """Managing factories needs the right to work, for one's own, or to admin; accounts need admin."""

    def __init__(self, factories: IFactories) -> None:
        self._factories = factories

    def register(self, registry: Registry) -> None:
        """Add the methods."""
        registry.add("pfserver.factories.list", ("array",), self.list_factories)
        registry.add("pfserver.factories.put", ("boolean", "struct"), self.put_factory)
        registry.add("pfserver.factories.drop", ("boolean", "string"), self.drop_factory)
        registry.add("pfserver.accounts.list", ("array",), self.list_accounts)
        registry.add("pfserver.accounts.put", ("boolean", "string", "array"), self.put_account)
        registry.add("pfserver.accounts.make_token", ("string", "string", "string"), self.make_token)
        registry.add("pfserver.accounts.drop_token", ("boolean", "string", "string"), self.drop_token)

    async def list_factories(self, context: Context) -> Value:
        """The factories that the caller may see.

        Returns an array of structs: name, account, own_only, active, last_seen (ISO 8601, empty: never), polls, leased,
        finished and workers (structs with application, version, doctypes and formats).
        """
        context.caller.expect(WORK)
        found = await self._factories.factories()
        return [_shown(factory) for factory in found if context.caller.owns(factory.account)]

    async def put_factory(self, context: Context, factory: Mapping[str, Any]) -> Value:
        """Add a factory, or replace what is known of it.

        factory is a struct: name; account, its owner (the caller if left away); own_only, whether it takes only jobs of
        its owner; workers, an array of structs with application, version, doctypes and formats (arrays of strings,
        empty for all). Returns true.
        """
        caller = context.caller
        caller.expect(WORK)
        expect_members(factory, ("name", "account", "own_only", "workers"))
        name = member(factory, "name", str)
        account = member(factory, "account", str, caller.account).strip().lower()
        await self._expect_own(caller, name, account)
        workers = [_worker(one) for one in member(factory, "workers", list, [])]
        await self._factories.put_factory(
            Factory(
                name=name,
                account=account,
                own_only=member(factory, "own_only", bool, False),
                workers=tuple(workers),
            )
        )
        return True

    async def drop_factory(self, context: Context, name: str) -> Value:
        """Forget a factory. Returns true. What it works on goes back to its queue when its lock runs out."""
        context.caller.expect(WORK)
        factory = await self._factories.factory(name)
        await self._expect_own(context.caller, name, factory.account)
        await self._factories.drop_factory(name)
        return True

    async def list_accounts(self, context: Context) -> Value:
        """The registered accounts. Returns an array of structs: name, rights (an array of strings)."""
        context.caller.expect(ADMIN)
        return [{"name": one.name, "rights": sorted(one.rights)} for one in await self._factories.accounts()]

    async def put_account(self, context: Context, name: str, rights: list[Any]) -> Value:
        """Register an account, or replace its rights.

        name is an e-mail address, rights any of submit, work and admin. Returns true.
        """
        context.caller.expect(ADMIN)
        if not all(isinstance(one, str) and one in RIGHTS for one in rights):
            raise Fault(BAD_PARAMS, f"rights are {', '.join(sorted(RIGHTS))}")
        await self._factories.put_account(Account(name=name.strip().lower(), rights=frozenset(rights)))
        return True

    async def make_token(self, context: Context, account: str, label: str) -> Value:
        """A new access token for an account, in the place of the one of the same label. It is told only this once."""
        context.caller.expect(ADMIN)
        return await self._factories.make_token(account.strip().lower(), label)

    async def drop_token(self, context: Context, account: str, label: str) -> Value:
        """Forget an access token. Returns true."""
        context.caller.expect(ADMIN)
        await self._factories.drop_token(account.strip().lower(), label)
        return True

    async def _expect_own(self, caller: Caller, name: str, account: str) -> None:
        """Whether the caller may change the factory of this name, and give it to this account."""
        owners = {account}
        with suppress(NoSuchFactory):
            owners.add((await self._factories.factory(name)).account)
        if not all(caller.owns(owner) for owner in owners):
            raise NotAllowed(f"{name!r} is not a factory of {caller.account}")


def _worker(value: Any) -> Worker:
    if not isinstance(value, Mapping):
        raise Fault(BAD_PARAMS, "workers holds structs")
    expect_members(value, ("application", "version", "doctypes", "formats"))
    return Worker(
        application=member(value, "application", str),
        version=member(value, "version", str, ""),
        doctypes=_words(value, "doctypes", DOCTYPES),
        formats=_words(value, "formats", frozenset(FORMATS)),
    )


def _words(value: Mapping[str, Any], name: str, known: frozenset[str]) -> frozenset[str]:
    words = member(value, name, list, [])
    for word in words:
        if not isinstance(word, str) or word not in known:
            raise Fault(BAD_PARAMS, f"{name} are {', '.join(sorted(known))}")
    return frozenset(words)


def _shown(factory: Factory) -> Value:
    seen = datetime.fromtimestamp(factory.last_seen, UTC).isoformat(timespec="seconds") if factory.last_seen else ""
    workers: Sequence[Value] = [
        {
            "application": worker.application,
            "version": worker.version,
            "doctypes": sorted(worker.doctypes),
            "formats": sorted(worker.formats),
        }
        for worker in factory.workers
    ]
    return {
        "name": factory.name,
        "account": factory.account,
        "own_only": factory.own_only,
        "active": factory.active,
        "last_seen": seen,
        "polls": factory.polls,
        "leased": factory.leased,
        "finished": factory.finished,
        "workers": workers,
    }
