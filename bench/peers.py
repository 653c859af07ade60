"""The job queues that pfserver is measured against: Celery on Redis, Procrastinate on PostgreSQL.

Both servers are started for the measurement in a temporary folder, on loopback, and stopped after it. Both are durable:
Redis flushes its log for each command (appendfsync always), PostgreSQL does so by default.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from tests.support.servers import free_port, running, wait_for

HERE = Path(__file__).parent


@contextmanager
def redis(folder: Path) -> Iterator[str]:
    """A Redis server whose every command is on disk; gives its URL."""
    folder.mkdir()
    port = free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
    with running("redis-server", *options, "--appendonly", "yes", "--appendfsync", "always"):
        wait_for(port)
        yield f"redis://127.0.0.1:{port}/0"


class Celery:
    """``delay`` from so many threads; two worker processes; results kept."""

    name = "Celery + Redis"

    def __init__(self, url: str, clients: int) -> None:
        os.environ["BENCH_REDIS"] = url
        from bench.peer_celery import app, nothing

        self._app, self._task, self._clients = app, nothing, clients

    def submit(self, count: int) -> float:
        """Seconds to submit."""
        with ThreadPoolExecutor(self._clients) as pool:
            begin = time.perf_counter()
            self._results = list(pool.map(lambda _: self._task.delay(), range(count)))
            return time.perf_counter() - begin

    def purge(self) -> None:
        """Forget what waits."""
        self._results = []
        self._app.control.purge()

    def all_done(self, count: int) -> float:
        """Seconds from the first submission until each job's outcome is stored."""
        command = [sys.executable, "-m", "celery", "-A", "bench.peer_celery", "worker", "-c", "2", "-l", "error"]
        with running(*command, "--without-gossip", "--without-mingle", cwd=HERE.parent):
            self._task.delay().get(timeout=60)
            begin = time.perf_counter()
            self.submit(count)
            for result in self._results:
                result.get(timeout=600)
            return time.perf_counter() - begin


class Procrastinate:
    """``defer_async`` from so many tasks on as many connections; one worker process that takes several at once."""

    name = "Procrastinate + PostgreSQL"

    def __init__(self, url: str, clients: int) -> None:
        os.environ["BENCH_POSTGRESQL"] = url
        os.environ["BENCH_CLIENTS"] = str(clients)
        self._url, self._clients = url, clients
        import psycopg

        self._connection = psycopg.connect(url, autocommit=True)
        command = [sys.executable, "-m", "procrastinate", "-a", "bench.peer_procrastinate.app", "schema", "--apply"]
        subprocess.run(command, check=True, cwd=HERE.parent, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def submit(self, count: int) -> float:
        """Seconds to submit."""
        return asyncio.run(self._submit(count))

    async def _submit(self, count: int) -> float:
        from bench.peer_procrastinate import app, nothing

        async def client(jobs: Iterator[int]) -> None:
            for _ in jobs:
                await nothing.defer_async()

        async with app.open_async():
            await asyncio.gather(*[nothing.defer_async() for _ in range(self._clients)])
            jobs = iter(range(count))
            begin = time.perf_counter()
            await asyncio.gather(*[client(jobs) for _ in range(self._clients)])
            return time.perf_counter() - begin

    def purge(self) -> None:
        """Forget what waits."""
        self._connection.execute("DELETE FROM procrastinate_jobs")

    def all_done(self, count: int) -> float:
        """Seconds from the first submission until each job's outcome is stored."""
        command = [sys.executable, "-m", "procrastinate", "-a", "bench.peer_procrastinate.app", "worker"]
        with running(*command, "--concurrency", "8", cwd=HERE.parent):
            self.submit(1)
            self._wait_until_done()
            begin = time.perf_counter()
            self.submit(count)
            self._wait_until_done()
            return time.perf_counter() - begin

    def _wait_until_done(self) -> None:
        unfinished = "SELECT 1 FROM procrastinate_jobs WHERE status IN ('todo', 'doing') LIMIT 1"
        while self._connection.execute(unfinished).fetchone():
            time.sleep(0.01)

    def close(self) -> None:
        """Close the connection that looks on."""
        self._connection.close()
