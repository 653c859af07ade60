"""Which encoding a packet is in: decided by its first bytes, for what it declares is often wrong (Pageflex: packet)."""

from __future__ import annotations

import re

from pfserver.numbers import Number
from pfserver.wire.pageflex.errors import PacketError

#: The longest XML declaration that is looked through for an encoding.
DECLARATION_BYTES = 512

_MARKS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
_WHITE = b" \t\r\n"

#: A packet begins with one of these bytes: a mark, ``<`` or white space, or the zero half of one of them.
_FIRST = frozenset(b"<\x00\xef\xff\xfe" + _WHITE)

_DECLARED = re.compile(rb"""<\?xml\s[^>]*?\bencoding\s*=\s*["']\s*([A-Za-z][A-Za-z0-9._:-]{0,39})\s*["']""")
_ASCII = bytes(range(32, 127))


def sniff(head: bytes, *, complete: bool) -> tuple[str, int] | None:
    """The encoding of a packet that begins with ``head``, and the length of its byte-order mark.

    None where more bytes are needed and may come. Raises ``PacketError``: what begins so is no packet.
    """
    if head and head[0] not in _FIRST:
        raise PacketError(Number.NOT_XML, "this is not an XML command packet: it does not begin with <")
    if len(head) < 4 and not complete:
        return None
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding, len(mark)
    if len(head) >= 2 and 0 in head[:2]:
        return _without_mark(head), 0
    return _declared(head, complete)


def _without_mark(head: bytes) -> str:
    if head[1] == 0 and head[0] in b"<" + _WHITE:
        return "utf-16-le"
    if head[0] == 0 and head[1] in b"<" + _WHITE:
        return "utf-16-be"
    raise PacketError(Number.NOT_XML, "this is not an XML command packet: it does not begin with <")


def _declared(head: bytes, complete: bool) -> tuple[str, int] | None:
    text = head[:DECLARATION_BYTES].lstrip(_WHITE)
    if text[:5] != b"<?xml"[: len(text[:5])]:
        return "utf-8", 0
    if b">" not in text and len(head) < DECLARATION_BYTES and not complete:
        return None
    found = _DECLARED.match(text)
    if found is None:
        return "utf-8", 0
    name = found[1].decode("ascii").lower()
    if name.startswith(("utf-16", "utf16", "ucs-2", "ucs2", "unicode", "iso-10646")):
        # Declared for the two-byte form and then sent as single bytes: its first bytes say so.
        return "utf-8", 0
    try:
        usable = _ASCII.decode(name) == _ASCII.decode("ascii")
    except (LookupError, ValueError):
        usable = False
    if not usable:
        raise PacketError(Number.ENCODING, f"the packet's encoding {name!r} is not known here")
    return name, 0
