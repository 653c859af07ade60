"""Damaged XML-RPC messages by the ten thousand: each gives a value or a fault, and nothing is held."""

from __future__ import annotations

import os
import random
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pfserver.wire.xmlrpc import Fault, Limits, Reader, encode_call, encode_fault, encode_response

VECTORS = Path(__file__).parent.parent / "vectors" / "officeshots"
DOCUMENTS = frozenset({("jobs.finish", 3), ("", 0, "document"), ("pfserver.submit", 0, "document")})

#: More of them for a longer look: ``FUZZ=1000000``.
MESSAGES = int(os.environ.get("FUZZ", "20000"))

LIMITS = Limits(document=4096, outside=2048)

#: What damage is made of, besides random bytes.
PIECES = (
    b"<", b">", b"&", b"&amp;", b"&#0;", b"&#x110000;", b"]]>", b"<!DOCTYPE a>", b"<!--", b"<![CDATA[", b"<?xml?>",
    b"\x00", b"\xff\xfe", b"<value>", b"</value>", b"<struct>", b"<member>", b"<name>document</name>", b"<nil/>",
    b"<array><data>", b"<int>99999999999999999999</int>", b"<double>1e999</double>", b"<boolean>2</boolean>", b"QUJD",
    b"<base64>=</base64>", b"<a xmlns='x'>", b"<string", b"=" * 10, b"A" * 3000, b" " * 3000, b"<value>" * 40,
    b"encoding='utf-16'",
)  # fmt: skip


class Sink:
    """Knows how much it was given."""

    def __init__(self) -> None:
        self.size = 0

    def write(self, data: bytes) -> None:
        self.size += len(data)


class FuzzTests(SynchronousTestCase):
    def test_mutations(self) -> None:
        seed = random.SystemRandom().getrandbits(32)
        rng = random.Random(seed)
        messages = [path.read_bytes() for path in sorted(VECTORS.iterdir())]
        messages += [
            bytes(encode_response({"job": "x", "pageStart": 1, "list": [1, 2.5, True, None, b"x", {"a": {}}]})),
            bytes(encode_call("pfserver.submit", {"filename": "a.odt", "document": "QUJDRA==", "applications": []})),
            bytes(encode_fault(4, "the lock was lost")),
        ]
        taken = 0
        for number in range(MESSAGES):
            data = mutated(rng, rng.choice(messages))
            sinks: list[Sink] = []

            def sink(made: list[Sink] = sinks) -> Sink:
                made.append(Sink())
                return made[-1]

            reader = Reader(DOCUMENTS, sink, LIMITS)
            step = rng.choice((1, 7, 100, 10_000))
            try:
                for start in range(0, len(data), step):
                    reader.feed(data[start : start + step])
                reader.close()
                taken += 1
            except Fault as fault:
                self.assertLess(len(fault.text), 400)
            except Exception as error:
                raise AssertionError(f"seed {seed}, message {number}: {data!r}") from error
            for one in sinks:
                self.assertLessEqual(one.size, LIMITS.document, f"seed {seed}, message {number}: {data!r}")
        # Some damage is harmless: had all been refused, or none, this would have tested nothing.
        self.assertTrue(MESSAGES * 0.01 < taken < MESSAGES * 0.9, f"seed {seed}: {taken} of {MESSAGES}")


def mutated(rng: random.Random, message: bytes) -> bytes:
    """A message with one to four damages."""
    data = bytearray(message)
    for _ in range(rng.randint(1, 4)):
        start = rng.randint(0, len(data))
        end = min(len(data), start + rng.randint(0, 30))
        match rng.randint(0, 4):
            case 0:
                del data[start:end]
            case 1:
                data[start:start] = rng.choice(PIECES)
            case 2:
                data[start:end] = rng.randbytes(rng.randint(0, 4))
            case 3:
                other = rng.randint(0, len(data))
                data[other:other] = data[start:end]
            case _:
                if start < len(data):
                    data[start] ^= 1 << rng.randint(0, 7)
    return bytes(data)
