"""The operations on globals. Every request is decoded to a step, then all steps of a message run on one view.

This is where a server spends its time: the layouts are written out, and what a session needs is bound once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from struct import Struct
from typing import Any

from pfserver.frontends.omi import text
from pfserver.frontends.omi.agents import Agent
from pfserver.frontends.omi.keys import Key, KeyCache, Keys, Purpose
from pfserver.frontends.omi.limits import Agreement
from pfserver.interfaces import IGlobalsUpdate, IGlobalsView
from pfserver.wire.omi import ErrorType, FormatError, OMIError, Operation, split_reference
from pfserver.wire.omi.fields import Fields, ls, ss

#: What a value in a reply begins with: that there is one, and how long it is.
_DEFINED = Struct("<BH")

#: What a step does with a view and its argument: gives the reply's fields. Raises ``OMIError``.
Perform = Callable[[Any, Any], bytes]
Step = tuple[Perform, Any]
#: Makes a step of the request that is in these bytes from here to there; its header is the first 12 of them.
#: Raises ``OMIError``, ``LiveReference``.
Decode = Callable[[bytes, int, int], Step]

_UNDEFINED = b"\0\0\0"
_BODY = 12

#: A name in a reply has to fit into its field, with its caret; no agreement says how long it may be.
_NAME = 255

#: What takes as long as to remove a node: to write so many bytes of a value anew, to read so many as a number, or to
#: cut so many pieces. Values that are shorter do not count: only long ones, which a few bytes of a request can have
#: worked on, make a message last.
_BYTES_A_NODE, _DIGITS_A_NODE, _PIECES_A_NODE = 512, 64, 32


def fail(view: IGlobalsView, error: OMIError) -> bytes:
    """The step of a request that could not be decoded."""
    raise error


class Data:
    """The operations on globals for one session; decoders by operation type."""

    def __init__(self, keys: Keys, agent: Agent, agreement: Agreement) -> None:
        limits = agreement.limits
        self._globals = keys.globals
        self._value = limits.value
        self._subscript = limits.subscript
        self._reference = limits.reference
        fetched = keys.cache(agent, limits, Purpose.FETCH)
        self._update_cache = keys.cache(agent, limits, Purpose.UPDATE)
        self._walk_cache = keys.cache(agent, limits, Purpose.WALK)
        wide = agreement.is_wide
        self.fetches: Mapping[int, Decode] = {
            Operation.GET: self._of(fetched, self._wide_node) if wide else self._of_node(fetched, self._get),
            Operation.DEFINE: self._of(fetched, self._wide_node) if wide else self._of_node(fetched, self._define),
            Operation.ORDER: self._decode_wide_order if wide else self._of(self._walk_cache, self._order),
            Operation.NEXT: self._of(keys.cache(agent, limits, Purpose.NEXT), self._next),
            Operation.REVERSE_ORDER: self._of(self._walk_cache, self._reverse_order),
            Operation.QUERY: self._of(self._walk_cache, self._query),
            Operation.REVERSE_QUERY: self._of(self._walk_cache, self._reverse_query),
        }
        self.at_once: Mapping[int, Callable[[bytes, int, int], bytes]] = (
            {} if wide else {Operation.GET: self._get_at_once(fetched)}
        )
        """What is asked for most: decoded and carried out in one go, for a request that is alone in its message."""
        self.values = frozenset({Operation.GET, Operation.DEFINE, Operation.ORDER} if wide else {Operation.GET})
        """The fetches that tell values, which may be long."""
        self.updates: Mapping[int, Decode] = {
            Operation.SET: self._decode_set,
            Operation.SET_PIECE: self._decode_set_piece,
            Operation.SET_EXTRACT: self._decode_set_extract,
            Operation.KILL: self._decode_kill,
        }
        if wide or agreement.major >= 2:
            self.updates = {**self.updates, Operation.INCREMENT: self._decode_increment}

    # -- decoding --------

    @staticmethod
    def _of(cache: KeyCache, perform: Perform) -> Decode:
        """The decoder of requests whose only field is a reference."""
        known, resolve = cache.known.get, cache.resolve

        def decode(data: bytes, start: int, end: int) -> Step:
            field = data[start + _BODY : end]
            return perform, known(field) or resolve(field)

        return decode

    @staticmethod
    def _of_node(cache: KeyCache, perform: Perform) -> Decode:
        """The same where the key is all that is needed of it."""
        known, node = cache.nodes.get, cache.node

        def decode(data: bytes, start: int, end: int) -> Step:
            field = data[start + _BODY : end]
            return perform, known(field) or node(field)

        return decode

    def _get_at_once(self, cache: KeyCache) -> Callable[[bytes, int, int], bytes]:
        """:meth:`_get` with its decoder: each call that is saved is a fiftieth of what the message costs."""
        known, node, longest = cache.nodes.get, cache.node, self._value
        globals_ = self._globals

        def get(data: bytes, start: int, end: int) -> bytes:
            field = data[start + _BODY : end]
            value = globals_.get(known(field) or node(field))
            if value is None:
                return _UNDEFINED
            length = len(value)
            if length > longest:
                raise OMIError(ErrorType.VALUE_TOO_LONG)
            return _DEFINED.pack(1, length) + value

        return get

    def _decode_wide_order(self, data: bytes, start: int, end: int) -> Step:
        field = data[start + _BODY : end]
        key = self._walk_cache.known.get(field) or self._walk_cache.resolve(field)
        return self._wide_order, (key, split_reference(field[2:]))

    def _decode_set(self, data: bytes, start: int, end: int) -> Step:
        start += _BODY + 1
        if start + 2 > end:
            raise FormatError("a set ends before its reference")
        middle = start + 2 + (data[start] | data[start + 1] << 8)
        if middle + 2 > end:
            raise FormatError("a set ends before its value")
        value = data[middle + 2 : end]
        if len(value) != data[middle] | data[middle + 1] << 8:
            raise FormatError("a value's length is not that of its field")
        field = data[start:middle]
        cache = self._update_cache
        key = cache.nodes.get(field) or cache.node(field)
        if len(value) > self._value:
            raise OMIError(ErrorType.VALUE_TOO_LONG)
        return self._set, (key, value)

    def _decode_kill(self, data: bytes, start: int, end: int) -> Step:
        field = data[start + _BODY + 1 : end]
        return self._kill, self._update_cache.nodes.get(field) or self._update_cache.node(field)

    def _decode_set_piece(self, data: bytes, start: int, end: int) -> Step:
        fields = Fields(data[start + _BODY : end])
        fields.si()
        reference, value = fields.ls(), fields.ls()
        place = fields.li(), fields.li(), fields.ss()
        fields.end()
        return self._set_piece, (self._update_cache.node(ls(reference)), value, *place)

    def _decode_set_extract(self, data: bytes, start: int, end: int) -> Step:
        fields = Fields(data[start + _BODY : end])
        fields.si()
        reference, value = fields.ls(), fields.ls()
        place = fields.li(), fields.li()
        fields.end()
        return self._set_extract, (self._update_cache.node(ls(reference)), value, *place)

    def _decode_increment(self, data: bytes, start: int, end: int) -> Step:
        fields = Fields(data[start + _BODY : end])
        reference, amount = fields.ls(), fields.ls()
        fields.end()
        return self._increment, (self._update_cache.node(ls(reference)), amount)

    # -- fetches --------

    def _get(self, view: IGlobalsView, key: bytes) -> bytes:
        get = view.get  # it may be an attribute of the view: see Nodes
        value = get(key)
        if value is None:
            return _UNDEFINED
        length = len(value)
        if length > self._value:
            raise OMIError(ErrorType.VALUE_TOO_LONG)
        return _DEFINED.pack(1, length) + value

    @staticmethod
    def _define(view: IGlobalsView, key: bytes) -> bytes:
        return view.define(key).to_bytes(1, "little")

    def _order(self, view: IGlobalsView, key: Key) -> bytes:
        subscript = view.order(key.key)
        return self._name(subscript) if key.is_name and subscript else self._short(subscript)

    def _reverse_order(self, view: IGlobalsView, key: Key) -> bytes:
        subscript = view.order(key.key, True)
        return self._name(subscript) if key.is_name and subscript else self._short(subscript)

    def _next(self, view: IGlobalsView, key: Key) -> bytes:
        found = self._order(view, key)
        return found if found != b"\0" else b"\2-1"

    def _query(self, view: IGlobalsView, key: Key, reverse: bool = False) -> bytes:
        subscripts = view.query(key.key, reverse)
        return b"\0\0" if subscripts is None else self.reference(key.prefix, subscripts)

    def _reverse_query(self, view: IGlobalsView, key: Key) -> bytes:
        return self._query(view, key, True)

    def _wide_node(self, view: IGlobalsView, key: Key) -> bytes:
        return self._order(view, key) + self._define(view, key.key) + self._get(view, key.key)

    def _wide_order(self, view: IGlobalsView, argument: tuple[Key, tuple[bytes, bytes, list[bytes]]]) -> bytes:
        key, (environment, name, subscripts) = argument
        found = view.order(key.key)
        if not found:
            return b"\0\0" + _UNDEFINED
        place = (found, []) if key.is_name else (name, [*subscripts[:-1], found])
        node = self._globals.key(environment, *place)
        return self._order(view, key) + self._define(view, node) + self._get(view, node)

    def _short(self, subscript: bytes) -> bytes:
        length = len(subscript)
        if length > self._subscript:
            raise OMIError(ErrorType.REFERENCE_TOO_LONG)
        return length.to_bytes(1, "little") + subscript

    @staticmethod
    def _name(name: bytes) -> bytes:
        if len(name) >= _NAME:
            raise OMIError(ErrorType.REFERENCE_TOO_LONG)
        return ss(b"^" + name)

    def reference(self, prefix: bytes, subscripts: Sequence[bytes]) -> bytes:
        """A reference in a reply, with its length. Raises ``OMIError`` where the agent did not agree to one so long."""
        packed = b"".join([ss(one) for one in subscripts])
        name_length = len(prefix) - 2 - (prefix[0] | prefix[1] << 8)
        if name_length + len(packed) > self._reference or max(map(len, subscripts), default=0) > self._subscript:
            raise OMIError(ErrorType.REFERENCE_TOO_LONG)
        return ls(prefix + packed)

    # -- updates --------

    @staticmethod
    def _set(update: IGlobalsUpdate, argument: tuple[bytes, bytes]) -> bytes:
        key, value = argument
        update.set(key, value)
        return b""

    @staticmethod
    def _kill(update: IGlobalsUpdate, key: bytes) -> bytes:
        update.kill(key)
        return b""

    def _set_piece(self, update: IGlobalsUpdate, argument: tuple[bytes, bytes, int, int, bytes]) -> bytes:
        key, new, first, last, delimiter = argument
        old = update.get(key) or b""
        if len(old) >= _BYTES_A_NODE and delimiter:
            update.charge(min(last, old.count(delimiter)) // _PIECES_A_NODE)
        value = text.set_piece(old, new, first, last, delimiter, self._value)
        return self._rewrite(update, key, old, value)

    def _set_extract(self, update: IGlobalsUpdate, argument: tuple[bytes, bytes, int, int]) -> bytes:
        key, new, first, last = argument
        old = update.get(key) or b""
        return self._rewrite(update, key, old, text.set_extract(old, new, first, last, self._value))

    @staticmethod
    def _rewrite(update: IGlobalsUpdate, key: bytes, old: bytes, value: bytes | None) -> bytes:
        if value is not None:
            longest = max(len(old), len(value))
            if longest >= _BYTES_A_NODE:
                update.charge(longest // _BYTES_A_NODE)
            update.set(key, value)
        return b""

    def _increment(self, update: IGlobalsUpdate, argument: tuple[bytes, bytes]) -> bytes:
        key, amount = argument
        old = update.get(key) or b""
        if len(old) >= _BYTES_A_NODE:
            update.charge(len(old) // _DIGITS_A_NODE)
        value = text.increment(old, amount)
        if len(value) > self._value:
            raise OMIError(ErrorType.VALUE_TOO_LONG)
        update.set(key, value)
        return ls(value)
