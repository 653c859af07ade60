"""OMI: rates of gets, sets and orders, the same client against fis-gtm's ``gtcm_server`` and against pfserver.

``python bench/omi.py [--nodes 1000000] [--seconds 3] [--repeat 3]``

Each round measures both servers for each line, one after the other, so a busy machine hurts both alike; a line has the
medians, and the median of the rounds' ratios. The client makes all messages before the clock runs and only looks at the
lengths of what comes back; what a server answers was checked before. Lines that say lazy have pfserver commit once a
second, as gtcm_server does; all others are answered when they are on disk.
"""

from __future__ import annotations

import argparse
import os
import random
import selectors
import signal
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from attrs import frozen  # noqa: E402

from pfserver.wire.omi import (  # noqa: E402
    Connect,
    Get,
    Order,
    Reference,
    Request,
    RequestHeader,
    Set,
    bunch,
    message,
    split_bunch,
    split_response,
)
from tests.peers.gtcm import GtcmServer  # noqa: E402
from tests.support.process import ServerProcess  # noqa: E402

BUNCH = 50
VALUE = b"a value of thirty-two bytes, ASCII"
#: Messages that are made before a measurement; then they come again.
PREPARED = 20_000


@frozen
class Server:
    """Where a server listens, and the environment of its globals."""

    name: str
    port: int
    environment: bytes

    def reference(self, *subscripts: int | bytes, name: bytes = b"X") -> Reference:
        """A node."""
        path = tuple(one if isinstance(one, bytes) else b"%d" % one for one in subscripts)
        return Reference(self.environment, name, path)


