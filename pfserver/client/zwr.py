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
from pfserver.client.omi_conversation import BUNCH, Answer, Packed
from pfserver.wire.omi import Get, OMIError, Query, Reference, Set
from pfserver.wire.zwr import LINE_BYTES, Node, write_node

#: Bytes of the nodes of one message of an import; a message may have 65,535, with 16 more for each of them.
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
    """Set nodes; gives how many. Raises for the first that is wrong, when those before it are set, and sends no more.

    That is ``ServerRefused``, ``OMIError`` for what is too long for OMI, both with the node and its line, and whatever
    comes from ``nodes`` itself; and ``NoServer``.
    """
    count = 0
    for together in _messages(client, nodes):
        answers = client.ask_packed([call for _, call in together])
        for (node, _), answer in zip(together, answers, strict=True):
            if answer.error is not None:
                raise ServerRefused(answer.error.number, _told(node, answer.error.text))
        count += len(together)
    return count


def _messages(client: BlockingOMIClient, nodes: Iterable[Node]) -> Iterator[list[tuple[Node, Packed]]]:
    """Nodes that travel together. What is wrong with one is raised after those before it were given."""
    environment = _environment(client)
    waiting: list[tuple[Node, Packed]] = []
    room = _ROOM
    try:
        for node in nodes:
            try:
                call = client.packed(Set(Reference(environment, node.name, node.subscripts), node.value))
            except OMIError as error:
                raise OMIError(error.type, _told(node, str(error))) from None
            size = len(call[1])
            if waiting and (size > room or len(waiting) == BUNCH):
                yield waiting
                waiting, room = [], _ROOM
            waiting.append((node, call))
            room -= size
    except Exception:
        if waiting:
            yield waiting
        raise
    if waiting:
        yield waiting


def _told(node: Node, text: str) -> str:
    """An error's text, with the place of its node."""
    line = f"line {node.line}: " if node.line else ""
    written = write_node(node)[:60].decode("ascii").rstrip()
    return f"{line}{text} at {written}"


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
