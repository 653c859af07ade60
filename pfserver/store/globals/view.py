"""Reading and updating globals within one transaction: ``IGlobalsView`` and ``IGlobalsUpdate``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zope.interface import implementer

from pfserver.interfaces import IGlobalsUpdate, IGlobalsView
from pfserver.store.globals.file import GlobalsFile
from pfserver.store.globals.journal import Updates
from pfserver.store.globals.keys import (
    after_descendants,
    after_node,
    before,
    global_of,
    level_of,
    sibling_at,
    subscripts_of,
)
from pfserver.store.globals.nodes import Nodes


@implementer(IGlobalsView)
class View:
    """See ``IGlobalsView``."""

    __slots__ = ("_nodes", "get", "get_short")

    def __init__(self, transaction: Any, rests: Any) -> None:
        self._nodes = Nodes(transaction, rests)
        self.get: Callable[[bytes], bytes | None] = self._nodes.get
        self.get_short: Callable[[bytes], bytes | None] = self._nodes.get_short
        """The same for keys that are shorter than ``KEY_LIMIT``."""

    def define(self, key: bytes) -> int:
        """See ``IGlobalsView``."""
        has_value = 0 if self._nodes.get(key) is None else 1
        found = self._nodes.at_or_after(after_node(key))
        return has_value + 10 if found is not None and found.startswith(key) else has_value

    def order(self, key: bytes, reverse: bool = False) -> bytes:
        """See ``IGlobalsView``."""
        level = level_of(key)
        found = self._nodes.before(before(key)) if reverse else self._nodes.at_or_after(after_descendants(key))
        # The node above is no sibling, though it is what stands before the first one.
        if found is None or len(found) == len(level) or not found.startswith(level):
            return b""
        return sibling_at(found, len(level))

    def query(self, key: bytes, reverse: bool = False) -> tuple[bytes, ...] | None:
        """See ``IGlobalsView``."""
        global_ = global_of(key)
        found = self._nodes.before(before(key)) if reverse else self._nodes.at_or_after(after_node(key))
        if found is None or not found.startswith(global_):
            return None
        return subscripts_of(found, len(global_))


class Snapshot:
    """A view of what is committed, kept as long as that is so: reading costs no transaction of its own."""

    def __init__(self, file: GlobalsFile) -> None:
        self._file = file
        self._transaction: Any = None
        self._view: View | None = None

    def view(self) -> View:
        """The view; good until :meth:`drop`."""
        if self._view is None:
            self._transaction = self._file.read()
            self._view = View(self._transaction, self._file.rests)
        return self._view

    def drop(self) -> None:
        """Something was committed, or is about to change the file's map."""
        self._view = None
        if self._transaction is not None:
            self._transaction.abort()
            self._transaction = None


class TooMuch(Exception):
    """An update takes longer than the reactor may stand still for it."""


@implementer(IGlobalsUpdate)
class Update(View):
    """See ``IGlobalsUpdate``.

    :param updates: gets each update before LMDB does, so that what LMDB has no room for is in it too.
    """

    __slots__ = ("_allowance", "_put", "_tell", "volume")

    def __init__(self, transaction: Any, rests: Any, updates: Updates) -> None:
        super().__init__(transaction, rests)
        self._tell = updates.append
        self._put = self._nodes.put
        self._allowance: int | None = None
        self.volume = 0
        """Bytes of the keys and values of the updates."""

    def allow(self, removals: int | None) -> None:
        """How many nodes may be removed from now on, None for any number; more raise ``TooMuch``."""
        self._allowance = removals

    def charge(self, nodes: int) -> None:
        """See ``IGlobalsUpdate``. Raises ``TooMuch``."""
        if self._allowance is not None:
            self._allowance -= nodes
            if self._allowance < 0:
                raise TooMuch

    def set(self, key: bytes, value: bytes) -> None:
        """See ``IGlobalsUpdate``."""
        # As in Nodes: attributes that are called are no methods.
        tell, put = self._tell, self._put
        tell((key, value))
        self.volume += len(key) + len(value)
        put(key, value)

    def kill(self, key: bytes) -> None:
        """See ``IGlobalsUpdate``."""
        self._tell((key, None))
        self.volume += len(key)
        self.charge(self._nodes.remove(key, self._allowance))

    def repeat(self, updates: Updates) -> None:
        """Do again what was done before, which is not written down again."""
        self.volume += sum(len(key) + len(value or b"") for key, value in updates)
        self._nodes.apply(updates)
