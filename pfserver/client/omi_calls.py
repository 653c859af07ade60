"""Python's values as requests, and answers as Python's values; what both OMI clients share."""

from __future__ import annotations

import os
from collections.abc import Sequence

from attrs import field, frozen

from pfserver.client.omi_conversation import Answer
from pfserver.wire.omi import (
    Connect,
    DefineReply,
    Extension,
    GetReply,
    IncrementReply,
    JobReply,
    LockReply,
    OrderReply,
    QueryReply,
    Reference,
    RoutineReference,
    StartJob,
)

Text = bytes | str | int


def as_bytes(value: Text) -> bytes:
    """A value of M: text as UTF-8, whole numbers in their canonical form."""
    if isinstance(value, bytes):
        return value
    return str(value).encode()


@frozen(kw_only=True)
class Login:
    """Who connects, and what is wished for."""

    agent: Text = b""
    password: Text = field(default=b"", repr=False)
    environment: Text = b""
    """Of all references that this client makes."""
    client: Text = b""
    """$Job, whose locks and jobs they are; the process's number by default."""
    versions: Sequence[int] = (2, 1)
    """Tried in this order."""

    def connect(self, version: int) -> Connect:
        """The request that begins a session."""
        extensions = (int(Extension.BUNCHING),) if version == 1 else ()
        return Connect(
            major=version,
            implementation=b"pfserver",
            agent=as_bytes(self.agent),
            password=as_bytes(self.password),
            extensions=extensions,
        )

    @property
    def job(self) -> bytes:
        """The client's $Job."""
        return as_bytes(self.client) or b"%d" % os.getpid()


@frozen
class JobState:
    """What the server tells about a job request."""

    number: int
    process: bytes
    """The pfserver job id."""
    is_pending: bool


def reference(login: Login, name: Text, subscripts: Sequence[Text]) -> Reference:
    """A reference in the login's environment; the name's caret may be left away."""
    path = tuple([as_bytes(one) for one in subscripts])
    return Reference(as_bytes(login.environment), as_bytes(name).removeprefix(b"^"), path)


def start_job(
    login: Login, routine: Text, arguments: Sequence[Text] | None, label: Text, offset: int, timeout: float | None
) -> StartJob:
    """The request that starts a job."""
    environment = as_bytes(login.environment)
    listed = None if arguments is None else [as_bytes(one) for one in arguments]
    return StartJob(
        environment=environment,
        client=login.job,
        label=as_bytes(label),
        offset=offset,
        routine=RoutineReference(environment, as_bytes(routine).removeprefix(b"^"), listed),
        timeout=b"" if timeout is None else f"{timeout:.3f}".encode(),
    )


# -- what the answers mean --------


def no_result(answer: Answer) -> None:
    """Of updates, and whatever else tells nothing."""


def value_of(answer: Answer) -> bytes | None:
    """Of get: None where the node has no value."""
    reply = answer.reply
    return reply.value if isinstance(reply, GetReply) and reply.defined else None


def define_of(answer: Answer) -> int:
    """Of define: $Data."""
    return answer.reply.define if isinstance(answer.reply, DefineReply) else 0


def subscript_of(answer: Answer) -> bytes:
    """Of order: empty at the end."""
    return answer.reply.subscript if isinstance(answer.reply, OrderReply) else b""


def found_of(answer: Answer) -> Reference | None:
    """Of query: None at the end."""
    return answer.reply.reference if isinstance(answer.reply, QueryReply) else None


def sum_of(answer: Answer) -> bytes:
    """Of increment: the new value."""
    return answer.reply.value if isinstance(answer.reply, IncrementReply) else b""


def granted_of(answer: Answer) -> bool:
    """Of lock."""
    return isinstance(answer.reply, LockReply) and bool(answer.reply.granted)


def job_of(answer: Answer) -> JobState:
    """Of job and job status."""
    reply = answer.reply if isinstance(answer.reply, JobReply) else JobReply(0)
    return JobState(reply.number, reply.process, answer.modifier == 1)
