"""Values whose fields are written one after another: each class says with a layout which, and of which type."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Self

from attrs import frozen

from pfserver.wire.omi.fields import Fields, li, ls, si, ss
from pfserver.wire.omi.reference import Reference, RoutineReference, parse_reference, parse_routine_reference


@frozen
class FieldType:
    """How a value becomes bytes, and how it is read."""

    pack: Callable[[Any], bytes]
    parse: Callable[[Fields], Any]


@frozen
class Range:
    """A minimum and a maximum of something that is negotiated; the server answers with one number within both."""

    minimum: int
    maximum: int


def _pack_reference(reference: Reference | None) -> bytes:
    return ls(reference.pack()) if reference is not None else ls(b"")


def _pack_range(range_: Range) -> bytes:
    return li(range_.minimum) + li(range_.maximum)


def _pack_numbers(numbers: tuple[int, ...]) -> bytes:
    return si(len(numbers)) + b"".join(map(li, numbers))


def _parse_reference_or_none(fields: Fields) -> Reference | None:
    data = fields.ls()
    return parse_reference(data) if data else None


SI = FieldType(si, Fields.si)
LI = FieldType(li, Fields.li)
SS = FieldType(ss, Fields.ss)
LS = FieldType(ls, Fields.ls)
REFERENCE = FieldType(_pack_reference, lambda fields: parse_reference(fields.ls()))
#: Empty for None.
OPTIONAL_REFERENCE = FieldType(_pack_reference, _parse_reference_or_none)
ROUTINE = FieldType(
    lambda routine: ls(RoutineReference.pack(routine)), lambda fields: parse_routine_reference(fields.ls())
)
RANGE = FieldType(_pack_range, lambda fields: Range(fields.li(), fields.li()))
#: A count in one byte and so many long integers.
NUMBERS = FieldType(_pack_numbers, lambda fields: tuple([fields.li() for _ in range(fields.si())]))


class Laid:
    """The base of requests and replies."""

    __slots__ = ()

    layout: ClassVar[tuple[tuple[str, FieldType], ...]] = ()

    def pack(self) -> bytes:
        """The fields as bytes. Raises ``FormatError`` for a value that its field cannot hold."""
        return b"".join([kind.pack(getattr(self, name)) for name, kind in self.layout])

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """Read the fields. Raises ``OMIError``."""
        return cls(**{name: kind.parse(fields) for name, kind in cls.layout})

    @classmethod
    def parse_all(cls, data: bytes) -> Self:
        """Read the fields from bytes that hold nothing else. Raises ``OMIError``."""
        fields = Fields(data)
        value = cls.parse(fields)
        fields.end()
        return value
