"""A packet read as its bytes arrive; it is complete with its root element's end tag.

expat parses, not lxml: libxml2 keeps every name of an element or attribute that it has ever seen, until the process
ends, and its Python side takes the interpreter's lock anew for each element.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from xml.parsers import expat

from pfserver.numbers import Number
from pfserver.wire.pageflex.encodings import sniff
from pfserver.wire.pageflex.errors import PacketError
from pfserver.wire.pageflex.packet import BLOCKS, NAMESPACE, ROOTS, VARIABLES, Limits, Packet

#: The longest XML declaration; it is taken away, since clients send malformed ones (``<?xml version="1.0">``).
DECLARATION_LENGTH = 512


def _expat_holds_back() -> bool:
    """Whether this expat waits with a tag that came in two pieces until there is more, and cannot be told not to.

    That came with version 2.6, and with the corrections that distributions made to earlier ones: so it is tried.
    """
    begun: list[str] = []
    parser: Any = expat.ParserCreate()
    if hasattr(parser, "SetReparseDeferralEnabled"):
        return False
    parser.StartElementHandler = lambda tag, attributes: begun.append(tag)
    parser.Parse(b"<a><a-tag-that-comes-in-two-pieces", False)
    parser.Parse(b">", False)
    return len(begun) < 2


_HOLDS_BACK = _expat_holds_back()

#: What expat says of a text that may yet become XML.
_INCOMPLETE = {
    expat.errors.codes[text]
    for text in (
        expat.errors.XML_ERROR_NO_ELEMENTS,
        expat.errors.XML_ERROR_UNCLOSED_TOKEN,
        expat.errors.XML_ERROR_PARTIAL_CHAR,
        expat.errors.XML_ERROR_UNCLOSED_CDATA_SECTION,
    )
}

#: The end of a packet, that of one that has no elements, and where they are looked for.
_END = re.compile(r"job_command\s*>\s*\Z")
_END_OF_ROOT = re.compile(r"(job_command\s*|/)>\s*\Z")
_END_LENGTH = 256


class PacketReader:
    """Bytes of one connection to the one packet that they begin with."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._size = 0
        self._head: bytes | None = b""
        self._prolog: str | None = ""
        self._decoder: codecs.IncrementalDecoder | None = None
        self._target = _Target(self._limits)
        self._parser = _parser_of(self._target)
        # All of the text, where expat may hold back a tag until there is more to read than is to come.
        self._text: list[str] | None = [] if _HOLDS_BACK else None
        self._tail = ""
        # So many characters may be parsed once more: whoever sends what looks like an end again and again has to wait
        # for the time-out with it.
        self._again = self._limits.packet_bytes

    def feed(self, data: bytes) -> Packet | None:
        """Take bytes as they come; gives the packet once it is complete and ignores what follows.

        Raises ``PacketError`` as soon as it is clear that this will be none.
        """
        if self._size + len(data) > self._limits.packet_bytes:
            # The packet may be complete within the limit, followed by what is to be ignored.
            packet = self._take(data[: self._limits.packet_bytes - self._size], last=False)
            if packet is not None:
                return packet
            raise PacketError(Number.TOO_LARGE, f"the packet is larger than {self._limits.packet_bytes} bytes")
        self._size += len(data)
        return self._take(data, last=False)

    def at_eof(self) -> Packet:
        """The client has closed its side. Raises ``PacketError`` unless the packet is complete."""
        packet = self._take(b"", last=True)
        if packet is not None:
            return packet
        try:
            self._parser.Parse(b"", True)
        except expat.ExpatError as error:
            if error.code not in _INCOMPLETE and self._target.packet is None:
                raise _not_xml(error) from error
        if self._target.packet is None:
            raise PacketError(Number.TRUNCATED, "the connection was closed before the packet was complete")
        return self._target.packet

    def _take(self, data: bytes, *, last: bool) -> Packet | None:
        if self._head is not None:
            self._head += data
            if not self._head and last:
                return None
            sniffed = sniff(self._head, complete=last)
            if sniffed is None:
                return None
            encoding, mark = sniffed
            self._decoder = codecs.getincrementaldecoder(encoding)("strict")
            data, self._head = self._head[mark:], None
        assert self._decoder is not None
        try:
            text, fault = self._decoder.decode(data, last), None
        except UnicodeDecodeError as error:
            # What does not fit may lie behind the packet.
            text, fault = error.object[: error.start].decode(error.encoding, "ignore"), error
        packet = self._parse(self._without_declaration(text, last))
        if packet is None and fault is not None:
            raise PacketError(Number.ENCODING, "the packet's bytes do not fit its encoding") from fault
        return packet

    def _without_declaration(self, text: str, last: bool) -> str:
        """Blank the XML declaration out, so that errors name the right line and column."""
        if self._prolog is None:
            return text
        self._prolog += text
        begin = self._prolog.lstrip()
        if not begin:
            self._prolog = ""
            return ""
        if begin[:5] != "<?xml"[: len(begin)]:
            text, self._prolog = self._prolog, None
            if begin[0] != "<":
                raise PacketError(Number.NOT_XML, "this is not an XML command packet: it does not begin with <")
            return text
        end = begin.find(">")
        if (end < 0 and len(begin) >= DECLARATION_LENGTH) or begin[5:6].isalnum():
            raise PacketError(Number.NOT_XML, "the packet's XML declaration has no end")
        if end < 0:
            return ""
        cut = len(self._prolog) - len(begin) + end + 1
        declaration, text = self._prolog[:cut], self._prolog[cut:]
        self._prolog = None
        return "\n".join([" " * len(line) for line in declaration.split("\n")]) + text

    def _parse(self, text: str) -> Packet | None:
        if not text:
            return self._target.packet
        try:
            self._parser.Parse(text.encode("utf-8"), False)
        except expat.ExpatError as error:
            if self._target.packet is None:
                raise _not_xml(error) from error
        except UnicodeError as error:
            raise PacketError(Number.ENCODING, "the packet holds half a surrogate pair") from error
        if self._target.packet is None and self._text is not None:
            self._text.append(text)
            self._tail = (self._tail + text)[-_END_LENGTH:]
            end = _END if self._target.begun else _END_OF_ROOT
            if self._again > 0 and end.search(self._tail):
                whole = "".join(self._text)
                self._text = [whole]
                self._again -= len(whole)
                return self._parse_all(whole)
        return self._target.packet

    def _parse_all(self, text: str) -> Packet | None:
        """The packet, if all of the text is one; what looks like its end may stand in a comment."""
        target = _Target(self._limits)
        with suppress(expat.ExpatError):
            _parser_of(target).Parse(text.encode("utf-8"), True)
        return target.packet


