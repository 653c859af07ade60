"""From the start of the process until it listens: with an empty state folder and with many stored jobs.

``python bench/start.py [--jobs 100000] [--repeat 5]``
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from twisted.internet import reactor  # noqa: E402
from twisted.internet.defer import Deferred  # noqa: E402

from pfserver.model import JobRequest, Outcome  # noqa: E402
from pfserver.store.database import Database  # noqa: E402
from pfserver.store.jobs import JobStore  # noqa: E402
from tests.support.process import ServerProcess  # noqa: E402

#: The target: so many times the empty start.
LIMIT = 1.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--repeat", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pfserver-bench-") as temporary:
        folders = {"empty": Path(temporary, "empty"), "full": Path(temporary, "full")}
        times: dict[str, list[float]] = {name: [] for name in folders}
        for folder in folders.values():
            start(folder)
        fill(folders["full"] / "state", given.jobs)
        for _ in range(given.repeat):
            for name, folder in folders.items():
                times[name].append(start(folder))
    ratio = statistics.median(full / empty for full, empty in zip(times["full"], times["empty"], strict=True))
    empty, full = (statistics.median(times[name]) for name in ("empty", "full"))
    print(f"empty: {empty:.2f} s, with {given.jobs} jobs: {full:.2f} s, {ratio:.2f}x (limit {LIMIT}x)")


def start(folder: Path) -> float:
    """Seconds until it listens."""
    begin = time.perf_counter()
    with ServerProcess(folder):
        return time.perf_counter() - begin


def fill(state: Path, count: int) -> None:
    """Store done jobs, each with its messages."""
    database = Database(f"sqlite:///{state / 'jobs.sqlite'}", reactor)

    async def work() -> None:
        store = JobStore(database, reactor)
        for begin in range(0, count, 1000):
            requests = [JobRequest(project="noop", backend="noop")] * min(1000, count - begin)
            await store.add(requests, messages=[(114, "a note")])
            jobs = await store.claim("default", ["noop"], 1000, node="bench", messages=[(100, "Machine name: bench")])
            for job in jobs:
                last = store.finish(job.id, Outcome.COMPLETED, node="bench", messages=[(20, "Job completed")])
            await last

    def begin() -> None:
        database.open()
        Deferred.fromCoroutine(work()).addErrback(print).addBoth(lambda _: reactor.stop())

    reactor.callWhenRunning(begin)
    reactor.run()
    database.close()


if __name__ == "__main__":
    main()
