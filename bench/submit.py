"""Durable submission, and empty jobs from submission to stored outcome, against Celery and Procrastinate.

``python bench/submit.py [--jobs 5000] [--clients 50] [--repeat 3]``

Ours is one connection a job over the Pageflex socket API, monitor off. Each round measures all three.
"""

from __future__ import annotations

import argparse
import select
import socket
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from bench import peers  # noqa: E402
from tests.support.process import ServerProcess  # noqa: E402
from tests.support.servers import postgresql  # noqa: E402

PACKET = b"""<?xml version="1.0"?><?pf_command version="1.0"?>
<pfjob:job_command xmlns:pfjob="http://www.pageflex.com/schemas" name="SubmitJob"><pfjob:job_variables>
<pfjob:var name="ProjectName">noop</pfjob:var><pfjob:var name="JobName">Job 1</pfjob:var>
<pfjob:var name="_sys_QueueName">%s</pfjob:var></pfjob:job_variables></pfjob:job_command>"""
WAITING = (
    b'<j:job_command xmlns:j="http://www.pageflex.com/schemas" name="GetJobQueueLen"><j:job_variables>'
    b'<j:var name="_sys_QueueName">default</j:var></j:job_variables></j:job_command>'
)
STATUS = (
    b'<j:job_command xmlns:j="http://www.pageflex.com/schemas" name="GetJobStatus"><j:job_variables>'
    b'<j:var name="_sys_TransactionID">%s</j:var></j:job_variables></j:job_command>'
)

#: A queue that nothing runs from, for the measurement of submission alone.
CONFIG = "[queues]\ndefault = 8\nheld = 0\n"


class Ours:
    """pfserver, from the outside."""

    name = "pfserver"

    def __init__(self, server: ServerProcess, clients: int) -> None:
        self._server, self._clients = server, clients

    def submit(self, count: int, queue: bytes = b"held") -> float:
        """Seconds to submit.

        One thread sees to all clients: fifty would spend more time on each other than the server does on a job.
        """
        packet = PACKET % queue
        replies: list[bytes] = []
        waiting: dict[int, tuple[socket.socket, bytes]] = {}
        poll = select.epoll()

        def begin_one() -> None:
            client = socket.socket()
            client.connect(self._server.pageflex)
            client.sendall(packet)
            waiting[client.fileno()] = client, b""
            poll.register(client, select.EPOLLIN)

        begin, left = time.perf_counter(), count
        while len(replies) < count:
            while left and len(waiting) < self._clients:
                begin_one()
                left -= 1
            for descriptor, _ in poll.poll():
                client, reply = waiting[descriptor]
                if more := client.recv(4096):
                    waiting[descriptor] = client, reply + more
                    continue
                del waiting[descriptor]
                client.close()
                replies.append(reply)
        seconds = time.perf_counter() - begin
        poll.close()
        if any(not reply.startswith(b"R0000000: T") for reply in replies):
            raise SystemExit(f"{count} jobs were submitted, not all were taken: {replies[-1:]}")
        self._ids = replies
        return seconds

    def purge(self) -> None:
        """What is held does no harm."""

    def all_done(self, count: int) -> float:
        """Seconds from the first submission until each job's outcome is stored."""
        begin = time.perf_counter()
        self.submit(count, b"default")
        while not self._server.talk(WAITING).startswith(b"R0000000: 0 "):
            time.sleep(0.01)
        for reply in self._ids[-16:]:
            while b"SUCCESS" not in self._server.talk(STATUS % reply[10:-2]):
                time.sleep(0.005)
        return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=5000)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--repeat", type=int, default=3)
    given = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pfserver-bench-")))
        server = stack.enter_context(ServerProcess(folder / "pfserver", config=CONFIG))
        procrastinate = peers.Procrastinate(stack.enter_context(postgresql(folder / "postgresql")), given.clients)
        stack.callback(procrastinate.close)
        celery = peers.Celery(stack.enter_context(peers.redis(folder / "redis")), given.clients)
        contestants: list[Any] = [Ours(server, given.clients), celery, procrastinate]
        print(f"{given.jobs} jobs, {given.clients} clients at once, rounds: {given.repeat}")
        for title, what in (("durable submit", "submit"), ("submit to stored outcome", "all_done")):
            rates: dict[str, list[float]] = {one.name: [] for one in contestants}
            for one in contestants:
                getattr(one, what)(given.jobs // 10)
            for _ in range(given.repeat):
                for one in contestants:
                    rates[one.name].append(given.jobs / getattr(one, what)(given.jobs))
                    one.purge()
            for name, each in rates.items():
                ratio = statistics.median(ours / peer for ours, peer in zip(rates["pfserver"], each, strict=True))
                print(f"{title:>25}  {name:<27}{statistics.median(each):7.0f}/s   pfserver is {ratio:.1f}x")


if __name__ == "__main__":
    main()
