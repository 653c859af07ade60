"""Keys and values in LMDB, in order, whatever the length of a key.

LMDB keeps keys of up to 511 bytes. A longer one is cut: its first 510 bytes and a zero are the key of a *pointer*,
whose value is the number of a *bucket*, and the rest is kept in that bucket, in a table of its own, where it may be cut
again. All keys of exactly 511 bytes are pointers. A pointer sorts behind the short key that it begins with and before
all that is larger, so that walking into buckets where they come up visits all keys in order. No bucket is empty.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

#: What LMDB is compiled for everywhere.
KEY_LIMIT = 511

_HEAD = KEY_LIMIT - 1
_POINTED = b"\0"
_BUCKET_BYTES = 8
#: Where the number of the last bucket is kept, in the table of buckets; no bucket has the number 0.
_LAST_BUCKET = bytes(_BUCKET_BYTES)


class Nodes:
    """The nodes as one transaction sees them.

    :param transaction: an LMDB transaction whose table is the one of nodes.
    :param rests: the table of buckets.
    """

    # Attributes are looked up before they are called: as a method Python would look for them in the class first.
    __slots__ = ("_cursor", "_rests", "_transaction", "get_short", "put_short")

    def __init__(self, transaction: Any, rests: Any) -> None:
        self._transaction = transaction
        self._rests = rests
        self._cursor: Any = None
        self.get_short = transaction.get
        self.put_short = transaction.put

    # -- one key --------

    def get(self, key: bytes) -> bytes | None:
        """The value of a key, or None."""
        if len(key) <= _HEAD:
            get = self.get_short
            value: bytes | None = get(key)
            return value
        bucket, rest = self._bucket(self.get_short(key[:_HEAD] + _POINTED), key[_HEAD:], make=False)
        found: bytes | None = self.get_short(bucket + rest, db=self._rests) if bucket else None
        return found

    def put(self, key: bytes, value: bytes) -> None:
        """Give a key its value."""
        if len(key) <= _HEAD:
            put = self.put_short
            put(key, value)
            return
        pointer = key[:_HEAD] + _POINTED
        bucket = self.get_short(pointer)
        if bucket is None:
            bucket = self._new_bucket()
            self.put_short(pointer, bucket)
        bucket, rest = self._bucket(bucket, key[_HEAD:], make=True)
        self.put_short(bucket + rest, value, db=self._rests)

    def _bucket(self, bucket: bytes | None, rest: bytes, *, make: bool) -> tuple[bytes, bytes]:
        """The bucket where ``rest``, cut as often as it has to be, ends up; b"" where there is none."""
        room = _HEAD - _BUCKET_BYTES
        while bucket is not None and len(rest) > room:
            pointer = bucket + rest[:room] + _POINTED
            bucket, rest = self.get_short(pointer, db=self._rests), rest[room:]
            if bucket is None and make:
                bucket = self._new_bucket()
                self.put_short(pointer, bucket, db=self._rests)
        return bucket or b"", rest

    def _new_bucket(self) -> bytes:
        last = self.get_short(_LAST_BUCKET, db=self._rests) or _LAST_BUCKET
        bucket = (int.from_bytes(last, "big") + 1).to_bytes(_BUCKET_BYTES, "big")
        self.put_short(_LAST_BUCKET, bucket, db=self._rests)
        return bucket

    # -- places --------

    def at_or_after(self, key: bytes) -> bytes | None:
        """The first key that is not before ``key``."""
        cursor = self._cursor or self._main()
        if len(key) <= _HEAD:
            if not cursor.set_range(key):
                return None
            found: bytes = cursor.key()
            return found if len(found) <= _HEAD else self._entered(cursor, b"", reverse=False)
        return self._at_or_after(cursor, b"", key)

    def before(self, key: bytes) -> bytes | None:
        """The last key before ``key``."""
        return self._before(self._cursor or self._main(), b"", key)

    def _main(self) -> Any:
        self._cursor = self._transaction.cursor()
        return self._cursor

    def _at_or_after(self, cursor: Any, bucket: bytes, key: bytes) -> bytes | None:
        """The same in a bucket (``b""``: the table of nodes), without what the bucket's keys begin with."""
        room = _HEAD - len(bucket)
        if len(key) <= room:
            good = cursor.set_range(bucket + key)
        else:
            pointer = bucket + key[:room] + _POINTED
            good = cursor.set_range(pointer)
            if good and cursor.key() == pointer:
                rest = self._at_or_after(self._buckets(), cursor.value(), key[room:])
                if rest is not None:
                    return key[:room] + rest
                good = cursor.next()
        return self._entered(cursor, bucket, reverse=False) if good else None

    def _before(self, cursor: Any, bucket: bytes, key: bytes) -> bytes | None:
        room = _HEAD - len(bucket)
        place = bucket + key if len(key) <= room else bucket + key[:room] + _POINTED
        good = cursor.set_range(place)
        if len(key) > room and good and cursor.key() == place:
            rest = self._before(self._buckets(), cursor.value(), key[room:])
            if rest is not None:
                return key[:room] + rest
        good = cursor.prev() if good else cursor.last()
        return self._entered(cursor, bucket, reverse=True) if good else None

    def _entered(self, cursor: Any, bucket: bytes, *, reverse: bool) -> bytes | None:
        """The key at a cursor; where that is a pointer, the first (or last) one that it leads to."""
        found: bytes = cursor.key()
        if bucket and not found.startswith(bucket):
            return None
        if len(found) < KEY_LIMIT:
            return found[len(bucket) :]
        inner = cursor.value()
        rest = self._last(inner) if reverse else self._at_or_after(self._buckets(), inner, b"")
        assert rest is not None, "a bucket is empty"
        return found[len(bucket) : _HEAD] + rest

    def _last(self, bucket: bytes) -> bytes | None:
        """The last key in a bucket: what stands before the next bucket, since keys may be 0xFF all through."""
        cursor = self._buckets()
        behind = (int.from_bytes(bucket, "big") + 1).to_bytes(_BUCKET_BYTES, "big")
        good = cursor.prev() if cursor.set_range(behind) else cursor.last()
        return self._entered(cursor, bucket, reverse=True) if good else None

    def _buckets(self) -> Any:
        return self._transaction.cursor(db=self._rests)

    def apply(self, updates: Iterable[tuple[bytes, bytes | None]]) -> None:
        """Put keys that have a value, remove those that have none, with all that begins with them, in this order."""
        for key, value in updates:
            if value is None:
                self.remove(key, None)
            else:
                self.put(key, value)

    # -- trees --------

    def remove(self, key: bytes, allowance: int | None) -> int:
        """Remove all that begins with ``key``; returns how many. Stops where it is one more than the allowance."""
        return self._remove(self._cursor or self._main(), b"", key, allowance)

    def _remove(self, cursor: Any, bucket: bytes, key: bytes, allowance: int | None) -> int:
        room = _HEAD - len(bucket)
        removed = 0
        if len(key) > room:
            if cursor.set_key(bucket + key[:room] + _POINTED):
                inner = cursor.value()
                removed = self._remove(self._buckets(), inner, key[room:], allowance)
                if self._at_or_after(self._buckets(), inner, b"") is None:
                    cursor.delete()
            return removed
        place = bucket + key
        good = cursor.set_range(place)
        while good and (found := cursor.key()).startswith(place):
            if allowance is not None and removed > allowance:
                break
            if len(found) == KEY_LIMIT:
                left = None if allowance is None else allowance - removed
                removed += self._remove(self._buckets(), cursor.value(), b"", left)
                if allowance is not None and removed > allowance:
                    # Something is left in the bucket.
                    break
            else:
                removed += 1
            # What follows moves to where the cursor is.
            good = cursor.delete() and bool(cursor.key())
        return removed
