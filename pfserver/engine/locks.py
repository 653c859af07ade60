"""Locks on names of M: hierarchical, counted, each owned by a client of a session (OMI: locks).

A lock is kept as a key: a string of bytes that begins with the keys of all that lies above it, ordered as names and
subscripts are. So what lies below a name is one stretch of the keys in order, a lock needs hardly more room than its
reference, however deep that is, and no step visits all that is held.

What lies below a lock belongs to the lock's owner, since nobody else may take it. Two things follow: a name that is
locked needs no look at what is above and below, and if what comes just before a name in the order is somebody's, so is
every lock above that name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice

from zope.interface import implementer

from pfserver.engine.order import SortedKeys
from pfserver.interfaces import ILocks
from pfserver.model import HeldLock

#: Bytes that all locks together may take: some 350,000 locks on short names, where M applications hold hundreds.
ALL_BYTES = 256 << 20
#: Bytes that the locks of one session may take, some 45,000 locks: so many sessions have to go wrong before others get
#: none, and when a session ends, its locks are free within a part of a second.
SESSION_BYTES = 32 << 20
#: What a lock takes besides its key and its client's $Job, which may have no other lock; measured with 64-bit CPython.
LOCK_BYTES = 700

#: Ends a name or a subscript in a key. What is zero in them is followed by a 1: so no other string holds this, and it
#: is less than all that may follow a subscript's beginning.
_END = b"\0\0"


class _Owner(SortedKeys):
    """The keys of the locks of a session's client, as long as it has some."""

    __slots__ = ("agent", "client", "session")

    def __init__(self, session: int, client: bytes, agent: str) -> None:
        super().__init__()
        self.session = session
        self.client = client
        self.agent = agent


@implementer(ILocks)
class LockTable:
    """See ``ILocks``.

    :param most: bytes that all locks may take; one beyond that is not granted.
    :param most_of_session: the same for the locks of one session.
    """

    def __init__(self, most: int = ALL_BYTES, most_of_session: int = SESSION_BYTES) -> None:
        self._most = most
        self._most_of_session = most_of_session
        self._size = 0
        self._sizes: dict[int, int] = {}
        self._owners: dict[int, dict[bytes, _Owner]] = {}
        self._held: dict[bytes, _Owner] = {}
        # Of the keys that are locked more than once, how often.
        self._counts: dict[bytes, int] = {}
        self._order = SortedKeys()
        # How many locks there are in each, by the beginning of their keys.
        self._environments: dict[bytes, int] = {}

    def held(self, start: int = 0, most: int | None = None, environment: bytes | None = None) -> Sequence[HeldLock]:
        """See ``ILocks``."""
        first = b""
        if environment is not None:
            first = _key((environment,))
            left = max(0, self._environments.get(first[:-2], 0) - start)
            most = left if most is None else min(most, left)
        return [self._shown(key) for key in islice(self._order.walk(first, start), most)]

    def environments(self) -> Mapping[bytes, int]:
        """See ``ILocks``."""
        return {_plain(one): count for one, count in sorted(self._environments.items())}

    def take(self, lock: HeldLock) -> bool:
        """See ``ILocks``."""
        session, client = lock.session, lock.client
        owners = self._owners.get(session)
        owner = owners.get(client) if owners is not None else None
        path = (lock.environment, lock.name, *lock.subscripts)
        key = _key(path)
        holder = self._held.get(key)
        if holder is not None:
            if holder is not owner:
                return False
            count = self._counts.get(key)
            if count is None:
                # Not the same bytes once more: they may be many.
                count, key = 1, self._order.kept(key)
            self._counts[key] = count + 1
            return True
        place, before, after = self._order.around(key)
        if before is not None and self._held[before] is not owner and self._is_below_another(path, before, owner):
            return False
        if after is not None and after.startswith(key) and self._is_above_another(key, owner):
            return False
        size = LOCK_BYTES + len(key) + len(client)
        size_of_session = self._sizes.get(session, 0)
        if self._size + size > self._most or size_of_session + size > self._most_of_session:
            return False
        if owners is None:
            owners = self._owners[session] = {}
        if owner is None:
            owner = owners[client] = _Owner(session, client, lock.agent)
        owner.add(key)
        self._held[key] = owner
        self._order.add(key, place)
        self._size += size
        self._sizes[session] = size_of_session + size
        environment = key[: key.index(_END)]
        self._environments[environment] = self._environments.get(environment, 0) + 1
        return True

    def give_back(self, lock: HeldLock) -> None:
        """See ``ILocks``."""
        key = _key((lock.environment, lock.name, *lock.subscripts))
        owner = self._held.get(key)
        if owner is None or owner.client != lock.client or owner.session != lock.session:
            return
        count = self._counts.get(key, 1)
        if count > 2:
            self._counts[key] = count - 1
        elif count == 2:
            del self._counts[key]
        else:
            self._forget(key, owner)
            owner.remove(key)
            if not owner:
                self._end(owner)

    def release(self, session: int, client: bytes | None = None) -> None:
        """See ``ILocks``."""
        owners = self._owners.get(session, {})
        for one in list(owners) if client is None else [client] if client in owners else []:
            owner = owners[one]
            for key in owner.walk(b""):
                self._counts.pop(key, None)
                self._forget(key, owner)
            self._end(owner)

    def _is_below_another(self, path: Sequence[bytes], before: bytes, owner: _Owner | None) -> bool:
        """Whether somebody else has a lock above: what comes just before is that lock, or below it, too."""
        above = _key(path[:2])
        for part in path[2:]:
            if not before.startswith(above):
                return False
            holder = self._held.get(above)
            if holder is not None:
                return holder is not owner
            above += _key((part,))
        return False

    def _is_above_another(self, key: bytes, owner: _Owner | None) -> bool:
        """Whether somebody else has a lock below; somebody has."""
        # The least of what is behind them all.
        end = key[:-1] + b"\1"
        return owner is None or owner.count(key, end) < self._order.count(key, end)

    def _forget(self, key: bytes, owner: _Owner) -> None:
        """A lock is nobody's; its owner still has its key."""
        del self._held[key]
        self._order.remove(key)
        size = LOCK_BYTES + len(key) + len(owner.client)
        self._size -= size
        self._sizes[owner.session] -= size
        environment = key[: key.index(_END)]
        left = self._environments[environment] - 1
        if left:
            self._environments[environment] = left
        else:
            del self._environments[environment]

    def _end(self, owner: _Owner) -> None:
        """An owner has no lock any more."""
        session = owner.session
        owners = self._owners[session]
        del owners[owner.client]
        if not owners:
            del self._owners[session], self._sizes[session]

    def _shown(self, key: bytes) -> HeldLock:
        owner = self._held[key]
        environment, name, *subscripts = [_plain(part) for part in key[:-2].split(_END)]
        place = environment, name, tuple(subscripts)
        return HeldLock(*place, owner.session, owner.client, owner.agent, self._counts.get(key, 1))


def _key(path: Sequence[bytes]) -> bytes:
    key = _END.join(path) + _END
    # Most have no zeros but those of the ends.
    if key.count(0) == 2 * len(path):
        return key
    return b"".join([part.replace(b"\0", b"\0\1") + _END for part in path])


def _plain(part: bytes) -> bytes:
    return part.replace(b"\0\1", b"\0")
