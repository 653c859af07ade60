"""How M orders subscripts, as bytes: encoded subscripts compare, byte by byte, as the subscripts collate.

Canonical numbers come first, ascending, then all other strings by their bytes (OMI: collation). A number is canonical
if M would write it so: at most 18 significant digits, no leading ``+`` or zeros, no zeros at the end of a fraction, no
exponent, from 1E-43 to below 1E47; what looks like a number but is none of these is a string.

Each encoded subscript begins with a byte that says what follows and ends with a zero byte, the only one in it: inside
of a string, zero becomes ``01 01`` and one ``01 02``. So no encoded subscript is the beginning of another.

========  =====================================================================================
``02``    a global's name; stands where a global's key begins
``05…``   negative numbers, by exponent: the digits' complements, 0xFF
``60``    zero
``61…``   positive numbers, by exponent: the digits
``F0``    strings
========  =====================================================================================
"""

from __future__ import annotations

import re

END = b"\0"

NAME = 0x02
ZERO = 0x60
STRING = 0xF0

#: Significant digits that a number can have.
DIGITS = 18
#: A number is 0.DIGITS times ten to the power of its exponent.
LEAST_EXPONENT, MOST_EXPONENT = -42, 47

_POSITIVE = ZERO + 1 - LEAST_EXPONENT
_NEGATIVE = ZERO - 1 + LEAST_EXPONENT

_NUMBER = re.compile(rb"(-?)(?:([1-9][0-9]*)(?:\.([0-9]*[1-9]))?|\.([0-9]*[1-9]))")
_COMPLEMENTS = bytes.maketrans(b"0123456789", b"9876543210")
_TAGS = [bytes([tag]) for tag in range(256)]
_STRING = _TAGS[STRING]


def encode(subscript: bytes) -> bytes:
    """A subscript's bytes in a key; the subscript is not empty."""
    # Most are whole numbers; they need no pattern.
    length = len(subscript)
    if length <= DIGITS and subscript.isdigit() and subscript[0] != 0x30:
        return _TAGS[_POSITIVE + length] + subscript.rstrip(b"0") + END
    if subscript[0] <= 0x39:  # "9": all of a number's bytes are below
        if subscript == b"0":
            return _TAGS[ZERO] + END
        found = _NUMBER.fullmatch(subscript)
        if found is not None and (number := _encode_number(*found.groups())):
            return number
    return _STRING + escape(subscript) + END


def escape(string: bytes) -> bytes:
    """A string without zero bytes that compares as it did."""
    if b"\1" in string:
        string = string.replace(b"\1", b"\1\2")
    return string.replace(b"\0", b"\1\1") if b"\0" in string else string


def unescape(escaped: bytes) -> bytes:
    """The string of :func:`escape`'s bytes."""
    return escaped.replace(b"\1\1", b"\0").replace(b"\1\2", b"\1") if b"\1" in escaped else escaped


def _encode_number(sign: bytes, whole: bytes | None, part: bytes | None, small: bytes | None) -> bytes:
    """Empty where it has too many digits, or is too large or too small."""
    if whole is not None:
        exponent = len(whole)
        digits = (whole + (part or b"")).rstrip(b"0")
    else:
        assert small is not None
        digits = small.lstrip(b"0")
        exponent = len(digits) - len(small)
    if len(digits) > DIGITS or not LEAST_EXPONENT <= exponent <= MOST_EXPONENT:
        return b""
    if sign:
        return _TAGS[_NEGATIVE - exponent] + digits.translate(_COMPLEMENTS) + b"\xff" + END
    return _TAGS[_POSITIVE + exponent] + digits + END


def decode(encoded: bytes) -> bytes:
    """The subscript, or the global's name, of :func:`encode`'s bytes without the end."""
    tag = encoded[0]
    if tag in (STRING, NAME):
        return unescape(encoded[1:])
    if tag == ZERO:
        return b"0"
    if tag > ZERO:
        return _written(tag - _POSITIVE, encoded[1:])
    return b"-" + _written(_NEGATIVE - tag, encoded[1:-1].translate(_COMPLEMENTS))


def _written(exponent: int, digits: bytes) -> bytes:
    """A number as M writes it."""
    if exponent >= len(digits):
        return digits.ljust(exponent, b"0")
    if exponent > 0:
        return digits[:exponent] + b"." + digits[exponent:]
    return b"." + digits.rjust(len(digits) - exponent, b"0")
