"""Workers: what they give, what they raise, and that a process that dies takes only its own work with it."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from pathlib import Path
from unittest import SkipTest

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from pfserver.backends.executors import ProcessWorkers, build_workers
from pfserver.errors import ConfigurationError, WorkerLost
from tests.frontends.pageflex.support import packet
from tests.support.process import ROOT, ServerProcess


def double(number: int) -> int:
    return 2 * number


def fail() -> None:
    raise ValueError("no")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class ProcessTests(TestCase):
    timeout = 120

    def setUp(self) -> None:
        self.workers = ProcessWorkers(2, reactor)
        self.addCleanup(self.workers.stop)

    async def test_results_and_errors(self) -> None:
        self.assertEqual(await self.workers.run(double, 21), 42)
        with self.assertRaises(ValueError):
            await self.workers.run(fail)
        self.assertEqual(await self.workers.run(double, 1), 2)

    async def test_processes_are_kept(self) -> None:
        self.assertEqual(await self.workers.run(os.getpid), await self.workers.run(os.getpid))

    async def test_a_dead_process_takes_only_its_work(self) -> None:
        dying = Deferred.fromCoroutine(self.workers.run(die))
        others = gatherResults([Deferred.fromCoroutine(self.workers.run(double, n)) for n in range(20)])
        with self.assertRaises(WorkerLost):
            await dying
        self.assertEqual(await others, [2 * n for n in range(20)])

    async def test_a_process_that_dies_while_it_is_idle_is_replaced(self) -> None:
        first = await self.workers.run(os.getpid)
        os.kill(first, signal.SIGKILL)
        [executor] = self.workers._idle
        while not executor._broken:
            await deferLater(reactor, 0.01)
        self.assertNotEqual(await self.workers.run(os.getpid), first)

    async def test_what_takes_too_long_is_ended(self) -> None:
        with self.assertRaises(WorkerLost) as caught:
            await self.workers.run(time.sleep, 1000, timeout=0.1)
        self.assertIn("longer than 0.1 seconds", str(caught.exception))
        self.assertEqual(await self.workers.run(double, 1), 2)

    async def test_restart_ends_what_runs(self) -> None:
        await self.workers.run(double, 1)
        slow = Deferred.fromCoroutine(self.workers.run(time.sleep, 1000))
        await self.workers.restart()
        with self.assertRaises(WorkerLost):
            await slow
        self.assertEqual(await self.workers.run(double, 1), 2)

    async def test_cancelled_work_holds_no_worker(self) -> None:
        for _ in range(4):
            slow = Deferred.fromCoroutine(self.workers.run(time.sleep, 1000))
            slow.cancel()
            slow.addErrback(lambda failure: None)
        self.assertEqual(await self.workers.run(double, 1), 2)


class SpecTests(TestCase):
    async def test_threads(self) -> None:
        workers = build_workers("threads:2", reactor)
        self.assertEqual((workers.size, await workers.run(double, 4)), (2, 8))
        await workers.restart()
        self.assertEqual(await workers.run(double, 4), 8)
        await workers.stop()

    def test_specs(self) -> None:
        self.assertEqual(build_workers("processes:3", reactor).size, 3)
        self.assertEqual(build_workers("processes", reactor).size, os.cpu_count())
        for spec in ("", "magic", "processes:x", "processes:0", "threads:-1", "dask:"):
            with self.assertRaises(ConfigurationError):
                build_workers(spec, reactor)


class DaskTests(TestCase):
    timeout = 240

    def setUp(self) -> None:
        try:
            from distributed import LocalCluster
        except ImportError:
            message = "distributed is needed: pip install 'pfserver[dask]'"
            if os.environ.get("CI"):
                self.fail(message)
            raise SkipTest(message) from None
        how = {
            "n_workers": 2,
            "threads_per_worker": 1,
            "processes": True,
            "dashboard_address": None,
            "host": "127.0.0.1",
        }
        self.cluster = LocalCluster(**how, silence_logs=50)
        self.addCleanup(self.cluster.close)

    async def test_work_on_a_cluster(self) -> None:
        workers = build_workers(f"dask:{self.cluster.scheduler_address}", reactor)
        self.addCleanup(workers.stop)
        several = gatherResults([Deferred.fromCoroutine(workers.run(double, n)) for n in range(10)])
        self.assertEqual(await several, [2 * n for n in range(10)])
        with self.assertRaises(ValueError):
            await workers.run(fail)
        await workers.restart()
        self.assertEqual(await workers.run(double, 4), 8)
        # What has the same arguments is not taken for done.
        self.assertNotEqual(await workers.run(time.monotonic_ns), await workers.run(time.monotonic_ns))
        with self.assertRaises(WorkerLost):
            await workers.run(die)
        self.assertEqual(await workers.run(double, 1), 2)

    def test_a_merge_job(self) -> None:
        folder = Path(tempfile.mkdtemp(prefix="pfserver-dask-"))
        self.addCleanup(shutil.rmtree, folder)
        shutil.copytree(ROOT / "examples" / "projects", folder / "projects")
        config = f'executor = "dask:{self.cluster.scheduler_address}"'
        submission = packet(
            "SubmitJob", ProjectName="Sample Project.pf", JobName="Print run", _sys_ClientJobMonitor="true"
        )
        with ServerProcess(folder, config=config) as server:
            told = server.talk(submission).decode()
        self.assertIn("J0000020: Job completed successfully.", told)

    async def test_a_cluster_that_is_not_there(self) -> None:
        address = self.cluster.scheduler_address
        self.cluster.close()
        workers = build_workers(f"dask:{address}", reactor)
        import dask

        with dask.config.set({"distributed.comm.timeouts.connect": "1s"}), self.assertRaises(WorkerLost):
            await workers.run(double, 1)
