"""What names a node of a global, and what names a routine."""

from __future__ import annotations

import re
from collections.abc import Sequence

from attrs import field, frozen

from pfserver.wire.omi.errors import FormatError, OMIError
from pfserver.wire.omi.fields import Fields, ls, si, ss
from pfserver.wire.omi.numbers import ErrorType

_NAME = re.compile(rb"[A-Za-z%][A-Za-z0-9]*")


@frozen
class Reference:
    """A node: its environment, the global's name without the caret, and its subscripts."""

    environment: bytes
    name: bytes
    subscripts: tuple[bytes, ...] = ()

    def pack(self) -> bytes:
        """Its bytes, without a length."""
        return ls(self.environment) + ss(b"^" + self.name) + b"".join([ss(one) for one in self.subscripts])


def parse_reference(data: bytes) -> Reference:
    """The reference in the bytes of one LS field. Raises as :func:`split_reference`."""
    environment, name, subscripts = split_reference(data)
    return Reference(environment, name, tuple(subscripts))


def split_reference(data: bytes) -> tuple[bytes, bytes, list[bytes]]:
    """Environment, name and subscripts of the reference in the bytes of one LS field: what servers do most.

    Raises ``OMIError``: reference format for lengths that do not fit or a name without caret, reference content for a
    name that no global can have.
    """
    end = len(data)
    try:
        position = 2 + (data[0] | data[1] << 8)
        environment = data[2:position]
        length = data[position]
        position += 1
        name = data[position : position + length]
        position += length
        subscripts = []
        while position < end:
            length = data[position]
            position += 1
            subscripts.append(data[position : position + length])
            position += length
    except IndexError:
        position = -1
    if position != end:
        raise FormatError("the lengths inside of a reference do not fit", ErrorType.REFERENCE_FORMAT)
    return environment, global_name(name), subscripts


def global_name(field: bytes) -> bytes:
    """The name behind the caret: a letter or %, then letters and digits; case counts."""
    if len(field) < 2 or field[:1] != b"^":
        raise FormatError("a name begins with a caret", ErrorType.REFERENCE_FORMAT)
    if _NAME.fullmatch(field, 1) is None:
        raise OMIError(ErrorType.REFERENCE_CONTENT, "a name is a letter or %, then letters and digits")
    return field[1:]


def _tuple_or_none(values: Sequence[bytes] | None) -> tuple[bytes, ...] | None:
    return None if values is None else tuple(values)


@frozen
class RoutineReference:
    """A routine without its caret; ``arguments`` is None where there is no list at all, which is not an empty one."""

    environment: bytes
    name: bytes
    arguments: tuple[bytes, ...] | None = field(default=None, converter=_tuple_or_none)

    def pack(self) -> bytes:
        """Its bytes, without a length."""
        packed = ls(self.environment) + ss(b"^" + self.name)
        if self.arguments is None:
            return packed
        return packed + si(len(self.arguments)) + b"".join([ls(one) for one in self.arguments])


def parse_routine_reference(data: bytes) -> RoutineReference:
    """The routine reference in the bytes of one LS field. Raises as :func:`parse_reference`."""
    try:
        fields = Fields(data)
        environment = fields.ls()
        name = global_name(fields.ss())
        arguments = None
        if fields.rest():
            arguments = tuple([fields.ls() for _ in range(fields.si())])
            fields.end()
    except FormatError as error:
        raise FormatError(str(error), ErrorType.REFERENCE_FORMAT) from None
    return RoutineReference(environment, name, arguments)
