"""The backend as the engine sees it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from zope.interface import implementer

from pfserver.backends.mumps.process import Ended, MProcess
from pfserver.backends.mumps.program import DRIVER, Program, program_of
from pfserver.errors import JobFailed, NoSuchProject, NotSupported, OutputUnavailable
from pfserver.interfaces import IBackend, IReporter
from pfserver.model import Artifact, JobRequest, Outcome, Progress
from pfserver.numbers import Number

#: The document that holds what a program printed.
OUTPUT = "output.txt"

INSTALL_HINT = (
    "fis-gtm was not found on the server. Debian and Ubuntu: apt-get install fis-gtm; elsewhere install GT.M "
    'and set distribution = "/path/to/it" in [backends.mumps]'
)


@frozen(kw_only=True)
class MSetup:
    """Where M and its programs are.

    :param directories: by OMI environment, the file of a global directory; "" is the one for all others.
    :param timeout: seconds that a program may run.
    :param output_limit: bytes that a program may print.
    """

    distribution: Path | None
    routines: tuple[Path, ...]
    directories: Mapping[str, Path]
    timeout: float
    output_limit: int


@implementer(IBackend)
class MumpsBackend:
    """Runs M routines, each in a process group of its own.

    Only requests that name this backend are its: a packet cannot run a program, the routine table of the OMI front end
    can.

    :param work: a folder for what is compiled.
    """

    name = "mumps"
    local = True

    def __init__(self, reactor: Any, setup: MSetup, work: Path) -> None:
        self._reactor = reactor
        self._setup = setup
        self._work = work

    def takes(self, request: JobRequest) -> bool:
        """See ``IBackend``."""
        return request.backend == self.name

    async def check(self, request: JobRequest) -> JobRequest:
        """See ``IBackend``."""
        if self._setup.distribution is None:
            raise NotSupported(INSTALL_HINT)
        if any(map(_is_split, (self._work, *self._setup.routines))):
            raise NotSupported("M routines need paths without blanks and parentheses: the state's and the routines'")
        program = program_of(request)
        # M spells % as _ in the name of a file.
        file = f"{program.routine.replace('%', '_')}.m"
        if not any((folder / file).is_file() for folder in self._setup.routines):
            raise NoSuchProject(f"there is no routine ^{program.routine}")
        return request

    async def run(self, reporter: IReporter) -> Outcome:
        """See ``IBackend``."""
        program = program_of(reporter.job.request)
        if reporter.cancelled:
            return Outcome.CANCELLED
        work = self._work / str(reporter.job.id)
        try:
            ended = await self._produce(program, reporter, work)
        except OSError as error:
            raise OutputUnavailable(f"the output could not be written: {error.strerror}") from error
        finally:
            await self._in_thread(shutil.rmtree, work, True)
        artifacts = await self._in_thread(_collect, reporter.folder)
        for artifact in artifacts:
            reporter.artifact(artifact)
        if reporter.cancelled:
            return Outcome.CANCELLED
        self._judge(ended)
        reporter.progress(Progress(documents=1, total=1))
        return Outcome.COMPLETED

    async def _produce(self, program: Program, reporter: IReporter, work: Path) -> Ended:
        folder: Path = reporter.folder
        await self._in_thread(_prepare, work, program.driver())
        assert self._setup.distribution is not None, "the job was accepted before, fis-gtm is gone now"
        command = [str(self._setup.distribution / "mumps"), "-run", DRIVER]
        with (folder / OUTPUT).open("wb", buffering=0) as output:
            process = MProcess(
                self._reactor, command, self._environment(program, work), folder, output, self._setup.output_limit
            )
            ended = await self._until_ended(process, reporter)
            if process.error is not None:
                raise process.error
        return ended

    async def _until_ended(self, process: MProcess, reporter: IReporter) -> Ended:
        """Wait for it; stops it where the job is cancelled, takes too long, or the server stops."""
        is_late = False

        def late() -> None:
            nonlocal is_late
            is_late = True
            process.stop()

        async def watch() -> None:
            await reporter.when_cancelled()
            process.stop()

        watching = Deferred.fromCoroutine(watch())
        watching.addErrback(_expect_cancelled)
        timer = self._reactor.callLater(self._setup.timeout, late)
        try:
            ended = await _unharmed(process.ended)
        except CancelledError:
            process.stop()
            await process.ended
            raise
        finally:
            watching.cancel()
            if timer.active():
                timer.cancel()
        if is_late:
            raise JobFailed(Number.TIMED_OUT, f"The program ran longer than {self._setup.timeout:g} seconds")
        return ended

    @staticmethod
    def _judge(ended: Ended) -> None:
        """Raises ``JobFailed`` unless the program ended well."""
        if ended.is_too_long:
            raise JobFailed(Number.PROGRAM_FAILED, f"The program printed more than the {ended.size} bytes that it may")
        if ended.code is None:
            raise JobFailed(Number.PROGRAM_FAILED, "The program was ended by a signal")
        if ended.code:
            lines = ended.tail.decode("utf-8", "replace").split("\n")
            told = next((line.strip() for line in reversed(lines) if line.strip()), "")
            raise JobFailed(Number.PROGRAM_FAILED, f"The program ended with code {ended.code}: {told[:500]}")

    def _environment(self, program: Program, work: Path) -> dict[str, str]:
        setup = self._setup
        folders = " ".join(map(str, setup.routines))
        environment = {
            "PATH": os.defpath,
            "HOME": str(work),
            "LC_ALL": "C.UTF-8",
            "gtm_dist": str(setup.distribution),
            "gtm_chset": "M",
            "gtm_tmp": str(work),
            # Objects are the job's own: jobs that compile the same routine at once do not meet.
            "gtmroutines": f"{work}({work} {folders}) {setup.distribution}/libgtmutil.so {setup.distribution}",
        }
        directory = setup.directories.get(program.environment) or setup.directories.get("")
        if directory is not None:
            environment["gtmgbldir"] = str(directory)
        return environment

    async def restart(self) -> None:
        """See ``IBackend``: nothing is kept between jobs."""

    async def stop(self) -> None:
        """See ``IBackend``: nothing runs without a job."""

    async def _in_thread(self, function: Any, *arguments: Any) -> Any:
        return await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), function, *arguments)


def _is_split(path: Path) -> bool:
    """Whether M would take a path for several: it writes lists of folders with blanks and parentheses."""
    return any(character in str(path) for character in " ()\t")


def _prepare(work: Path, driver: bytes) -> None:
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True, mode=0o700)
    (work / f"{DRIVER}.m").write_bytes(driver)


def _collect(folder: Path) -> list[Artifact]:
    """What the program printed, and the files that it wrote into its folder."""
    artifacts = []
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            # It may lead anywhere; documents are the job's own files.
            path.unlink()
        elif path.is_file():
            media_type = "text/plain" if path.suffix in (".txt", "") else "application/octet-stream"
            name = path.relative_to(folder).as_posix()
            artifacts.append(Artifact(name=name, media_type=media_type, size=path.stat().st_size))
    return artifacts


def _unharmed(ended: Deferred[Ended]) -> Deferred[Ended]:
    """The same, where cancelling it leaves the other one to be waited for."""
    waiting: Deferred[Ended] = Deferred()

    def tell(result: Ended) -> Ended:
        if not waiting.called:
            waiting.callback(result)
        return result

    ended.addCallback(tell)
    return waiting


def _expect_cancelled(failure: Failure) -> None:
    failure.trap(CancelledError)
