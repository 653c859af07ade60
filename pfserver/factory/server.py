"""The server as a factory sees it: ``jobs.poll``, ``jobs.finish``, and what a pfserver has besides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.logger import Logger

from pfserver.factory.calls import Calls, mapping
from pfserver.factory.errors import NotKept, ServerAway
from pfserver.factory.tasks import Incoming, Outgoing, Task, TaskFolder, Tasks
from pfserver.wire.xmlrpc import Fault


class OfficeshotsServer:
    """A server with the Officeshots API.

    :param name: the name under which the factory is registered there.
    """

    log = Logger()

    def __init__(self, calls: Calls, name: str, tasks: Tasks) -> None:
        self._calls = calls
        self._name = name
        self._tasks = tasks
        self._methods: frozenset[str] | None = None

    async def poll(self) -> TaskFolder | None:
        """Take a job, if there is one. Raises ``Fault``, ``ServerAway``, ``Refused``, ``NotKept``."""
        opened: list[Incoming] = []

        def open_sink() -> Incoming:
            opened.append(self._tasks.incoming())
            return opened[-1]

        try:
            struct = mapping(await self._calls.call("jobs.poll", self._name, open_sink=open_sink))
            task = _task_of(struct)
            if task is None:
                return None
            if not opened:
                raise ServerAway("the server sends a job without a document")
            # A folder and a small file: less work than to ask a thread for it.
            try:
                return self._tasks.add(task, opened[0])
            except OSError as error:
                raise NotKept(task, error) from error
        finally:
            for document in opened:
                document.discard()

    async def finish(self, task: Task, result: Path, output_format: str) -> str:
        """Bring a result back; gives its name. May be called again. Raises ``Fault``, ``ServerAway``, ``Refused``."""
        source = Outgoing(result)
        try:
            return str(await self._calls.call("jobs.finish", self._name, task.job, output_format, source))
        finally:
            source.close()

    async def renew(self, task: Task) -> bool:
        """Keep the lock of a job; False where the server cannot do that. Raises ``Fault``, ``ServerAway``."""
        if not await self._has("pfserver.renew"):
            return False
        await self._calls.call("pfserver.renew", self._name, task.job)
        return True

    async def release(self, task: Task, reason: str) -> bool:
        """Give a job back; False where the server only lets its lock run out. Raises ``Fault``, ``ServerAway``."""
        if not await self._has("pfserver.release"):
            return False
        await self._calls.call("pfserver.release", self._name, task.job, reason)
        return True

    def forget(self) -> None:
        """The server was away: what comes back may be another version."""
        self._methods = None

    async def close(self) -> None:
        """Close the connections."""
        await self._calls.close()

    async def _has(self, method: str) -> bool:
        if self._methods is None:
            try:
                names = await self._calls.call("system.listMethods")
            except Fault:
                names = []
            self._methods = frozenset(str(name) for name in names) if isinstance(names, list) else frozenset()
        return method in self._methods


def _task_of(struct: Any) -> Task | None:
    try:
        return Task.of(struct)
    except (ValueError, TypeError) as error:
        raise ServerAway("the server sends a job that cannot be understood") from error
