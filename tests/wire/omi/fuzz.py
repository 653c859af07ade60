"""Messages that are nearly right: valid ones, changed here and there."""

from __future__ import annotations

import random

from pfserver.wire.omi import (
    CancelJob,
    Define,
    Disconnect,
    Get,
    Increment,
    JobStatus,
    Kill,
    Lock,
    Next,
    Order,
    Query,
    Reference,
    Request,
    RequestHeader,
    ReverseOrder,
    ReverseQuery,
    RoutineReference,
    Set,
    SetExtract,
    SetPiece,
    StartJob,
    Status,
    Unlock,
    UnlockAll,
    UnlockClient,
    bunch,
    message,
)

_NAMES = (b"X", b"Y", b"%PFJOB", b"%PFLOCK", b"1", b"")
_SUBSCRIPTS = (b"", b"1", b"-1", b"a", b"0.5", b"\0\xff", b"state", b"message", b"x" * 255)

#: The kinds of sessions: the version, and whether messages are bunches.
KINDS = ((2, True), (1, False), (1, True))


def is_whole(data: bytes) -> bool:
    """Whether this is exactly one message by its length: it has to be answered, or to end its circuit."""
    return len(data) >= 4 and 4 + int.from_bytes(data[:4], "little") == len(data)


class Fuzzer:
    """Makes messages; the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def message(self, *, bunched: bool = True) -> bytes:
        """The next one, with its length; seldom a valid one."""
        parts = [self._part() for _ in range(self._random.choice((0, 1, 1, 1, 2, 5)))] if bunched else [self._part()]
        data = bunch(parts) if bunched else message(parts[0])
        chance = self._random.random()
        if chance < 0.2:
            # Its inside alone, so that the lengths around it fit.
            return message(self._changed(data[4:]))
        return self._changed(data) if chance < 0.3 else data

    def _part(self) -> bytes:
        request = self._request()
        header = RequestHeader(request.operation, sequence=self._random.getrandbits(16), request_id=7)
        part = header.pack() + request.pack()
        chance = self._random.random()
        if chance < 0.3:
            return part[:12] + self._changed(part[12:])
        return self._changed(part) if chance < 0.5 else part

    def _changed(self, data: bytes) -> bytes:
        changed, pick = bytearray(data), self._random
        for _ in range(pick.choice((1, 1, 2, 4))):
            at = pick.randrange(len(changed) + 1)
            kind = pick.random()
            if kind < 0.4 and at < len(changed):
                changed[at] = pick.choice((0, 1, 255, changed[at] ^ 1 << pick.randrange(8), pick.getrandbits(8)))
            elif kind < 0.6:
                del changed[at : at + pick.choice((1, 2, 9))]
            elif kind < 0.8:
                changed[at:at] = pick.randbytes(pick.choice((1, 2, 9)))
            elif kind < 0.9:
                del changed[at:]
            else:
                changed[at:at] = changed[: pick.randrange(len(changed) + 1)]
        return bytes(changed)

    def _reference(self) -> Reference:
        pick = self._random
        path = [pick.choice(_SUBSCRIPTS) for _ in range(pick.choice((0, 1, 1, 2, 3)))]
        return Reference(pick.choice((b"", b"e")), pick.choice(_NAMES), tuple(path))

    def _request(self) -> Request:
        pick, reference, client = self._random, self._reference(), self._random.choice((b"", b"1", b"2"))
        small = pick.choice((0, 1, 2, 65_535))
        return pick.choice(
            (
                Set(reference, pick.randbytes(pick.choice((0, 1, 40)))),
                SetPiece(reference, b"v", small, pick.choice((1, 2, 65_535)), pick.choice((b"", b"^", b"ab"))),
                SetExtract(reference, b"v", small, pick.choice((1, 2, 65_535))),
                Kill(reference),
                Increment(reference, pick.choice((b"1", b"1E46", b"9" * 40, b"-.5", b"x"))),
                *[one(reference) for one in (Get, Define, Order, Next, Query, ReverseOrder, ReverseQuery)],
                Lock(reference, client),
                Unlock(reference, client),
                UnlockClient(client),
                UnlockAll(),
                Status(),
                Disconnect(),
                StartJob(client=client, routine=RoutineReference(b"", b"SUBMIT", (b"p",)), timeout=b"1"),
                JobStatus(small),
                CancelJob(small),
            )
        )
