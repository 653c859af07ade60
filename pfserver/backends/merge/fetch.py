"""Data sources on the web: fetched into a file, within limits of size and time."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import treq
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.error import ConnectError, ConnectionLost, DNSLookupError
from twisted.python.failure import Failure
from twisted.web.client import Agent, BrowserLikeRedirectAgent, ResponseFailed
from twisted.web.error import SchemeNotSupported

from pfserver.projects.sources.common import broken

#: What a content type says about the kind of a file.
SUFFIXES = {
    "text/csv": ".csv",
    "text/tab-separated-values": ".tsv",
    "application/json": ".json",
    "application/x-ndjson": ".jsonl",
    "application/jsonl": ".jsonl",
    "application/vnd.sqlite3": ".sqlite",
}

#: Redirects that are followed.
REDIRECTS = 5


class _TooLarge(Exception):
    """The body is larger than the limit."""


async def fetch(url: str, folder: Path, reactor: Any, *, limit: int, seconds: float) -> Path:
    """Fetch an http(s) URL into a file of ``folder`` whose suffix says its kind. Raises ``JobFailed``.

    :param limit: the most bytes that are taken.
    :param seconds: the time for all of it.
    """
    stopped = False

    def stop(_: object) -> None:
        nonlocal stopped
        stopped = True
        work.cancel()

    work = Deferred.fromCoroutine(_fetch(url, folder, reactor, limit))
    # Whoever is cancelled while it connects, or finds an address, says that in a way of its own.
    work.addTimeout(seconds, reactor, onTimeoutCancel=lambda _, seconds: Failure(TimeoutError(seconds)))
    work.addErrback(lambda failure: Failure(CancelledError()) if stopped else failure)
    waiting: Deferred[Path] = Deferred(stop)
    work.chainDeferred(waiting)
    try:
        return await waiting
    except TimeoutError as error:
        raise broken(url, f"was not fetched within {seconds:g} seconds") from error
    except _TooLarge as error:
        raise broken(url, f"is larger than {limit} bytes") from error
    except (ConnectError, ConnectionLost, DNSLookupError, ResponseFailed, SchemeNotSupported, ValueError) as error:
        raise broken(url, f"cannot be fetched: {type(error).__name__}") from error


async def _fetch(url: str, folder: Path, reactor: Any, limit: int) -> Path:
    agent = BrowserLikeRedirectAgent(Agent(reactor, connectTimeout=10), REDIRECTS)
    response = await treq.client.HTTPClient(agent).get(url, unbuffered=True)
    if response.code != 200:
        raise broken(url, f"the server answers {response.code}")
    path = folder / f"data{_suffix(url, response.headers.getRawHeaders('content-type', [''])[0])}"
    received = 0
    with path.open("wb") as file:

        def keep(data: bytes) -> None:
            nonlocal received
            received += len(data)
            if received > limit:
                raise _TooLarge
            file.write(data)

        await treq.collect(response, keep)
    return path


def _suffix(url: str, content_type: str) -> str:
    suffix = Path(urlsplit(url).path).suffix.lower()
    known = SUFFIXES.get(content_type.partition(";")[0].strip().lower(), "")
    return suffix if suffix in SUFFIXES.values() else known or suffix or ".csv"
