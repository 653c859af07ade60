"""Keys of nodes: an environment, a global's name and subscripts as bytes that sort as M walks them.

An environment comes as it is with its end; then name and subscripts as :mod:`.collation` encodes them. A node's key is
therefore the beginning of its descendants' keys and of no others. A key may also stand for a place between nodes, where
order and query start: a last byte :data:`START` before all siblings.
"""

from __future__ import annotations

from collections.abc import Sequence

from pfserver.errors import ReferenceTooLong
from pfserver.interfaces import ENVIRONMENT_BYTES
from pfserver.store.globals.collation import END, NAME, decode, encode, escape

#: Sorts before every encoded subscript.
START = b"\1"
#: Sorts behind every encoded subscript.
BEHIND = b"\xff"

_START = START[0]
_NAME = bytes([NAME])

#: A key of more bytes than this cannot be kept; a reference of 1,024 bytes, all of them zero, has twice as many.
KEY_BYTES = 8_192


def key_of(environment: bytes, name: bytes, subscripts: Sequence[bytes]) -> bytes:
    """The key of a node, or of a place where the last subscript is empty. Raises ``ReferenceTooLong``."""
    if len(environment) > ENVIRONMENT_BYTES:
        raise ReferenceTooLong(f"an environment of {len(environment)} bytes; its name may have {ENVIRONMENT_BYTES}")
    return key_below(b"".join([prefix_of(environment), _NAME, name, END]), subscripts)


def key_below(key: bytes, subscripts: Sequence[bytes]) -> bytes:
    """The key of a node below another one. Raises ``ReferenceTooLong``."""
    for subscript in subscripts:
        key += encode(subscript) if subscript else START
    if len(key) > KEY_BYTES:
        raise ReferenceTooLong(f"a reference that needs {len(key)} bytes; at most {KEY_BYTES} can be kept")
    return key


def prefix_of(environment: bytes) -> bytes:
    """What all keys of an environment begin with."""
    return escape(environment) + END


def after_descendants(key: bytes) -> bytes:
    """The place behind a node and all its descendants; for a start, the start."""
    return key if key[-1] == _START else key + BEHIND


def after_node(key: bytes) -> bytes:
    """The place behind a node and before its descendants; for a start, the start."""
    return key if key[-1] == _START else key + START


def before(key: bytes) -> bytes:
    """Where to go back from: a node, or for a start, behind all of its siblings."""
    return key[:-1] + BEHIND if key[-1] == _START else key


def level_of(key: bytes) -> bytes:
    """What the keys of all siblings begin with: the key of the node above, or the environment's prefix."""
    return key[:-1] if key[-1] == _START else key[: key.rfind(END, 0, -1) + 1]


def sibling_at(key: bytes, start: int) -> bytes:
    """The subscript (or name) that a key has at a level whose keys begin with ``start`` bytes in common."""
    return decode(key[start : key.index(END, start)])


def global_of(key: bytes) -> bytes:
    """The beginning of a key up to its global's name: the key of the global itself."""
    return key[: key.index(END, key.index(END) + 1) + 1]


def subscripts_of(key: bytes, start: int) -> tuple[bytes, ...]:
    """The subscripts of a key whose global's own key has ``start`` bytes."""
    return tuple([decode(part) for part in key[start:].split(END)[:-1]])
