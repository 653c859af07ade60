"""What M does to a value: pieces, extracts and arithmetic on strings of bytes."""

from __future__ import annotations

import re
from decimal import ROUND_DOWN, Context, Decimal

from pfserver.wire.omi import ErrorType, OMIError

#: M's numbers: 18 significant digits, cut and not rounded, as fis-gtm does it.
_CONTEXT = Context(prec=18, rounding=ROUND_DOWN, Emax=999_999, Emin=-999_999, traps=[])
#: The exponents of the largest and of the smallest number.
_LARGEST, _SMALLEST = 46, -43
#: So many digits of an exponent say more than all digits that a value can have before them.
_EXPONENT_DIGITS = 5

_NUMBER = re.compile(rb"([+-]*)([0-9]*)(?:\.([0-9]*))?(?:E([+-]?[0-9]+))?")


def set_piece(value: bytes, new: bytes, first: int, last: int, delimiter: bytes, most: int) -> bytes | None:
    """The value after ``SET $PIECE(value, delimiter, first, last) = new``; None where M changes nothing.

    Raises ``OMIError`` where it gets longer than ``most`` bytes.
    """
    first = max(first, 1)
    if last < first:
        return None
    # One split more than needed is not done: the rest stays as it is.
    pieces = value.split(delimiter, last) if delimiter else [value]
    before = pieces[: first - 1]
    missing = first - 1 - len(before)
    # Looked at before it is made: a few bytes of a request could ask for megabytes.
    if missing * len(delimiter) > most:
        raise OMIError(ErrorType.VALUE_TOO_LONG)
    return _at_most(most, delimiter.join([*before, *[b""] * missing, new, *pieces[last:]]))


def set_extract(value: bytes, new: bytes, first: int, last: int, most: int) -> bytes | None:
    """The value after ``SET $EXTRACT(value, first, last) = new``; None where M changes nothing.

    Raises ``OMIError`` where it gets longer than ``most`` bytes.
    """
    first = max(first, 1)
    if last < first:
        return None
    return _at_most(most, value[: first - 1].ljust(first - 1) + new + value[last:])


def increment(value: bytes, amount: bytes) -> bytes:
    """The sum of two strings read as numbers, in canonical form. Raises ``OMIError`` where M has no such number."""
    return _canonical(_CONTEXT.add(_number(value), _number(amount)))


def _at_most(most: int, value: bytes) -> bytes:
    if len(value) > most:
        raise OMIError(ErrorType.VALUE_TOO_LONG)
    return value


def _number(text: bytes) -> Decimal:
    """The number that a string begins with, 0 where it does not begin with one."""
    match = _NUMBER.match(text)
    assert match is not None  # all of its parts may be empty
    signs, whole, fraction, exponent = match.groups()
    digits = (whole + (fraction or b"")).lstrip(b"0").decode()
    if not digits:
        return Decimal(0)
    # The exponent's own digits may be many: what is beyond any number stays beyond it.
    power = int(exponent.lstrip(b"+-0")[:_EXPONENT_DIGITS] or b"0") if exponent else 0
    if exponent and exponent.startswith(b"-"):
        power = -power
    sign = "-" if signs.count(b"-") % 2 else ""
    # What follows is cut anyway, and to cut it here costs less.
    kept = digits[: _CONTEXT.prec]
    return _CONTEXT.create_decimal(f"{sign}{kept}E{power - len(fraction or b'') + len(digits) - len(kept)}")


def _canonical(number: Decimal) -> bytes:
    if not number or number.adjusted() < _SMALLEST:
        return b"0"
    if number.adjusted() > _LARGEST:
        raise OMIError(ErrorType.VALUE_TOO_LONG, "a number of 1E47 or more")
    text = f"{number:f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    if text.startswith(("0.", "-0.")):
        text = text.replace("0.", ".", 1)
    return text.encode()
