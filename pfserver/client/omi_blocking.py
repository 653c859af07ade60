"""The client of OMI for programs without a reactor: a plain socket, the same wire code."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import suppress

from pfserver.client.errors import NoServer, ServerRefused
from pfserver.client.omi_calls import (
    JobState,
    Login,
    Text,
    as_bytes,
    define_of,
    found_of,
    granted_of,
    job_of,
    no_result,
    reference,
    start_job,
    subscript_of,
    sum_of,
    value_of,
)
from pfserver.client.omi_conversation import BUNCH, Answer, OMIConversation, Packed, in_order, is_crowded_out
from pfserver.wire.omi import (
    CancelJob,
    Define,
    Disconnect,
    ErrorType,
    Get,
    Increment,
    JobStatus,
    Kill,
    Lock,
    Order,
    Query,
    Reference,
    Request,
    ReverseOrder,
    ReverseQuery,
    Set,
    Unlock,
    UnlockClient,
)


class BlockingOMIClient:
    """One session with an OMI server; every call blocks until it is answered. Also a context manager.

    What the server refuses raises ``ServerRefused`` (its ``number`` is OMI's error type), a lost circuit ``NoServer``.

    :param seconds: how long an answer may take.
    """

    def __init__(
        self, host: str = "127.0.0.1", port: int = 8009, login: Login | None = None, seconds: float = 30.0
    ) -> None:
        self.login = login or Login()
        self._address = (host, port)
        self._seconds = seconds
        self._conversation, self._socket = self._connect()

    def __enter__(self) -> BlockingOMIClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def version(self) -> int:
        """OMI's major version that was agreed on."""
        connected = self._conversation.connected
        return connected.major if connected is not None else 0

    def close(self) -> None:
        """End the session."""
        # The circuit is closed in any case, which ends the session as well.
        with suppress(NoServer, ServerRefused):
            self.ask(Disconnect())
        self._socket.close()

    def ask(self, request: Request) -> Answer:
        """Any request of :mod:`pfserver.wire.omi`. Raises ``ServerRefused``, ``NoServer``."""
        [answer] = self.ask_all([request])
        if answer.error is not None:
            raise answer.error
        return answer

    def ask_all(self, requests: Sequence[Request]) -> list[Answer]:
        """Many requests, in as few messages as the server allows; an answer may be an error.

        Fetches whose answers are too long for one reply all together are asked again, one by one, before what follows
        is sent. Raises ``OMIError`` for a request that is too long, before any is sent, and ``NoServer``.
        """
        return self.ask_packed([self.packed(request) for request in requests])

    def packed(self, request: Request) -> Packed:
        """A request for :meth:`ask_packed`. Raises ``OMIError`` for one that is too long."""
        return self._conversation.packed(request)

    def ask_packed(self, calls: Sequence[Packed]) -> list[Answer]:
        """As :meth:`ask_all`, of what :meth:`packed` has given."""
        answers: list[Answer] = []
        while len(answers) < len(calls):
            rest = calls[len(answers) : len(answers) + BUNCH]
            together = rest[: self._conversation.fitting(in_order(rest))]
            found = self._exchange(together)
            if len(together) > 1:
                for place, (call, answer) in enumerate(zip(together, found, strict=True)):
                    if is_crowded_out(call, answer):
                        [found[place]] = self._exchange([call])
            answers += found
        return answers

    def get(self, name: Text, *subscripts: Text) -> bytes | None:
        """The node's value, None where it has none."""
        return value_of(self.ask(Get(reference(self.login, name, subscripts))))

    def set(self, value: Text, name: Text, *subscripts: Text) -> None:
        """Give a node its value; the value comes first, since there may be any number of subscripts."""
        no_result(self.ask(Set(reference(self.login, name, subscripts), as_bytes(value))))

    def kill(self, name: Text, *subscripts: Text) -> None:
        """Remove a node's value and all its descendants."""
        no_result(self.ask(Kill(reference(self.login, name, subscripts))))

    def define(self, name: Text, *subscripts: Text) -> int:
        """$Data: 0, 1, 10 or 11."""
        return define_of(self.ask(Define(reference(self.login, name, subscripts))))

    def increment(self, amount: Text, name: Text, *subscripts: Text) -> bytes:
        """Add to a node's value; gives the new one."""
        return sum_of(self.ask(Increment(reference(self.login, name, subscripts), as_bytes(amount))))

    def order(self, name: Text, *subscripts: Text) -> bytes:
        """The next subscript, or the next global's name with its caret; empty at the end."""
        return subscript_of(self.ask(Order(reference(self.login, name, subscripts))))

    def reverse_order(self, name: Text, *subscripts: Text) -> bytes:
        """The subscript before."""
        return subscript_of(self.ask(ReverseOrder(reference(self.login, name, subscripts))))

    def query(self, name: Text, *subscripts: Text) -> Reference | None:
        """The next node that has a value; None at the end."""
        return found_of(self.ask(Query(reference(self.login, name, subscripts))))

    def reverse_query(self, name: Text, *subscripts: Text) -> Reference | None:
        """The node before that has a value."""
        return found_of(self.ask(ReverseQuery(reference(self.login, name, subscripts))))

    def lock(self, name: Text, *subscripts: Text) -> bool:
        """Lock a name, once more if this client has it already; False where somebody else's lock is in the way."""
        return granted_of(self.ask(Lock(reference(self.login, name, subscripts), self.login.job)))

    def unlock(self, name: Text, *subscripts: Text) -> None:
        """Undo one lock."""
        no_result(self.ask(Unlock(reference(self.login, name, subscripts), self.login.job)))

    def unlock_client(self) -> None:
        """Release all locks of this client."""
        no_result(self.ask(UnlockClient(self.login.job)))

    def start_job(
        self,
        routine: Text,
        arguments: Sequence[Text] | None = None,
        *,
        label: Text = "",
        offset: int = 0,
        timeout: float | None = None,
    ) -> JobState:
        """Start what the server's routine table says about a routine; ``timeout`` in seconds."""
        return job_of(self.ask(start_job(self.login, routine, arguments, label, offset, timeout)))

    def job_status(self, number: int) -> JobState:
        """Whether a job has begun; the server forgets the number once it has told that."""
        return job_of(self.ask(JobStatus(number)))

    def cancel_job(self, number: int) -> None:
        """Cancel a job and forget its number."""
        no_result(self.ask(CancelJob(number)))

    def _connect(self) -> tuple[OMIConversation, socket.socket]:
        for version in self.login.versions[:-1]:
            try:
                return self._open(version)
            except ServerRefused as error:
                if error.number != ErrorType.VERSION:
                    raise
        return self._open(self.login.versions[-1])

    def _open(self, version: int) -> tuple[OMIConversation, socket.socket]:
        conversation = OMIConversation(self.login.connect(version))
        try:
            circuit = socket.create_connection(self._address, self._seconds)
        except OSError as error:
            place = f"{self._address[0]}:{self._address[1]}"
            raise NoServer(f"no server answers at {place}: {error.strerror or error}") from error
        try:
            circuit.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            [answer] = _exchange(conversation, circuit, conversation.hello())
            if answer.error is not None:
                raise answer.error
        except BaseException:
            circuit.close()
            raise
        return conversation, circuit

    def _exchange(self, calls: Sequence[Packed]) -> list[Answer]:
        return _exchange(self._conversation, self._socket, self._conversation.message(calls))


def _exchange(conversation: OMIConversation, circuit: socket.socket, data: bytes) -> list[Answer]:
    is_answered = False
    try:
        circuit.sendall(data)
        while received := circuit.recv(65536):
            for answers in conversation.feed(received):
                is_answered = True
                return answers
    except TimeoutError as error:
        raise NoServer("the server did not answer in time") from error
    except OSError as error:
        raise NoServer(f"the circuit was lost: {error.strerror or error}") from error
    finally:
        if not is_answered:
            # What still comes would be taken for the answer to the next request.
            circuit.close()
    raise NoServer("the server has closed the circuit")
