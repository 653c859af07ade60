"""Globals from a server into a ZWR file, and back: over OMI, so from and to any server that speaks it, while it runs.

Nodes stream: neither side holds more than a message of them. An export walks the globals as they are at the moment;
what is changed meanwhile may be in it or not. An import sets nodes in messages of several hundred, each kept as a whole
or not at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import BinaryIO

from pfserver.client.errors import ServerRefused
from pfserver.client.omi_blocking import BlockingOMIClient
from pfserver.client.omi_calls import found_of, value_of
from pfserver.client.omi_conversation import BUNCH, Answer
from pfserver.wire.omi import Get, Query, Reference, Set
from pfserver.wire.zwr import LINE_BYTES, Node, write_node

#: Bytes of one message of an import; a message may have 65,535.
_ROOM = 48_000


def names(client: BlockingOMIClient) -> Iterator[bytes]:
    """The names of all globals of the client's environment that are stored (those that are live are not)."""
    # "%" itself is a name, and the first of all that there can be.
    name = b"%"
    if client.define(name):
        yield name
    while name := client.order(name).removeprefix(b"^"):
        yield name


def export(client: BlockingOMIClient, name: bytes) -> Iterator[Node]:
    """The nodes of one global that have a value, in their order. Raises ``ServerRefused``, ``NoServer``."""
    place: Reference | None = Reference(_environment(client), name)
    while place is not None:
        # A node's value and the next one's reference in one go.
        got, following = client.ask_all([Get(place), Query(place)])
        value = value_of(_good(got))
        if value is not None:
            yield Node(name, place.subscripts, value)
        place = found_of(_good(following))


def load(client: BlockingOMIClient, nodes: Iterable[Node]) -> int:
    """Set nodes; gives how many. Raises ``ServerRefused`` for the first that is refused, and sends no more."""
    environment, count, room = _environment(client), 0, _ROOM
    waiting: list[Node] = []

    def send() -> None:
        requests = [Set(Reference(environment, node.name, node.subscripts), node.value) for node in waiting]
        for node, answer in zip(waiting, client.ask_all(requests), strict=True):
            if answer.error is not None:
                line = write_node(node)[:60].decode("ascii").rstrip()
                raise ServerRefused(answer.error.number, f"{answer.error} at {line}")

    for node in nodes:
        size = len(node.value) + sum(map(len, node.subscripts)) + 64
        if waiting and (size > room or len(waiting) == BUNCH):
            send()
            count, room = count + len(waiting), _ROOM
            waiting.clear()
        waiting.append(node)
        room -= size
    if waiting:
        send()
    return count + len(waiting)


def lines_of(file: BinaryIO) -> Iterator[bytes]:
    """A file's lines; one without an end is not read into memory as a whole."""
    while line := file.readline(LINE_BYTES + 1):
        yield line


def _environment(client: BlockingOMIClient) -> bytes:
    environment = client.login.environment
    return environment if isinstance(environment, bytes) else str(environment).encode()


def _good(answer: Answer) -> Answer:
    if answer.error is not None:
        raise answer.error
    return answer
