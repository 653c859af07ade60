"""Who follows which job. A follower is a cursor: nothing is queued for it, so a slow one costs nothing."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from pfserver.errors import NoSuchJob, StoreUnavailable
from pfserver.interfaces import IFollower, IJobStore
from pfserver.model import Job, Message, State

#: The last messages of a followed job that are kept in memory, so that a prompt follower does not read the store.
TAIL = 200

#: Messages that a follower gets at once at most.
PAGE = 200


@define
class _Followed:
    """What the feed knows of a job that somebody follows."""

    last: int = 0
    """The sequence of its last message, as far as known."""
    done: bool = False
    tail: list[Message] = field(factory=list)
    """The last messages, without a gap up to ``last``; perhaps none."""
    followers: set[Follower] = field(factory=set)


class Feed:
    """Wakes the followers of a job when something was stored for it.

    :param store: where followers that lag behind read.
    :param poll: seconds between looks into a store that other servers write too; None where there are none.
    """

    log = Logger()

    def __init__(self, store: IJobStore, clock: IReactorTime, poll: float | None = None) -> None:
        self._store = store
        self._clock = clock
        self._poll = poll
        self._jobs: dict[int, _Followed] = {}
        self._poller: IDelayedCall | None = None

    def told(self, job: Job, texts: Sequence[tuple[int, str]] | None = None) -> None:
        """A job was stored; ``texts`` are the messages that were added with it, None if unknown."""
        followed = self._jobs.get(job.id)
        if followed is None:
            return
        if texts and followed.last == job.messages - len(texts):
            now = self._clock.seconds()
            first = followed.last + 1
            followed.tail += [Message(first + n, int(number), text, now) for n, (number, text) in enumerate(texts)]
            del followed.tail[:-TAIL]
        elif job.messages > followed.last:
            followed.tail.clear()
        followed.last = max(followed.last, job.messages)
        followed.done = followed.done or job.state is State.DONE
        for follower in list(followed.followers):
            follower.wake()

    async def follow(self, job_id: int, after: int) -> Follower:
        """A cursor behind message ``after``. Raises ``NoSuchJob``."""
        followed = self._jobs.setdefault(job_id, _Followed())
        follower = Follower(self, followed, job_id, after)
        followed.followers.add(follower)
        try:
            self.told(await self._store.get(job_id))
        except BaseException:
            self.leave(follower)
            raise
        if self._poll is not None and self._poller is None:
            self._poller = self._clock.callLater(self._poll, self._look)
        return follower

    def leave(self, follower: Follower) -> None:
        """Forget a follower."""
        followed = self._jobs.get(follower.job_id)
        if followed is not None:
            followed.followers.discard(follower)
            if not followed.followers:
                del self._jobs[follower.job_id]

    def stop(self) -> None:
        """Wake all followers for good."""
        for followed in list(self._jobs.values()):
            for follower in list(followed.followers):
                follower.stop()
        if self._poller is not None and self._poller.active():
            self._poller.cancel()

    async def read(self, followed: _Followed, job_id: int, after: int) -> Sequence[Message]:
        """The next messages of a followed job."""
        tail = followed.tail
        if tail and tail[0].sequence <= after + 1:
            start = after + 1 - tail[0].sequence
            return tail[start : start + PAGE]
        return await self._store.messages(job_id, after=after, limit=PAGE)

    def _look(self) -> None:
        self._poller = None
        if self._jobs:
            self._poller = self._clock.callLater(self._poll or 1.0, self._look)
            Deferred.fromCoroutine(self._refresh()).addErrback(self._not_read)

    def _not_read(self, failure: Failure) -> None:
        if isinstance(failure.value, StoreUnavailable):
            self.log.warn("feed.not-read", reason=failure.getErrorMessage())
        else:
            self.log.failure("feed.broken", failure)

    async def _refresh(self) -> None:
        for job_id, followed in list(self._jobs.items()):
            try:
                self.told(await self._store.get(job_id))
            except NoSuchJob:
                # Removed by another server; those who follow other jobs must not wait for it.
                for follower in list(followed.followers):
                    follower.stop()


@implementer(IFollower)
class Follower:
    """A position in a job's messages. See ``IFollower``."""

    __slots__ = ("_feed", "_followed", "_position", "_stopped", "_waiting", "job_id")

    def __init__(self, feed: Feed, followed: _Followed, job_id: int, after: int) -> None:
        self.job_id = job_id
        self._feed = feed
        self._followed = followed
        self._position = after
        self._waiting: Deferred[None] | None = None
        self._stopped = False

    async def next(self) -> Sequence[Message]:
        """See ``IFollower``."""
        while not self._stopped:
            if self._position < self._followed.last:
                messages = await self._feed.read(self._followed, self.job_id, self._position)
                if messages:
                    self._position = messages[-1].sequence
                    return messages
                # Deleted by retention meanwhile: there is nothing left to tell.
                self.stop()
            elif self._followed.done:
                self.stop()
            else:
                self._waiting = Deferred()
                await self._waiting
        return ()

    def wake(self) -> None:
        """Look again."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    def stop(self) -> None:
        """See ``IFollower``."""
        self._stopped = True
        self._feed.leave(self)
        self.wake()
