"""The journal of globals: what was updated, one update after the other, so that it is on disk before the file is.

A commit of LMDB writes a page for nearly every node that was set, all over its file; what was updated fills a few pages
in a row, and a disk needs a hundredth of the time for them. So a message is told when its updates are in the journal.
The file is committed now and then, without waiting for the disk, and *settles* in the background: once all of it is on
disk, that is written down as the *base*, and the journal from there on is what counts.

LMDB's first pages, its *metas*, say what is committed, and the system may write them before the pages that they speak
of. A base therefore has a copy of them. After a crash they are put back, the file is as it was when it had settled, and
what the journal has since is done again. No page of that state is lost: LMDB uses none again that one of its last two
commits needs, and nothing more is committed before what was committed last has settled and is a base.

What the journal has may be in the base already, where that was written later: sets and kills that are done again in
their order, up to the last, leave what they left before.

There are two journals, and a base in one is also the beginning of what comes after it; the other one has what comes
after the next commit, and in time the next base::

    base     magic, its number, the tokens of this journal and of the next, the number of LMDB's transaction, the length
             of its metas, the checksum of all of this; then the metas
    record   token, length, checksum; updates; zeros up to the next page

An update is the length of its key and of its value (:data:`_KILLED`: there is none, the key and what is below is
removed), then both. Records end where there is none with the right token, which nobody outside can know beforehand:
what is left of older ones, and what somebody put into a value, is none. All integers are little-endian.
"""

from __future__ import annotations

import errno
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from struct import Struct
from typing import NamedTuple

from pfserver.host.disk import sync

#: Updates in their order: a key and its new value, or None where it was killed with all below it.
Updates = list[tuple[bytes, bytes | None]]

NAMES = "journal.0", "journal.1"

_MAGIC = b"pfsglob1"
_BASE = Struct("<8sQ16s16sQI")
_RECORD = Struct("<16sII")
_UPDATE = Struct("<II")
_CHECKSUM = Struct("<I")
_TOKEN_BYTES = 16
_KILLED = 0xFFFFFFFF

_PAGE = 4096
#: Where the metas are in a journal, and where its records begin; metas of pages of 64 KiB have room.
_METAS = _PAGE
_START = 64 * _PAGE

#: A journal is made longer by so many bytes; within them a flush has to write nothing but what is in it.
GROWTH = 1 << 20
#: A journal that is longer is cut when it begins anew.
KEPT = 64 << 20


class Base(NamedTuple):
    """A state of the file that is all on disk."""

    number: int
    token: bytes
    next_token: bytes
    transaction: int
    metas: bytes


class Journal:
    """The two journals in a folder. All methods but :meth:`turn` block and raise ``OSError``; call one at a time."""

    def __init__(self, folder: Path) -> None:
        self._paths = [folder / name for name in NAMES]
        self._descriptors: list[int] = []
        self._base: Base | None = None
        # The number of the journal that is written, its token, and where.
        self._number = 0
        self._token = b""
        self._end = _START
        self._sizes = [0, 0]
        # The journal that is written has nothing yet that is needed.
        self._is_fresh = False
        # There may be a record at the end that was told not to be there.
        self._is_spoilt = False

    @property
    def size(self) -> int:
        """Bytes of records in the journal that is written."""
        return self._end - _START

    # -- after a start --------

    def read_base(self) -> Base | None:
        """The last base; None where there is no journal, or none was needed any more."""
        found = [base for path in self._paths if (base := _read_base(path)) is not None]
        self._base = max(found, default=None)
        return self._base

    def records(self) -> Iterator[Updates]:
        """What was updated since the base that was read."""
        base = self._base
        if base is not None:
            yield from _records(self._paths[base.number % 2], base.token)
            yield from _records(self._paths[(base.number + 1) % 2], base.next_token)

    # -- while it is written --------

    def open(self) -> None:
        """Make what is missing; then a base is needed before records are written, see :meth:`settle`."""
        self.close()
        for index, path in enumerate(self._paths):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._descriptors.append(descriptor)
            self._sizes[index] = max(os.fstat(descriptor).st_size, _START)
        # The new base goes into the file that does not hold the old one, which is good until then.
        self._number = 1 if self._base is None else self._base.number + 1
        self._token = os.urandom(_TOKEN_BYTES)
        self._end = _START
        self._is_fresh = self._is_spoilt = False

    def write(self, record: bytes) -> None:
        """Have a record on disk.

        Where it raises, the record is not there, unless the disk fails to take it back, too; then nothing is written
        before that has worked. The next record takes its place.
        """
        index = self._number % 2
        descriptor = self._descriptor()
        length = _padded(_RECORD.size + len(record))
        head = _RECORD.pack(self._token, len(record), zlib.crc32(record))
        end = self._end + length
        if self._is_spoilt:
            self._take_back_record(index)
        try:
            if self._is_fresh:
                self._cut(index)
            self._grow(index, end)
            write_all(descriptor, (head + record).ljust(length, b"\0"), self._end)
            self._sizes[index] = max(self._sizes[index], end)
            os.fdatasync(descriptor)
        except OSError:
            self._is_spoilt = True
            with suppress(OSError):
                self._take_back_record(index)
            raise
        self._end = end

    def turn(self) -> None:
        """The file is committed: what is updated from now on goes into the other journal."""
        assert self._base is not None and self.is_at_base, "the last commit has not settled"
        self._number += 1
        self._token = self._base.next_token
        self._end = _START
        self._is_fresh, self._is_spoilt = True, False

    @property
    def number(self) -> int:
        """Of the journal that is written, and of its base when there is one."""
        return self._number

    @property
    def base_number(self) -> int:
        """Of the last base; 0 for none."""
        return 0 if self._base is None else self._base.number

    @property
    def is_at_base(self) -> bool:
        """Whether the journal that is written begins with the last base."""
        return self._base is not None and self._base.number == self._number

    def settle(self, transaction: int, metas: bytes) -> None:
        """All that was committed before the last :meth:`turn`, or before :meth:`open`, is on disk, and is the base.

        :param transaction: the number of LMDB's last transaction.
        """
        base = Base(self._number, self._token, os.urandom(_TOKEN_BYTES), transaction, metas)
        descriptor = self._descriptor()
        head = _BASE.pack(_MAGIC, base.number, base.token, base.next_token, transaction, len(metas))
        checksum = _CHECKSUM.pack(zlib.crc32(metas, zlib.crc32(head)))
        write_all(descriptor, head + checksum, 0)
        write_all(descriptor, metas, _METAS)
        os.fdatasync(descriptor)
        self._base = base

    def take_back(self) -> Base:
        """The last base, for a file that is put back to it. Where a newer one failed, no trace of it stays."""
        assert self._base is not None, "there is no base"
        if not self.is_at_base:
            descriptor = self._descriptor()
            write_all(descriptor, bytes(_PAGE), 0)
            os.fdatasync(descriptor)
        return self._base

    def close(self) -> None:
        """Close the files; what is in them stays."""
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors.clear()

    def remove(self) -> None:
        """The file itself has all, and is on disk."""
        self.close()
        # The one without the base first: a base whose other journal is gone for good has all that there is.
        last = 0 if self._base is None else self._base.number % 2
        for path in (self._paths[1 - last], self._paths[last]):
            path.unlink(missing_ok=True)
            sync(path.parent)
        self._base = None

    def _descriptor(self) -> int:
        """Of the journal that is written."""
        if not self._descriptors:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return self._descriptors[self._number % 2]

    def _grow(self, index: int, size: int) -> None:
        """Room for so many bytes: zeros, since a place that was never written costs more than one that was.

        Where the disk is nearly full there is none; a record may find the little that it needs.
        """
        try:
            while self._sizes[index] < size:
                write_all(self._descriptors[index], bytes(GROWTH), self._sizes[index])
                self._sizes[index] += GROWTH
        except OSError:
            os.ftruncate(self._descriptors[index], self._sizes[index])

    def _cut(self, index: int) -> None:
        """Keep no more of a journal that begins anew than :data:`KEPT`."""
        self._is_fresh = False
        if self._sizes[index] > KEPT:
            os.ftruncate(self._descriptors[index], KEPT)
            self._sizes[index] = KEPT

    def _take_back_record(self, index: int) -> None:
        os.ftruncate(self._descriptors[index], self._end)
        self._sizes[index] = self._end
        os.fsync(self._descriptors[index])
        self._is_spoilt = False


