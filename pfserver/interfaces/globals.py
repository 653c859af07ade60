"""M globals and the locks on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import Interface

from pfserver.model import HeldLock

#: The name of an environment has so many bytes at most, for globals, locks and jobs alike: it is part of every key, and
#: no limit of OMI's counts it. Longer than any file name.
ENVIRONMENT_BYTES = 255


class IGlobals(Interface):
    """M globals, ordered as M collates: environments are separate namespaces. See :mod:`pfserver.store.globals`.

    All names, subscripts and values are bytes. A global's name stands without its caret (``b"X"`` for ``^X``). A node
    is named by a *key* that :meth:`key` makes once; what a key looks like only the store knows.

    Reads happen in the calling thread, at once, and wait for nobody. Updates are handed over as a function, one a
    message, and what one function does is kept together: all of it or nothing. Reads see an update as soon as its
    function has run. Durability ``"message"``: the Deferred fires once it is on disk; ``"interval"``: it fires at once,
    and the disk has the update ``globals_interval`` seconds and a flush later.

    Made as ``pfserver.store.globals.Globals(folder, reactor, durability="message", interval=1.0)``; ``open()`` blocks
    and raises ``StoreUnavailable``, ``close()`` returns an awaitable that fires when all is on disk.
    """

    def key(environment: bytes, name: bytes, subscripts: Sequence[bytes]) -> bytes:
        """The key of a node. The last subscript may be empty: where order and query start, before all siblings.

        Neither name nor subscripts are checked but for what the store cannot keep: raises ``ReferenceTooLong``, also
        for an environment beyond :data:`ENVIRONMENT_BYTES`.
        """

    def below(key: bytes, subscripts: Sequence[bytes]) -> bytes:
        """The key of a node below another one: ``key(e, n, a + b)`` is ``below(key(e, n, a), b)``.

        For those who name many nodes of one global.
        """

    def view() -> IGlobalsView:
        """What reads see now, consistent in itself; to be used at once and not kept: whatever runs later may end it.

        Raises ``StoreUnavailable``.
        """

    def get(key: bytes) -> bytes | None:
        """``view().get(key)``, sooner: nothing is asked for as often."""

    def write(function: Callable[[IGlobalsUpdate], Any]) -> Deferred[Any]:
        """Call ``function`` with what reads and updates, and see its own updates; fires with its result.

        ``function`` may be called in another thread, and again where a commit has to be repeated: it must only look
        at its arguments and what belongs to it. Calls are made in the order of :meth:`write`. Where it raises, none
        of its updates is kept and the Deferred fails with what it raised. Fails with ``StoreUnavailable`` where
        nothing could be kept, e.g. because the disk is full.
        """

    def try_write(function: Callable[..., Any], *arguments: Any) -> Any:
        """Call ``function(update, *arguments)`` at once where nobody waits for updates; gives its result, never None.

        None, and nothing is done, where updates are waited for or something stands in the way: :meth:`write` sees to
        that. Raises what ``function`` raises; none of its updates is kept then.
        """


class IGlobalsView(Interface):
    """Globals as they are at one moment. Keys come from :meth:`IGlobals.key`. All methods are synchronous."""

    def get(key: bytes) -> bytes | None:
        """The node's value; None where it has none."""

    def define(key: bytes) -> int:
        """$Data: 0 nothing, 1 a value, 10 descendants, 11 both."""

    def order(key: bytes, reverse: bool = False) -> bytes:
        """$Order: the next subscript (or, reversed, the one before) at the key's level; ``b""`` where there is none.

        For a key without subscripts: the next global name, without its caret. A key whose last subscript is empty
        stands before the first sibling, reversed: behind the last one.
        """

    def query(key: bytes, reverse: bool = False) -> tuple[bytes, ...] | None:
        """$Query: the subscripts of the next node of the same global that has a value; None where there is none.

        Reversed: of the node before; ``()`` is the global's own node.
        """


class IGlobalsUpdate(IGlobalsView):
    """The same, and updates."""

    def set(key: bytes, value: bytes) -> None:
        """Give a node its value, of any length up to 32,767 bytes."""

    def kill(key: bytes) -> None:
        """Remove a node's value and all its descendants."""

    def charge(nodes: int) -> None:
        """Say that what the caller does with values takes as long as to remove so many nodes (each about 1 us).

        May raise what the caller must let pass: then the function is called again where it may take long.
        """


class ILocks(Interface):
    """The names that M clients have locked. In memory: a lock lives as long as its session."""

    def held(start: int = 0, most: int | None = None, environment: bytes | None = None) -> Sequence[HeldLock]:
        """Locks by environment, name and subscripts: so many of them (None: all) without the first ``start``.

        Of one environment alone where that is named.
        """

    def environments() -> Mapping[bytes, int]:
        """How many locks there are in each environment that has some, in order."""

    def take(lock: HeldLock) -> bool:
        """Lock a name once more for its owner (``count`` is ignored); False where somebody else's lock is in the way.

        In the way are locks of other owners (session and client) on the same name, above it and below it. False, too,
        where the locks of the session, or all of them, take as much memory as they may.
        """

    def give_back(lock: HeldLock) -> None:
        """Undo one :meth:`take`; nothing happens where the owner has no such lock."""

    def release(session: int, client: bytes | None = None) -> None:
        """Give back all locks of a session, or of one of its clients."""
