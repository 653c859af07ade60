"""From the bytes of a reference to the key of a node, remembering those that come again: most do."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple
from weakref import WeakValueDictionary

from attrs import define, field

from pfserver.errors import ReferenceTooLong
from pfserver.frontends.omi.agents import JOB, READ, WRITE, Agent
from pfserver.frontends.omi.limits import Limits
from pfserver.interfaces import ENVIRONMENT_BYTES, IGlobals
from pfserver.wire.omi import ErrorType, FormatError, OMIError, Reference, split_reference

#: Read-only globals that are not stored, and the right that each needs.
LIVE_GLOBALS: Mapping[bytes, str] = MappingProxyType({b"%PFJOB": JOB, b"%PFLOCK": READ})

#: So many bytes are spent on remembering references, for all sessions together; and what one costs besides its bytes.
REMEMBERED = 32 << 20
_COST = 400


class LiveReference(Exception):
    """A reference to a global that is not stored, but answered from what the server knows."""

    def __init__(self, reference: Reference) -> None:
        super().__init__()
        self.reference = reference


class Purpose(Enum):
    """What a key is for: it decides about rights and about an empty last subscript."""

    FETCH = "fetch"
    UPDATE = "update"
    WALK = "walk"
    """Order and query: an empty last subscript is where they start."""
    NEXT = "next"
    """The same, and -1 is where it starts."""


class Key(NamedTuple):
    """A node's key, and what replies need besides."""

    key: bytes
    is_name: bool
    """Whether the reference has no subscripts."""
    prefix: bytes
    """Environment and name as they were in the request, for references in replies."""


@define(eq=False)
class KeyCache:
    """The keys of one purpose for sessions with the same rights and limits."""

    keys: Keys
    agent: Agent
    limits: Limits
    purpose: Purpose
    known: dict[bytes, Key] = field(factory=dict)
    """By the LS field of a request, with its length; read by the sessions themselves, as this is where time goes."""
    nodes: dict[bytes, bytes] = field(factory=dict)
    """The same of nodes of which nothing but the key is needed: what is remembered in less is found sooner."""
    names: dict[bytes, bytes] = field(factory=dict)
    """By environment and name as they are in a reference, the keys of globals that may be used."""

    def resolve(self, data: bytes) -> Key:
        """The key of a field that is not in ``known`` yet. Raises ``OMIError``, ``LiveReference``."""
        key = self.known[data] = self._key(data)
        return key

    def node(self, data: bytes) -> bytes:
        """The key of a field that is not in ``nodes`` yet. Raises as :meth:`resolve`."""
        key = self.nodes[data] = self._key(data).key
        return key

    def _key(self, data: bytes) -> Key:
        end = len(data)
        if end < 2 or end != 2 + (data[0] | data[1] << 8):
            raise FormatError("a reference's length is not that of its field")
        try:
            start = 4 + (data[2] | data[3] << 8)
            size = end - start
            start += 1 + data[start]
            prefix = data[2:start]
            position = start
            subscripts = []
            while position < end:
                length = data[position]
                position += 1
                subscripts.append(data[position : position + length])
                position += length
        except IndexError:
            position = -1
        if position != end:
            raise FormatError("the lengths inside of a reference do not fit", ErrorType.REFERENCE_FORMAT)
        base = self.names.get(prefix) or self._name(prefix, subscripts, size)
        self._check(subscripts, size)
        try:
            packed = self.keys.globals.below(base, subscripts)
        except ReferenceTooLong:
            raise OMIError(ErrorType.REFERENCE_TOO_LONG) from None
        self.keys.make_room(end + len(packed) + len(prefix))
        return Key(packed, not subscripts, prefix)

    def _name(self, prefix: bytes, subscripts: list[bytes], size: int) -> bytes:
        """The key of a global that was not named yet, if the agent may name it."""
        environment, name, _ = split_reference(prefix)
        purpose = self.purpose
        if not self.keys.is_environment(environment):
            raise OMIError(ErrorType.NO_SUCH_ENVIRONMENT)
        is_update = purpose is Purpose.UPDATE
        if not self.agent.may(WRITE if is_update else LIVE_GLOBALS.get(name, READ), environment):
            raise OMIError(ErrorType.NOT_AUTHORIZED)
        if name in LIVE_GLOBALS:
            if is_update:
                raise OMIError(ErrorType.NOT_AUTHORIZED)
            self._check(subscripts, size)
            raise LiveReference(Reference(environment, name, tuple(subscripts)))
        self.keys.make_room(len(prefix))
        try:
            key = self.keys.globals.key(environment, name, ())
        except ReferenceTooLong:
            raise OMIError(ErrorType.REFERENCE_TOO_LONG) from None
        self.names[prefix] = key
        return key

    def _check(self, subscripts: list[bytes], size: int) -> None:
        purpose = self.purpose
        if subscripts:
            if self.limits.subscript < 255 and max(map(len, subscripts)) > self.limits.subscript:
                raise OMIError(ErrorType.REFERENCE_TOO_LONG)
            if purpose is Purpose.NEXT and subscripts[-1] == b"-1":
                subscripts[-1] = b""
            walks = purpose is Purpose.WALK or purpose is Purpose.NEXT
            if b"" in (subscripts[:-1] if walks else subscripts):
                raise OMIError(ErrorType.REFERENCE_CONTENT, "a subscript may not be empty")
        if size > self.limits.reference:
            raise OMIError(ErrorType.REFERENCE_TOO_LONG)


class Keys:
    """All that is remembered.

    :param environments: those that may be named; empty for any.
    :param remembered: bytes that may be spent.
    """

    def __init__(self, globals_: IGlobals, environments: frozenset[bytes], remembered: int = REMEMBERED) -> None:
        self.globals = globals_
        self._environments = environments
        self._remembered = remembered
        # Each lives as long as a session that uses it.
        self._caches: WeakValueDictionary[tuple[Agent, Limits, Purpose], KeyCache] = WeakValueDictionary()
        self._bytes = 0

    def cache(self, agent: Agent, limits: Limits, purpose: Purpose) -> KeyCache:
        """The cache for a session, shared with others that are alike."""
        found = self._caches.get((agent, limits, purpose))
        if found is None:
            found = self._caches[agent, limits, purpose] = KeyCache(self, agent, limits, purpose)
        return found

    def is_environment(self, environment: bytes) -> bool:
        """Whether there is, or may be, an environment of that name."""
        if len(environment) > ENVIRONMENT_BYTES:
            return False
        return not self._environments or environment in self._environments

    def make_room(self, size: int) -> None:
        """Count one more; beyond the limit all are forgotten, which costs less than to know which were used."""
        self._bytes += size + _COST
        if self._bytes > self._remembered:
            self._bytes = 0
            for cache in list(self._caches.values()):
                cache.known.clear()
                cache.nodes.clear()
                cache.names.clear()
