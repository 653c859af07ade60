"""Idle monitors on one server: how many are held, what each costs, and how quickly a submission is answered meanwhile.

``python bench/monitors.py [--monitors 5000] [--submits 200]``
"""

from __future__ import annotations

import argparse
import socket
import statistics
import sys
import tempfile
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.frontends.pageflex.support import packet  # noqa: E402
from tests.support.process import ServerProcess  # noqa: E402

#: The targets: KiB for each monitor, milliseconds at the median for a submission.
LIMIT_KIB, LIMIT_MS = 25.0, 50.0

MONITOR = packet("SubmitJob", ProjectName="noop", JobName="x", _sys_QueueName="held", _sys_ClientJobMonitor="true")
SUBMIT = packet("SubmitJob", ProjectName="noop", JobName="x")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--monitors", type=int, default=5000)
    parser.add_argument("--submits", type=int, default=200)
    given = parser.parse_args()
    config = f"[queues]\nheld = 0\n[frontends.pageflex]\nconnections = {given.monitors + 100}\n"
    with (
        tempfile.TemporaryDirectory(prefix="pfserver-bench-") as folder,
        ServerProcess(Path(folder), config=config) as server,
    ):
        process = psutil.Process(server.process.pid)
        for _ in range(200):
            server.talk(SUBMIT)
        before = process.memory_full_info().uss
        monitors = []
        try:
            for _ in range(given.monitors):
                client = socket.create_connection(server.pageflex, 60)
                client.sendall(MONITOR)
                monitors.append(client)
            for client in monitors:
                if not client.recv(11).startswith(b"R0000000: T"):
                    raise SystemExit("a monitor was refused")
            each = (process.memory_full_info().uss - before) / 1024 / len(monitors)
            times = []
            for _ in range(given.submits):
                begin = time.perf_counter()
                server.talk(SUBMIT)
                times.append((time.perf_counter() - begin) * 1000)
        finally:
            for client in monitors:
                client.close()
        median = statistics.median(times)
        print(f"{len(monitors)} idle monitors held: {each:.1f} KiB each, {each / LIMIT_KIB:.2f} of the limit")
        print(f"a submission meanwhile: {median:.2f} ms at the median, {median / LIMIT_MS:.2f} of the limit")


if __name__ == "__main__":
    main()