def record_of(updates: Sequence[tuple[bytes, bytes | None]]) -> bytes:
    """Updates that are kept together or not at all, as :meth:`Journal.write` takes them."""
    parts: list[bytes] = []
    add, lengths = parts.append, _UPDATE.pack
    for key, value in updates:
        if value is None:
            add(lengths(len(key), _KILLED))
            add(key)
        else:
            add(lengths(len(key), len(value)))
            add(key)
            add(value)
    return b"".join(parts)


def _read_base(path: Path) -> Base | None:
    """The base in a journal; None where there is none that is whole."""
    with suppress(FileNotFoundError), path.open("rb") as file:
        head = file.read(_BASE.size + _CHECKSUM.size)
        if len(head) < _BASE.size + _CHECKSUM.size or not head.startswith(_MAGIC):
            return None
        _, number, token, next_token, transaction, length = _BASE.unpack_from(head)
        file.seek(_METAS)
        metas = file.read(min(length, _START - _METAS))
        checksum = zlib.crc32(metas, zlib.crc32(head[: _BASE.size]))
        if len(metas) == length and _CHECKSUM.pack(checksum) == head[_BASE.size :]:
            return Base(number, token, next_token, transaction, metas)
    return None


def _records(path: Path, token: bytes) -> Iterator[Updates]:
    """None where the journal is missing: an orderly end may have come so far."""
    with suppress(FileNotFoundError), path.open("rb") as file:
        place = _START
        while True:
            file.seek(place)
            head = file.read(_RECORD.size)
            if len(head) < _RECORD.size or not head.startswith(token):
                return
            _, length, checksum = _RECORD.unpack(head)
            record = file.read(length)
            if len(record) < length or zlib.crc32(record) != checksum:
                return
            yield _updates(record)
            place += _padded(_RECORD.size + length)


def _updates(record: bytes) -> Updates:
    updates: Updates = []
    place = 0
    while place < len(record):
        key_length, value_length = _UPDATE.unpack_from(record, place)
        place += _UPDATE.size
        key = record[place : place + key_length]
        place += key_length
        if value_length == _KILLED:
            updates.append((key, None))
        else:
            updates.append((key, record[place : place + value_length]))
            place += value_length
    return updates


def _padded(length: int) -> int:
    """Up to the end of its last page: a page with what was told is not written again."""
    return -(-length // _PAGE) * _PAGE


def write_all(descriptor: int, data: bytes, place: int) -> None:
    """All of it: a disk that is nearly full takes a part."""
    rest = memoryview(data)
    while rest:
        written = os.pwrite(descriptor, rest, place)
        rest, place = rest[written:], place + written
