"""The client of the Pageflex Server socket API for programs without a reactor: plain sockets, the same wire code."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

from pfserver.client.conversation import Conversation, Submission, command_packet, outcome_of_status
from pfserver.client.errors import NoServer
from pfserver.model import Outcome
from pfserver.wire.pageflex import Line

#: Seconds between looks at a job that somebody else has submitted.
POLL = 1.0


class BlockingClient:
    """Talks to a server; each call is a connection of its own and blocks until it is answered.

    :param seconds: how long an answer may take; a monitor may be silent for any time.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 8008, seconds: float = 30.0) -> None:
        self._address = (host, port)
        self._seconds = seconds

    def submit(self, submission: Submission) -> str:
        """Submit a job and give its transaction id. Raises ``ServerRefused``, ``NoServer``."""
        return self._ask(submission.packet(monitor=False)).text

    def submit_and_watch(self, submission: Submission) -> Iterator[Line]:
        """Submit a job with its monitor: the reply first, then every message until the server closes.

        Raises ``ServerRefused``; ``NoServer`` also where the connection is lost: the job may well go on.
        """
        return self._talk(submission.packet(monitor=True))

    def watch(self, transaction: str) -> Iterator[Line]:
        """The messages of a job that was submitted before, as they come, until its outcome."""
        told = 0
        while True:
            done = outcome_of_status(self.status(transaction)) is not None
            log = self.task_log(transaction)
            yield from log[told:]
            told = max(told, len(log))
            if done:
                return
            time.sleep(POLL)

    def cancel(self, transaction: str) -> str:
        """Cancel a job; gives its id."""
        return self.command("CancelJob", _sys_TransactionID=transaction)

    def status(self, transaction: str) -> str:
        """``Job Status = …`` of a job."""
        return self.command("GetJobStatus", _sys_TransactionID=transaction)

    def outcome(self, transaction: str) -> Outcome | None:
        """The outcome of a job, None while it is not done."""
        return outcome_of_status(self.status(transaction))

    def task_log(self, transaction: str) -> list[Line]:
        """The messages of a job so far."""
        return list(self._talk(command_packet("GetTaskLog", _sys_TransactionID=transaction)))[1:]

    def queue_length(self, queue: str = "") -> int:
        """How many jobs wait."""
        return int(self.queue_text(queue).split(" ")[0])

    def queue_text(self, queue: str = "") -> str:
        """The whole answer to GetJobQueueLen; it begins with the number of waiting jobs and a space."""
        return self.command("GetJobQueueLen", **({"_sys_QueueName": queue} if queue else {}))

    def build_string(self) -> str:
        """What the server is."""
        return self.command("GetBuildString")

    def restart_server(self) -> str:
        """Restart the server's executors and backends."""
        return self.command("RestartServer")

    def command(self, command: str, **variables: str) -> str:
        """Send any command and give the result of its reply. Raises ``ServerRefused``, ``NoServer``."""
        return self._ask(command_packet(command, **variables)).text

    def _ask(self, packet: bytes) -> Line:
        reply, *_ = self._talk(packet)
        return reply

    def _talk(self, packet: bytes) -> Iterator[Line]:
        conversation = Conversation()
        replied = False
        try:
            with socket.create_connection(self._address, self._seconds) as connection:
                connection.sendall(packet)
                while data := connection.recv(65536):
                    lines = conversation.feed(data)
                    if conversation.reply is not None and not replied:
                        replied = True
                        connection.settimeout(None)
                        yield conversation.reply
                    yield from lines
        except TimeoutError as error:
            raise NoServer("the server did not answer in time") from error
        except OSError as error:
            raise NoServer(f"no server answers at {self._address[0]}:{self._address[1]}: {error.strerror}") from error
        reply = conversation.close()
        if not replied:
            yield reply
