"""Names of files that are made after documents."""

from __future__ import annotations

#: The longest name of a file, in bytes: the limit of all file systems that servers have.
NAME_BYTES = 255


def fitting_name(stem: str, suffix: str, room: int = NAME_BYTES) -> str:
    """``stem`` and ``suffix`` together, the stem cut at a character's end where they are longer than ``room`` bytes.

    A document may be called what no file can be: an upload's name goes nowhere near the disk before it has a result.
    """
    left = room - len(suffix.encode("utf-8", "surrogateescape"))
    encoded = stem.encode("utf-8", "surrogateescape")
    return (stem if len(encoded) <= left else encoded[:left].decode("utf-8", "ignore")) + suffix
