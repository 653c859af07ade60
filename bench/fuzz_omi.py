"""Sends messages that are nearly right to a real server, a million by default, and says whether it still answers.

Usage: .venv/bin/python bench/fuzz_omi.py [COUNT] [SEED]
"""

from __future__ import annotations

import random
import socket
import sys
import tempfile
import time
from itertools import cycle
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from pfserver.client.omi_blocking import BlockingOMIClient
from pfserver.wire.omi import Connect, FrameReader, RequestHeader, message
from tests.support.process import ServerProcess
from tests.wire.omi.fuzz import KINDS, Fuzzer, is_whole

#: Messages of one circuit, at most; many end it earlier.
CIRCUIT = 200
#: Messages between looks at whether the server still answers others.
LOOK = 20_000
#: Seconds within which a message is answered.
PATIENCE = 30


def send_some(address: tuple[str, int], fuzzer: Fuzzer, count: int, kind: tuple[int, bool]) -> tuple[int, int]:
    """Send messages in a session, each when the one before was answered, until the server closes it.

    Gives how many were sent, and how many of them were no whole messages. Raises ``TimeoutError`` where one that is
    whole is neither answered nor ends the circuit.
    """
    major, is_bunched = kind
    sent = 0
    with socket.create_connection(address, PATIENCE) as circuit:
        circuit.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        frames = FrameReader(1 << 32)
        connect = Connect(major=major, extensions=(1,) if is_bunched and major == 1 else ())
        data = message(RequestHeader(1).pack() + connect.pack())
        try:
            while True:
                circuit.sendall(data)
                answered: list[bytes] = []
                while not answered:
                    received = circuit.recv(1 << 20)
                    if not received:
                        return sent, 0
                    answered = frames.feed(received)
                if sent == count:
                    return sent, 0
                data = fuzzer.message(bunched=is_bunched)
                sent += 1
                if not is_whole(data):
                    # The server waits for the rest, or has seen that it is none: this circuit is of no more use.
                    circuit.sendall(data)
                    return sent, 1
        except ConnectionError:
            return sent, 0


def main(count: int, seed: int) -> None:
    """Send so many."""
    print(f"seed {seed}, {count} messages", flush=True)
    fuzzer = Fuzzer(seed)
    with tempfile.TemporaryDirectory() as folder:
        config = 'globals_durability = "interval"\n'
        with ServerProcess(Path(folder), frontends=("omi",), config=config) as server:
            address = server.addresses["omi"]
            began, sent, looked, broken = time.monotonic(), 0, 0, 0
            for kind in cycle(KINDS):
                if sent >= count:
                    break
                more, parts = send_some(address, fuzzer, min(CIRCUIT, count - sent), kind)
                sent, broken = sent + more, broken + parts
                if sent - looked >= LOOK:
                    looked = sent
                    with BlockingOMIClient(*address) as client:
                        client.set(sent, "FUZZED")
                        assert client.get("FUZZED") == b"%d" % sent
                    print(f"{sent} sent, the server answers", flush=True)
            code = server.terminate()
            faults = [line for line in server.log if " critical " in line or "Traceback" in line]
            print(f"{sent} messages, {broken} of them broken off, in {time.monotonic() - began:.0f} s")
            print(f"each whole one was answered or ended its circuit; exit code {code}, {len(faults)} faults")
            print("".join(faults[:20]))
            if faults or code:
                sys.exit(1)


if __name__ == "__main__":
    main(
        int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000,
        int(sys.argv[2]) if len(sys.argv) > 2 else random.SystemRandom().getrandbits(32),
    )
