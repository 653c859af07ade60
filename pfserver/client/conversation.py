"""One command's conversation with a Pageflex Server, without I/O: what to send, and what the lines mean."""

from __future__ import annotations

import re
from collections.abc import Mapping

from attrs import frozen

from pfserver.client.errors import NoServer, ServerRefused
from pfserver.model import Outcome
from pfserver.wire.pageflex import Line, LineError, LineReader, write_packet

#: The encoding that our packets ask replies in; a server that does not know it answers in Windows-1252.
ENCODING = "utf-8"

_PROGRESS = re.compile(r"(\d+)(?: of (\d+))? documents")


@frozen
class Submission:
    """What a client submits; names as in the packet (Pageflex: job variables)."""

    project: str
    job: str
    variables: Mapping[str, str] = {}
    document_variables: Mapping[str, str] = {}

    def packet(self, *, monitor: bool) -> bytes:
        """The packet; with ``monitor`` the socket stays open for the job's messages."""
        variables = {
            "ProjectName": self.project,
            "JobName": self.job,
            "_sys_ClientJobMonitor": "TRUE" if monitor else "FALSE",
            "_sys_ResponseEncoding": ENCODING,
            **self.variables,
        }
        return write_packet("SubmitJob", variables, self.document_variables)


def command_packet(command: str, **variables: str) -> bytes:
    """The packet of any other command."""
    return write_packet(command, {"_sys_ResponseEncoding": ENCODING, **variables})


class Conversation:
    """Takes a server's bytes; its first line is the reply, the others are messages."""

    def __init__(self) -> None:
        self._reader = LineReader(ENCODING)
        self.reply: Line | None = None

    def feed(self, data: bytes) -> list[Line]:
        """The messages in these bytes. Raises ``ServerRefused``, ``NoServer``."""
        try:
            lines = self._reader.feed(data)
        except LineError as error:
            raise NoServer(str(error)) from error
        if lines and self.reply is None:
            self.reply, *lines = lines
            if self.reply.kind != "R":
                raise NoServer("the server began with a message instead of a reply")
            if self.reply.number != 0:
                raise ServerRefused(self.reply.number, self.reply.text)
        return lines

    def close(self) -> Line:
        """The server has closed; gives its reply. Raises ``NoServer`` where it said nothing or stopped halfway."""
        try:
            self._reader.at_eof()
        except LineError as error:
            raise NoServer(str(error)) from error
        if self.reply is None:
            raise NoServer("the server closed without an answer")
        return self.reply


def outcome_of(line: Line) -> Outcome | None:
    """The outcome that a completion message tells, None for any other."""
    if line.kind == "J" and line.number in {int(outcome) for outcome in Outcome}:
        return Outcome(line.number)
    return None


def progress_of(line: Line) -> tuple[int, int | None] | None:
    """Documents done and expected, where a message or a status tells them."""
    found = _PROGRESS.search(line.text)
    return (int(found[1]), int(found[2]) if found[2] else None) if found else None


def outcome_of_status(text: str) -> Outcome | None:
    """The outcome in ``Job Status = SUCCESS``; None while the job is not done."""
    word = text.partition("=")[2].strip().partition(",")[0]
    return next((outcome for outcome in Outcome if outcome.status == word), None)
