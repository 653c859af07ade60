"""Where CPU-bound work runs: a pool of processes, threads, or a Dask cluster, all behind ``IWorkers``.

Processes are spawned, one executor each, so that a process that dies takes only its own piece of work with it. They are
never forked: typst starts threads of its own, and a fork after that hangs.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures import Future as ConcurrentFuture
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock, DeferredSemaphore
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from zope.interface import implementer

from pfserver.errors import ConfigurationError, WorkerLost
from pfserver.interfaces import IWorkers

#: Address space of a worker process in bytes: a runaway template ends its process, not the machine.
WORKER_MEMORY = 4 << 30


def build_workers(spec: str, reactor: Any) -> IWorkers:
    """The workers of a configuration value: ``processes``, ``processes:N``, ``threads:N`` or ``dask:tcp://HOST:PORT``.

    Raises ``ConfigurationError``.
    """
    kind, _, detail = spec.partition(":")
    if kind == "dask" and detail:
        return ExecutorWorkers(lambda: _dask(detail), _dask_size(), reactor)
    if kind in ("processes", "threads") and (detail.isdecimal() or not detail) and detail != "0":
        size = int(detail) if detail else os.cpu_count() or 1
        if kind == "processes":
            return ProcessWorkers(size, reactor)
        return ExecutorWorkers(lambda: ThreadPoolExecutor(size, "pfserver-worker"), size, reactor)
    raise ConfigurationError(
        f"executor {spec!r} is none of: processes, processes:N, threads, threads:N, dask:tcp://HOST:PORT"
    )


@implementer(IWorkers)
class ProcessWorkers:
    """So many processes, each of its own executor; started when first needed."""

    log = Logger()

    def __init__(self, size: int, reactor: Any) -> None:
        self.size = size
        self._reactor = reactor
        self._free = DeferredSemaphore(size)
        self._idle: list[ProcessPoolExecutor] = []
        self._busy: set[ProcessPoolExecutor] = set()
        self._stopped = False

    async def run(self, function: Callable[..., Any], *arguments: Any, timeout: float | None = None) -> Any:
        """See ``IWorkers``."""
        await self._free.acquire()
        try:
            if self._stopped:
                raise WorkerLost("the server is stopping")
            return await self._run(function, arguments, timeout)
        finally:
            self._free.release()

    async def restart(self) -> None:
        """See ``IWorkers``."""
        ended = [*self._busy, *self._idle]
        # What is in neither list is not given back.
        self._busy.clear()
        self._idle.clear()
        for executor in ended:
            await deferToThread(_kill, executor)

    async def stop(self) -> None:
        """See ``IWorkers``."""
        self._stopped = True
        await self.restart()

    async def _run(self, function: Callable[..., Any], arguments: tuple[Any, ...], timeout: float | None) -> Any:
        executor, future = self._begin(function, arguments)
        late: list[bool] = []
        timer: IDelayedCall | None = None
        if timeout is not None:
            timer = self._reactor.callLater(timeout, self._too_late, executor, late)
        try:
            return await _when_done(future, self._reactor)
        except (BrokenProcessPool, WorkerLost) as error:
            self._busy.discard(executor)
            executor.shutdown(wait=False)
            if late:
                raise WorkerLost(f"the worker took longer than {timeout:g} seconds") from error
            self.log.warn("worker.lost", function=getattr(function, "__qualname__", str(function)))
            raise WorkerLost("the worker process died") from error
        finally:
            if timer is not None and timer.active():
                timer.cancel()
            self._give_back(executor, future)

    def _begin(
        self, function: Callable[..., Any], arguments: tuple[Any, ...]
    ) -> tuple[ProcessPoolExecutor, ConcurrentFuture[Any]]:
        """Have the work begun by an idle process, or by a new one where there is none that lives."""
        while self._idle:
            executor = self._idle.pop()
            try:
                with _interrupts_held_back():
                    future = executor.submit(function, *arguments)
            except RuntimeError:
                # It died while it was idle. BrokenProcessPool is one, too.
                executor.shutdown(wait=False)
            else:
                self._busy.add(executor)
                return executor, future
        executor = _new_process()
        self._busy.add(executor)
        with _interrupts_held_back():
            return executor, executor.submit(function, *arguments)

    def _give_back(self, executor: ProcessPoolExecutor, future: ConcurrentFuture[Any]) -> None:
        """Keep a process for the next piece of work; one that still works on a cancelled piece is ended."""
        if executor not in self._busy:
            return
        self._busy.discard(executor)
        if future.done() and not self._stopped:
            self._idle.append(executor)
        else:
            _kill(executor)

    def _too_late(self, executor: ProcessPoolExecutor, late: list[bool]) -> None:
        late.append(True)
        self._busy.discard(executor)
        _kill(executor)


@implementer(IWorkers)
class ExecutorWorkers:
    """Work on any ``concurrent.futures.Executor``; one that cannot be stopped in the middle of a piece of work.

    :param make: makes the executor, when first needed and after a restart.
    """

    def __init__(self, make: Callable[[], Executor], size: int, reactor: Any) -> None:
        self.size = size
        self._make = make
        self._reactor = reactor
        self._executor: Executor | None = None
        self._making = DeferredLock()

    async def run(self, function: Callable[..., Any], *arguments: Any, timeout: float | None = None) -> Any:
        """See ``IWorkers``; the time-out has no effect."""
        executor = await self._ready()
        try:
            future = executor.submit(function, *arguments)
        except RuntimeError as error:
            raise WorkerLost("the workers are restarted") from error
        try:
            return await _when_done(future, self._reactor)
        except BrokenProcessPool as error:
            raise WorkerLost("the worker process died") from error
        except Exception as error:
            if type(error).__name__ == "KilledWorker":
                raise WorkerLost("the cluster's worker died") from error
            raise

    async def _ready(self) -> Executor:
        """The executor, made once however many ask for it at once."""
        await self._making.acquire()
        try:
            if self._executor is None:
                self._executor = await deferToThread(self._make)
            return self._executor
        except OSError as error:
            raise WorkerLost("the cluster cannot be reached") from error
        finally:
            self._making.release()

    async def restart(self) -> None:
        """See ``IWorkers``; what runs now is finished first."""
        executor, self._executor = self._executor, None
        if executor is not None:
            await deferToThread(executor.shutdown, cancel_futures=True)

    async def stop(self) -> None:
        """See ``IWorkers``."""
        await self.restart()


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """A process that is started in here ignores Ctrl-C from its first instruction on, as it does after its start."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _new_process() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"), initializer=_begin_worker)


