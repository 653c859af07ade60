"""The records of a job in chunks, as a worker sets them together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any

from pfserver.backends.merge.worker import Chunk
from pfserver.projects.project import JobTable
from pfserver.projects.records import Records, RecordSource

#: The weight of a chunk's records in characters of text: large ones make short chunks.
WEIGHT = 2 << 20


class ChunkReader:
    """Reads records in chunks; its methods block and are called in threads, one at a time.

    :param size: records of a chunk at most.
    """

    def __init__(self, records: Records, origin: RecordSource, size: int, table: JobTable) -> None:
        self._records = records
        self._origin = origin
        # A chunk must not be larger than a run file.
        self._size = min(size, table.max_documents)
        self._stack = ExitStack()
        self._source: Iterator[Mapping[str, Any]] = iter(())
        self._next = 1

    def open(self) -> int | None:
        """Open the source; gives the number of records where it is cheap to know."""
        if not self._origin.source:
            self._source = iter([{}])
            return 1
        self._source = self._stack.enter_context(self._records.open(self._origin))
        return self._records.count(self._origin)

    def next(self) -> Chunk | None:
        """The next chunk; None at the end."""
        records: list[Mapping[str, Any]] = []
        weight = 0
        while len(records) < self._size and weight < WEIGHT and (record := next(self._source, None)) is not None:
            records.append(record)
            weight += sum(len(value) for value in record.values() if isinstance(value, str | list | dict))
        if not records:
            return None
        chunk = Chunk(first=self._next, records=records)
        self._next += len(records)
        return chunk

    def close(self) -> None:
        """Close the source."""
        self._stack.close()
