"""One job at work: a backend produces it and reports; what it reports is stored in groups and told to followers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import deferLater
from twisted.logger import Logger
from zope.interface import implementer

from pfserver.engine import texts
from pfserver.engine.reports import Reports, Tools, expect_work, take_output_away
from pfserver.errors import JobFailed, NoSuchJob, OutputUnavailable, StoreUnavailable, WorkerLost, WrongState
from pfserver.interfaces import IBackend, IReporter
from pfserver.model import Artifact, Job, Outcome, Progress, State
from pfserver.numbers import Number

#: Seconds before something that could not be written is tried again: the first wait, and the longest.
RETRY_FIRST, RETRY_LONGEST = 5.0, 60.0

#: Seconds that a backend that was stopped has to clean up, once it is stopped again: one that hangs holds up nobody.
CLEANING = 10.0

Result = TypeVar("Result")


@implementer(IReporter)
class Run:
    """Takes a claimed job to its outcome, or back to its queue. See ``IReporter`` for what the backend sees.

    :param produced: called with the job's id once nothing but its outcome is left to store.
    """

    log = Logger()

    def __init__(self, job: Job, backend: IBackend, tools: Tools, produced: Callable[[int], None]) -> None:
        self.job = job
        self.cancelled = False
        self._backend = backend
        self._tools = tools
        self._produced = produced
        self._reports = Reports(job, tools, self.notice, self.stop)
        self._folder: Path | None = None
        # Whether there is finished output, whose record is still to be stored.
        self._published = False
        self._cancel_waiters: list[Deferred[None]] = []
        self._work: Deferred[Any] | None = None
        self._stopping = False
        self._insisting: IDelayedCall | None = None
        # Whether the disk had no room for the output.
        self._refused = False
        self._waiting: Deferred[None] | None = None

    # -- IReporter --------

    @property
    def folder(self) -> Path:
        """See ``IReporter``."""
        if self._folder is None:
            self._folder = self._tools.outputs.begin(self.job)
        return self._folder

    def when_cancelled(self) -> Deferred[None]:
        """See ``IReporter``."""
        waiter: Deferred[None] = Deferred()
        if self.cancelled:
            waiter.callback(None)
        else:
            self._cancel_waiters.append(waiter)
        return waiter

    def message(self, number: int, text: str) -> None:
        """See ``IReporter``."""
        self._reports.message(number, text)

    def progress(self, progress: Progress) -> None:
        """See ``IReporter``."""
        self._reports.progress(progress)

    def artifact(self, artifact: Artifact) -> None:
        """See ``IReporter``."""
        self._reports.artifact(artifact)

    async def flush(self) -> None:
        """See ``IReporter``: while the store refuses, the backend waits."""
        while True:
            try:
                return await self._reports.flush()
            except StoreUnavailable as error:
                self.log.warn(
                    "job.waits-for-disk", transaction=self.job.transaction_id, reason=str(error), seconds=RETRY_FIRST
                )
            await deferLater(self._tools.clock, RETRY_FIRST)

    # -- the engine's side --------

    def notice(self, job: Job) -> None:
        """The job was stored: perhaps it was cancelled."""
        if job.state is State.CANCELLING and not self.cancelled:
            self.cancelled = True
            waiters, self._cancel_waiters = self._cancel_waiters, []
            for waiter in (*waiters, *([self._waiting] if self._waiting is not None else [])):
                if not waiter.called:
                    waiter.callback(None)

    def stop(self) -> None:
        """Stop the backend now; the job goes back to its queue, the attempt not counted, unless others have it.

        Asked again, it breaks into the backend's cleaning up only after a while.
        """
        if not self._stopping:
            self._stopping = True
            self._cancel()
        elif self._insisting is None:
            self._insisting = self._tools.clock.callLater(CLEANING, self._cancel)

    def _cancel(self) -> None:
        if self._work is not None:
            self._work.cancel()

    async def execute(self) -> bool:
        """Produce the job until its outcome is stored (False) or it is back in its queue (True)."""
        try:
            return await self._execute()
        except CancelledError:
            # It is stopped, and the store does not take the job's end: the next start finds it as abandoned.
            self.log.warn("job.not-given-back", transaction=self.job.transaction_id)
            return False
        except (WrongState, NoSuchJob):
            # Somebody else took the job or finished it, e.g. after this server's clock or disk stood still.
            self.log.warn("job.lost", transaction=self.job.transaction_id)
            await self._discard()
            return False
        finally:
            self._reports.close()
            if self._insisting is not None and self._insisting.active():
                self._insisting.cancel()

    async def _execute(self) -> bool:
        if self.job.attempts > 1:
            await self._tools.in_thread(self._tools.outputs.discard, self.job)
        try:
            outcome = await self._until_written(self._produce)
            await self._finish(outcome)
            return False
        except CancelledError:
            return await self._give_back(texts.retry("the server stopped"), refund=True)
        except WorkerLost as error:
            return await self._after_loss(str(error))

    async def _produce(self) -> Outcome:
        if self.cancelled and self._refused:
            # What was asked for while the disk was full: nothing of the job could be kept.
            self._reports.nothing_produced()
            return Outcome.CANCELLED
        try:
            outcome = Outcome(await self._cancellable(self._backend.run(self)))
        except (WorkerLost, OutputUnavailable, WrongState):
            raise
        except JobFailed as error:
            self.message(error.number, error.text)
            outcome = Outcome.FAILED
        except Exception as error:  # a plugin's fault ends its job, not the server
            if isinstance(error, CancelledError) and self._stopping:
                raise
            self.log.failure("job.backend-broken", transaction=self.job.transaction_id, backend=self._backend.name)
            self.message(*texts.BROKEN)
            outcome = Outcome.FAILED
        if outcome is Outcome.FAILED:
            await self._leave_nothing()
        elif self._folder is not None:
            await self._expect_work()
            await self._tools.in_thread(self._tools.outputs.publish, self.job)
            self._published = True
        return outcome

    async def _finish(self, outcome: Outcome) -> None:
        async def store() -> None:
            await self._reports.finish(outcome)

        self._produced(self.job.id)
        await self._until_written(store)
        self.log.info(
            "job.done",
            transaction=self.job.transaction_id,
            outcome=outcome.status,
            seconds=round(self._tools.clock.seconds() - (self.job.started_at or 0), 3),
        )

    async def _until_written(self, step: Callable[[], Awaitable[Result]]) -> Result:
        """Do a step, again and again while the disk refuses: a job is not lost because there was no room for it."""
        delay = RETRY_FIRST
        while True:
            try:
                return await step()
            except (OutputUnavailable, StoreUnavailable) as error:
                self.log.warn(
                    "job.waits-for-disk", transaction=self.job.transaction_id, reason=str(error), seconds=delay
                )
                if isinstance(error, OutputUnavailable):
                    self._refused = True
                    self._reports.restart(Number.OUTPUT_BROKEN, f"{error}; the job is tried again")
                    await self._discard()
            await self._pause(delay)
            delay = min(delay * 2, RETRY_LONGEST)

    async def _pause(self, seconds: float) -> None:
        pause: Deferred[None] = Deferred()
        timer = self._tools.clock.callLater(seconds, pause.callback, None)
        self._waiting = pause
        try:
            await self._cancellable(pause)
        finally:
            self._waiting = None
            if timer.active():
                timer.cancel()

    async def _cancellable(self, work: Awaitable[Any]) -> Any:
        if self._stopping:
            if not isinstance(work, Deferred):
                work.close()  # type: ignore[attr-defined]
            raise CancelledError
        self._work = work if isinstance(work, Deferred) else Deferred.fromCoroutine(work)  # type: ignore[arg-type]
        if self._stopping:
            # By its own first steps.
            self._work.cancel()
        try:
            return await self._work
        finally:
            self._work = None

    async def _after_loss(self, reason: str) -> bool:
        if self.job.attempts < self.job.request.max_attempts:
            return await self._give_back(texts.retry(reason), refund=False)
        self._reports.message(*texts.attempts_spent(self.job, reason))
        await self._until_written(self._leave_nothing)
        await self._finish(Outcome.FAILED)
        return False

    async def _give_back(self, text: tuple[int, str], *, refund: bool) -> bool:
        await self._discard()
        while True:
            try:
                if self._published:
                    await take_output_away(self._tools, self.job)
                    self._published = False
                await self._reports.requeue(text, refund=refund)
                return True
            except WrongState:
                # It was cancelled meanwhile, and what was finished of it is gone; or it is not ours any more.
                self._reports.nothing_produced()
                await self._finish(Outcome.CANCELLED)
                return False
            except StoreUnavailable:
                self.log.warn("job.not-given-back", transaction=self.job.transaction_id, seconds=RETRY_FIRST)
                if self._stopping:
                    # The next start finds the job as abandoned.
                    return False
            with suppress(CancelledError):
                await self._pause(RETRY_FIRST)

    async def _expect_work(self) -> None:
        """Raise ``WrongState`` where the job is not this run's any more."""
        await self._until_written(lambda: expect_work(self._tools, self.job))

    async def _leave_nothing(self) -> None:
        """A failed job has no output, not even that of an attempt before."""
        self._reports.nothing_produced()
        if self.job.attempts > 1:
            await self._expect_work()
            await self._tools.in_thread(self._tools.outputs.remove, self.job)
        await self._discard()

    async def _discard(self) -> None:
        if self._folder is not None:
            self._folder = None
            await self._tools.in_thread(self._tools.outputs.discard, self.job)