def _begin_worker() -> None:
    """In a new worker process: signals are for the server, memory has a limit, the network is out of reach."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_AS, (WORKER_MEMORY, WORKER_MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Templates may name packages that typst would fetch from the internet: a project brings what it needs.
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        os.environ[name] = os.environ[name.lower()] = "http://127.0.0.1:9"
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = ""
    # Where Typst runs out of memory, Rust would look up the names of all callers for seconds before the process ends.
    os.environ["RUST_BACKTRACE"] = "0"
    threading.Thread(target=_end_with_server, name="pfserver-server-watch", daemon=True).start()


def _end_with_server() -> None:
    """A server that is killed tells nobody: without it, its workers would wait for work for ever."""
    server = multiprocessing.parent_process()
    if server is not None:
        server.join()
        os._exit(1)


def _kill(executor: ProcessPoolExecutor) -> None:
    """End an executor's process at once; the work in it fails with ``BrokenProcessPool``."""
    processes = executor._processes  # the one way to the process
    for process in list((processes or {}).values()):
        process.kill()
    executor.shutdown(wait=False, cancel_futures=True)


def _when_done(future: ConcurrentFuture[Any], reactor: Any) -> Deferred[Any]:
    def cancel(_: Deferred[Any]) -> None:
        future.cancel()

    done: Deferred[Any] = Deferred(cancel)

    def tell(future: ConcurrentFuture[Any]) -> None:
        reactor.callFromThread(_pass_on, future, done)

    future.add_done_callback(tell)
    return done


def _pass_on(future: ConcurrentFuture[Any], done: Deferred[Any]) -> None:
    if done.called:
        return
    if future.cancelled():
        done.errback(WorkerLost("the work was cancelled"))
        return
    error = future.exception()
    if error is not None:
        done.errback(error)
    else:
        done.callback(future.result())


def _dask(address: str) -> Executor:
    from distributed import Client

    return _DaskExecutor(Client(address, set_as_default=False))


class _DaskExecutor(Executor):
    """A client's executor, which ends the client, too."""

    def __init__(self, client: Any) -> None:
        self._client = client
        # What has been tried is tried again, and not taken for known.
        self._executor = client.get_executor(pure=False)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> ConcurrentFuture[Any]:
        future: ConcurrentFuture[Any] = self._executor.submit(fn, *args, **kwargs)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._executor.shutdown(wait=wait)
        self._client.close()


def _dask_size() -> int:
    """The cluster has a queue of its own; this bounds what one job puts into it at once."""
    try:
        import distributed  # noqa: F401
    except ImportError as error:
        raise ConfigurationError("executor dask: needs the extra: pip install 'pfserver[dask]'") from error
    return 4 * (os.cpu_count() or 1)