class Session:
    """A circuit, OMI 1.0, with or without bunches."""

    def __init__(self, server: Server, bunched: bool) -> None:
        self.bunched = bunched
        self.socket = socket.create_connection(("127.0.0.1", server.port), 60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connect = Connect(major=1, extensions=(1,) if bunched else (), agent=b"bench", password=b"bench")
        answer = self.talk(message(packed(connect)))
        if answer[4:7] != b"\x0b\0\0":
            raise SystemExit(f"no session: {answer!r}")

    def messages(self, requests: Sequence[Request]) -> list[bytes]:
        """Requests as messages of this session."""
        parts = [packed(request) for request in requests]
        if not self.bunched:
            return [message(part) for part in parts]
        return [bunch(parts[start : start + BUNCH]) for start in range(0, len(parts), BUNCH)]

    def talk(self, data: bytes) -> bytes:
        """Send a message and give the whole answer, with its length."""
        self.socket.sendall(data)
        return self.receive()

    def receive(self) -> bytes:
        """The next answer."""
        received = self.socket.recv(70_000)
        while len(received) < 4 or len(received) < 4 + int.from_bytes(received[:4], "little"):
            more = self.socket.recv(70_000)
            if not more:
                raise SystemExit("the server has closed the circuit")
            received += more
        return received

    def check(self, data: bytes) -> None:
        """Send a message once and look at every answer in it."""
        content = self.talk(data)[4:]
        for part in split_bunch(content) if self.bunched else [content]:
            header, _ = split_response(part)
            if header.error_type:
                raise SystemExit(f"the server refuses: class {header.error_class}, type {header.error_type}")


def packed(request: Request) -> bytes:
    """A request with its header."""
    return RequestHeader(request.operation, sequence=1, request_id=7).pack() + request.pack()


def alone(server: Server, requests: Sequence[Request], bunched: bool, seconds: float) -> float:
    """Requests a second of one session."""
    session = Session(server, bunched)
    messages = session.messages(requests)
    session.check(messages[0])
    count, begin = 0, time.perf_counter()
    end = begin + seconds
    for data in cycle(messages):
        session.talk(data)
        count += 1
        # The clock costs little, but not nothing.
        if not count % 16 and time.perf_counter() > end:
            break
    rate = count * (BUNCH if bunched else 1) / (time.perf_counter() - begin)
    session.socket.close()
    return rate


def together(server: Server, requests: Sequence[Request], bunched: bool, sessions: int, seconds: float) -> float:
    """Requests a second of many sessions, each with one message outstanding."""
    opened = [Session(server, bunched) for _ in range(sessions)]
    messages = opened[0].messages(requests)
    opened[0].check(messages[0])
    selector = selectors.EpollSelector()
    step = max(1, len(messages) // sessions)
    for number, session in enumerate(opened):
        start = number * step % len(messages)
        selector.register(session.socket, selectors.EVENT_READ, (session, cycle(messages[start:] + messages[:start])))
    for key in list(selector.get_map().values()):
        key.data[0].socket.sendall(next(key.data[1]))
    count, begin = 0, time.perf_counter()
    end = begin + seconds
    while time.perf_counter() < end:
        for key, _ in selector.select(5):
            session, source = key.data
            session.receive()
            session.socket.sendall(next(source))
            count += 1
    rate = count * (BUNCH if bunched else 1) / (time.perf_counter() - begin)
    for session in opened:
        session.receive()
        session.socket.close()
    return rate


def fill(server: Server, nodes: int) -> None:
    """``^X(1)`` to ``^X(nodes)``."""
    session = Session(server, bunched=True)
    requests: Iterator[Request] = (Set(server.reference(number), VALUE) for number in range(1, nodes + 1))
    while part := list(islice(requests, 500)):
        for data in session.messages(part):
            session.check(data)
    session.socket.close()


def walk(server: Server, nodes: int, limit: float) -> float:
    """Orders a second over all nodes, each asked with what the one before answered; at most so many seconds."""
    session = Session(server, bunched=False)
    reference = server.reference(name=b"X").pack()
    head = RequestHeader(Order.operation, sequence=1, request_id=7).pack()
    subscript, count, begin = b"", 0, time.perf_counter()
    while count <= nodes:
        body = reference + len(subscript).to_bytes(1, "little") + subscript
        content = head + len(body).to_bytes(2, "little") + body
        answer = session.talk(len(content).to_bytes(4, "little") + content)
        subscript = answer[17:]
        if not subscript or (not count % 64 and time.perf_counter() - begin > limit):
            break
        count += 1
    rate = count / (time.perf_counter() - begin)
    session.socket.close()
    return rate


Run = Callable[[Server], float]


@frozen
class Line:
    """One line of the table. ``lazy`` names the server of ours; ``target`` is the ratio to reach, or the rate."""

    text: str
    target: str
    lazy: bool
    run: Run


def lines(nodes: int, seconds: float) -> list[Line]:
    """What is measured."""
    chance = random.Random(4)

    def gets(server: Server) -> list[Request]:
        return [Get(server.reference(chance.randint(1, nodes))) for _ in range(PREPARED)]

    def sets(server: Server) -> list[Request]:
        return [Set(server.reference(chance.randint(1, nodes), b"s"), VALUE) for _ in range(PREPARED)]

    def mixed(server: Server) -> list[Request]:
        both = gets(server)[: PREPARED * 3 // 4] + sets(server)[: PREPARED // 5]
        both += [Order(server.reference(chance.randint(1, nodes))) for _ in range(PREPARED // 20)]
        chance.shuffle(both)
        return both

    return [
        Line("get, one a message", ">= 0.8x", True, lambda s: alone(s, gets(s), False, seconds)),
        Line(f"get, {BUNCH} a message", ">= 0.6x", True, lambda s: alone(s, gets(s), True, seconds)),
        Line("set, one a message, lazy", ">= 0.6x", True, lambda s: alone(s, sets(s), False, seconds)),
        Line(f"set, {BUNCH} a message, lazy", ">= 0.6x", True, lambda s: alone(s, sets(s), True, seconds)),
        Line(
            f"set, {BUNCH} a message, 20 sessions, on disk", ">= 50,000/s", False,
            lambda s: together(s, sets(s), True, 20, seconds),
        ),
        Line(
            f"set, {BUNCH} a message, 20 sessions, lazy", "(for the ratio)", True,
            lambda s: together(s, sets(s), True, 20, seconds),
        ),
        Line(
            "75 % get, 20 % set, 5 % order, 100 sessions", ">= 1x", True,
            lambda s: together(s, mixed(s), False, 100, seconds),
        ),
        Line(f"order over {nodes:,} nodes", ">= 0.5x", True, lambda s: walk(s, nodes, 20 * seconds)),
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--repeat", type=int, default=3)
    given = parser.parse_args()
    # The servers that it started are stopped in any case.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    with tempfile.TemporaryDirectory(prefix="omi") as scratch:
        peer = GtcmServer(Path(scratch) / "m")
        options: dict[str, Any] = {"frontends": ("omi",), "plugins": False}
        lazy = ServerProcess(Path(scratch) / "lazy", config='globals_durability = "interval"\n', **options)
        safe = ServerProcess(Path(scratch) / "safe", **options)
        try:
            theirs = Server("gtcm_server", peer.port, peer.environment)
            ours = {
                True: Server("pfserver", lazy.wait().addresses["omi"][1], b""),
                False: Server("pfserver", safe.wait().addresses["omi"][1], b""),
            }
            for server in (theirs, *ours.values()):
                fill(server, given.nodes)
            measure(theirs, ours, lines(given.nodes, given.seconds), given.repeat, Path(scratch))
        finally:
            lazy.close()
            safe.close()
            peer.stop()


def measure(theirs: Server, ours: dict[bool, Server], table: Sequence[Line], repeat: int, scratch: Path) -> None:
    """Print the table, a line as soon as it is measured."""
    print(f"{'requests a second':46}{'gtcm_server':>12}{'pfserver':>12}{'ratio':>8}  target")
    medians = {}
    for line in table:
        rounds = [(line.run(theirs), line.run(ours[line.lazy])) for _ in range(repeat)]
        their, our = (statistics.median(rates) for rates in zip(*rounds, strict=True))
        medians[line.text] = our
        ratio = statistics.median(mine / other for other, mine in rounds)
        print(f"{line.text:46}{their:12,.0f}{our:12,.0f}{ratio:8.2f}  {line.target}", flush=True)
    disk, lazy = (rate for text, rate in medians.items() if "20 sessions" in text)
    limit = statistics.median(scattered_pages(scratch) for _ in range(repeat))
    print(f"on disk against lazy, 20 sessions: {disk / lazy:.2f}")
    print(f"on disk against as many scattered pages of 4 KiB on this disk ({limit:,.0f}/s): {disk / limit:.2f}")


def scattered_pages(folder: Path, pages: int = 32_768, group: int = 1000, groups: int = 30) -> float:
    """Pages of 4 KiB a second, all over a file of 128 MiB, with a flush after each thousand.

    What sets on disk cannot exceed in a file of pages: those of many nodes are in different pages, each of which is
    written anew.
    """
    with (folder / "pages").open("w+b", buffering=0) as file:
        page, chance = random.randbytes(4096), random.Random(5)
        for _ in range(pages):
            file.write(page)
        os.fsync(file)
        begin = time.perf_counter()
        for _ in range(groups):
            for number in chance.sample(range(pages), group):
                os.pwrite(file.fileno(), page, number * 4096)
            os.fdatasync(file)
        return group * groups / (time.perf_counter() - begin)


if __name__ == "__main__":
    main()
