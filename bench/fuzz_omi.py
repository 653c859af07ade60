"""Sends messages that are nearly right to a real server, a million by default, and says whether it still answers.

Usage: .venv/bin/python bench/fuzz_omi.py [COUNT] [SEED]
"""

from __future__ import annotations

import random
import socket
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from pfserver.client.omi_blocking import BlockingOMIClient
from pfserver.wire.omi import Connect, FrameReader, RequestHeader, message
from tests.support.process import ServerProcess
from tests.wire.omi.fuzz import Fuzzer

#: Messages of one circuit, at most; many end it earlier.
CIRCUIT = 200
#: Messages between looks at whether the server still answers others.
LOOK = 20_000


def send_some(address: tuple[str, int], fuzzer: Fuzzer, count: int) -> int:
    """Open a session and send messages until the server closes it; gives how many were sent."""
    sent = 0
    with socket.create_connection(address, 30) as circuit:
        circuit.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        circuit.sendall(message(RequestHeader(1).pack() + Connect(major=2).pack()))
        try:
            while sent < count:
                # Some at once, then what they are answered: neither side waits for a message that is not complete.
                batch = [fuzzer.message() for _ in range(min(20, count - sent))]
                circuit.sendall(b"".join(batch))
                sent += len(batch)
                circuit.settimeout(0.0005)
                frames = FrameReader(1 << 32)
                try:
                    while data := circuit.recv(1 << 20):
                        frames.feed(data)
                    break
                except TimeoutError:
                    circuit.settimeout(30)
        except ConnectionError:
            pass
    return sent


def main(count: int, seed: int) -> None:
    """Send so many."""
    print(f"seed {seed}, {count} messages", flush=True)
    fuzzer = Fuzzer(seed)
    with tempfile.TemporaryDirectory() as folder:
        config = 'globals_durability = "interval"\n'
        with ServerProcess(Path(folder), frontends=("omi",), config=config) as server:
            address = server.addresses["omi"]
            began, sent, looked = time.monotonic(), 0, 0
            while sent < count:
                sent += send_some(address, fuzzer, min(CIRCUIT, count - sent))
                if sent - looked >= LOOK:
                    looked = sent
                    with BlockingOMIClient(*address) as client:
                        client.set(sent, "FUZZED")
                        assert client.get("FUZZED") == b"%d" % sent
                    print(f"{sent} sent, the server answers", flush=True)
            code = server.terminate()
            faults = [line for line in server.log if " critical " in line or "Traceback" in line]
            print(f"{sent} messages in {time.monotonic() - began:.0f} s, exit code {code}, {len(faults)} faults")
            print("".join(faults[:20]))
            if faults or code:
                sys.exit(1)


if __name__ == "__main__":
    main(
        int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000,
        int(sys.argv[2]) if len(sys.argv) > 2 else random.SystemRandom().getrandbits(32),
    )
