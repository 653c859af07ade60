"""``pfserver.locks``: the locks that clients of M hold, for those who keep the server."""

from __future__ import annotations

from pfserver.frontends.http.methods import Context, Registry
from pfserver.interfaces import ILocks
from pfserver.model import HeldLock
from pfserver.remote import ADMIN
from pfserver.wire.omi.written import write_reference
from pfserver.wire.xmlrpc import BAD_PARAMS, Fault, Value

#: Locks that one call tells at most.
LOCKS = 1000


class LockMethods:
    """Listing locks needs the right to admin, since names of globals may tell of patients."""

    def __init__(self, locks: ILocks) -> None:
        self._locks = locks

    def register(self, registry: Registry) -> None:
        """Add the methods."""
        registry.add("pfserver.locks", ("array", "int"), self.list_locks)

    async def list_locks(self, context: Context, after: int) -> Value:
        """The locks that M clients hold on names, in the order of environments and names.

        after is how many to pass over (0 for none): one call tells a thousand at most.

        Returns an array of structs: reference (as written in M), environment, client (its $Job), session, agent (empty:
        anonymous) and count (how often it was locked and not unlocked yet).
        """
        context.caller.expect(ADMIN)
        if after < 0:
            raise Fault(BAD_PARAMS, "after is not negative")
        return [_shown(lock) for lock in self._locks.held(after, LOCKS)]


def _shown(lock: HeldLock) -> Value:
    return {
        "reference": _text(write_reference(lock.name, lock.subscripts)),
        "environment": _text(lock.environment),
        "client": _text(lock.client),
        "session": lock.session,
        "agent": lock.agent,
        "count": lock.count,
    }


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")
