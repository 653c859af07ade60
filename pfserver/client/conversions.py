"""Conversions as a client sees them: ask for one, follow its jobs, fetch what they have made."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from secrets import token_hex
from typing import Any, BinaryIO

from attrs import field, frozen

from pfserver.client.errors import NoServer
from pfserver.client.xmlrpc import FileSource, XMLRPCClient
from pfserver.model import Outcome

#: Seconds between looks at jobs that are not done: the first ones, then the longest.
FIRST_LOOK, LONGEST_LOOK = 0.05, 1.0


@frozen(kw_only=True)
class Conversion:
    """What is asked for; names as in ``pfserver.submit``."""

    file: Path
    options: Mapping[str, Any] = field(factory=dict)


@frozen(kw_only=True)
class JobStatus:
    """How far a job is."""

    job: str
    application: str
    version: str
    outcome: Outcome | None
    messages: Sequence[Mapping[str, Any]]
    artifacts: Sequence[str]

    @property
    def label(self) -> str:
        """Which of several jobs it is."""
        return " ".join(filter(None, (self.application, self.version))) or self.job


def submit(client: XMLRPCClient, conversion: Conversion) -> list[str]:
    """Ask for a conversion; gives the names of its jobs, one for each application.

    Raises ``ServerRefused``, ``NoServer``, ``OSError`` where the file cannot be read.
    """
    source = FileSource(conversion.file)
    try:
        names = client.call(
            "pfserver.submit", {"filename": conversion.file.name, "document": source, **conversion.options}
        )
    finally:
        source.close()
    if not isinstance(names, list):
        raise NoServer("the server's answer holds no jobs")
    return [str(name) for name in names]


def status(client: XMLRPCClient, job: str, after: int = 0) -> JobStatus:
    """How far a job is, with its messages after the one of that sequence number."""
    answer = client.call("pfserver.status", job, after)
    if not isinstance(answer, Mapping):
        raise NoServer("the server's answer holds no status")
    found: Mapping[str, Any] = answer
    outcome = next((one for one in Outcome if one.status == found.get("outcome")), None)
    return JobStatus(
        job=job,
        application=str(found.get("application", "")),
        version=str(found.get("version", "")),
        outcome=outcome,
        messages=found.get("messages") or (),
        artifacts=[str(one["name"]) for one in found.get("artifacts") or ()],
    )


def follow(client: XMLRPCClient, jobs: Sequence[str]) -> Iterator[JobStatus]:
    """Every news of jobs as it comes, each with its new messages, until all are done."""
    seen = dict.fromkeys(jobs, 0)
    open_jobs = list(jobs)
    pause = FIRST_LOOK
    while open_jobs:
        for job in list(open_jobs):
            news = status(client, job, seen[job])
            if news.messages:
                seen[job] = int(news.messages[-1]["sequence"])
                pause = FIRST_LOOK
            if news.outcome is not None:
                open_jobs.remove(job)
            if news.messages or news.outcome is not None:
                yield news
        if open_jobs:
            time.sleep(pause)
            pause = min(LONGEST_LOOK, pause * 1.5)


def fetch(client: XMLRPCClient, job: str, name: str, target: Path) -> None:
    """Write a file that a job has made to ``target``, which is complete or not there.

    Raises ``ServerRefused``, ``NoServer``, ``OSError``.
    """
    draft = target.with_name(f".{target.name}.{token_hex(4)}")
    sink: list[BinaryIO] = []

    def open_sink() -> BinaryIO:
        sink.append(draft.open("xb"))
        return sink[-1]

    try:
        client.call("pfserver.fetch", job, name, open_sink=open_sink)
        if not sink:
            raise NoServer(f"the server's answer holds no document for {name}")
        sink[0].close()
        draft.replace(target)
    except OSError as error:
        error.filename = error.filename or str(target)
        raise
    finally:
        for file in sink:
            file.close()
        draft.unlink(missing_ok=True)


def local_name(name: str) -> str:
    """The last part of an artifact's name, as a file name here: a server cannot choose another folder."""
    last = PurePosixPath(name.replace("\\", "/")).name
    return "".join(c if c.isprintable() else "_" for c in last).lstrip(".") or "result"