def _parser_of(target: _Target) -> Any:
    parser: Any = expat.ParserCreate("utf-8", "}")
    parser.buffer_text = True
    parser.StartElementHandler = target.start
    parser.EndElementHandler = target.end
    parser.CharacterDataHandler = target.data
    parser.StartDoctypeDeclHandler = target.doctype
    if hasattr(parser, "SetReparseDeferralEnabled"):
        parser.SetReparseDeferralEnabled(False)
    return parser


class _Target:
    """What the parser calls; keeps the packet's variables and looks at its limits."""

    def __init__(self, limits: Limits) -> None:
        self.packet: Packet | None = None
        self._limits = limits
        self._depth = 0
        self._count = 0
        self._root: Mapping[str, str] = {}
        self._variables: dict[str, dict[str, str]] = {"job_variables": {}, "doc_variables": {}}
        self._block = ""
        self._name: str | None = None
        self._text: list[str] = []

    @property
    def begun(self) -> bool:
        """Whether the root element has begun."""
        return self._depth > 0

    def doctype(self, *_what: object) -> None:
        raise PacketError(Number.DOCTYPE, "the packet holds a DOCTYPE, which is refused")

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        self._depth += 1
        if self._depth == 1:
            self._begin(tag, attributes)
        elif self._depth > self._limits.depth:
            raise PacketError(Number.TOO_DEEP, f"the packet's elements are nested deeper than {self._limits.depth}")
        elif self._depth == 2:
            self._block = BLOCKS.get(tag, "")
        elif self._depth == 3 and self._block and tag in VARIABLES:
            self._variable(attributes)

    def data(self, text: str) -> None:
        if self._name is not None and self._depth == 3:
            self._text.append(text)

    def end(self, tag: str) -> None:
        if self._depth == 3 and self._name is not None:
            self._variables[self._block][self._name] = "".join(self._text)
            self._name = None
        self._depth -= 1
        if self._depth == 0 and self.packet is None:
            self.packet = Packet(
                command=self._root.get("name", ""),
                project_type=self._root.get("project_type", ""),
                job_variables=self._variables["job_variables"],
                document_variables=self._variables["doc_variables"],
            )

    def _begin(self, tag: str, attributes: Mapping[str, str]) -> None:
        if tag not in ROOTS:
            raise PacketError(Number.WRONG_ROOT, f"the packet's root element is not job_command in {NAMESPACE}")
        self._root = dict(attributes)

    def _variable(self, attributes: Mapping[str, str]) -> None:
        self._count += 1
        if self._count > self._limits.variables:
            raise PacketError(Number.TOO_MANY_VARIABLES, f"the packet has more than {self._limits.variables} variables")
        name = attributes.get("name", "").strip()
        if not name:
            raise PacketError(Number.BAD_VARIABLE, "a variable in the packet has no name")
        self._name = name
        self._text = []


def _not_xml(error: expat.ExpatError) -> PacketError:
    where = f"{expat.ErrorString(error.code)}, line {error.lineno}, column {error.offset + 1}"
    return PacketError(Number.NOT_XML, f"the packet is not well-formed XML: {where}")
