"""Locks on names of M: hierarchical, counted, each owned by a client of a session (OMI: locks)."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, evolve, field
from zope.interface import implementer

from pfserver.interfaces import ILocks
from pfserver.model import HeldLock

#: A session and its client's $Job.
Owner = tuple[int, bytes]
#: Environment, name, subscripts. What is above a lock are its path's beginnings, down to the name.
Path = tuple[bytes, ...]

#: The shortest path: environment and name.
_ROOT = 2


@define
class _Node:
    """A path that is locked, or lies above one that is."""

    lock: HeldLock | None = None
    below: dict[Owner, int] = field(factory=dict)
    """How many locked paths of each owner lie below."""


@implementer(ILocks)
class LockTable:
    """See ``ILocks``.

    :param most: locked paths at once; a lock beyond that is not granted.
    """

    def __init__(self, most: int = 1_000_000) -> None:
        self._most = most
        self._nodes: dict[Path, _Node] = {}
        self._owned: dict[int, dict[bytes, set[Path]]] = {}
        self._count = 0

    def held(self) -> Sequence[HeldLock]:
        """See ``ILocks``."""
        locks = [node.lock for node in self._nodes.values() if node.lock is not None]
        return sorted(locks, key=lambda lock: (lock.environment, lock.name, lock.subscripts))

    def take(self, lock: HeldLock) -> bool:
        """See ``ILocks``."""
        owner, path = (lock.session, lock.client), _path(lock)
        above = [path[:length] for length in range(_ROOT, len(path))]
        for one in (*above, path):
            node = self._nodes.get(one)
            if node is not None and node.lock is not None and _owner(node.lock) != owner:
                return False
        node = self._nodes.get(path)
        if node is not None and any(other != owner for other in node.below):
            return False
        if node is not None and node.lock is not None:
            node.lock = evolve(node.lock, count=node.lock.count + 1)
            return True
        if self._count >= self._most:
            return False
        self._nodes.setdefault(path, _Node()).lock = evolve(lock, count=1)
        for one in above:
            below = self._nodes.setdefault(one, _Node()).below
            below[owner] = below.get(owner, 0) + 1
        self._owned.setdefault(lock.session, {}).setdefault(lock.client, set()).add(path)
        self._count += 1
        return True

    def give_back(self, lock: HeldLock) -> None:
        """See ``ILocks``."""
        path = _path(lock)
        node = self._nodes.get(path)
        if node is None or node.lock is None or _owner(node.lock) != (lock.session, lock.client):
            return
        if node.lock.count > 1:
            node.lock = evolve(node.lock, count=node.lock.count - 1)
        else:
            self._forget(path, (lock.session, lock.client))

    def release(self, session: int, client: bytes | None = None) -> None:
        """See ``ILocks``."""
        clients = self._owned.get(session, {})
        for one in [client] if client is not None else list(clients):
            for path in list(clients.get(one, ())):
                self._forget(path, (session, one))

    def _forget(self, path: Path, owner: Owner) -> None:
        self._nodes[path].lock = None
        self._drop_if_unused(path)
        for length in range(_ROOT, len(path)):
            below = self._nodes[path[:length]].below
            below[owner] -= 1
            if not below[owner]:
                del below[owner]
                self._drop_if_unused(path[:length])
        session, client = owner
        clients = self._owned[session]
        clients[client].remove(path)
        if not clients[client]:
            del clients[client]
        if not clients:
            del self._owned[session]
        self._count -= 1

    def _drop_if_unused(self, path: Path) -> None:
        node = self._nodes[path]
        if node.lock is None and not node.below:
            del self._nodes[path]


def _path(lock: HeldLock) -> Path:
    return (lock.environment, lock.name, *lock.subscripts)


def _owner(lock: HeldLock) -> Owner:
    return lock.session, lock.client
