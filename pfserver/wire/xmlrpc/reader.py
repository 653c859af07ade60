"""XML-RPC messages from bytes as they arrive: expat below, a table of what may stand in what above.

Nothing that a peer sends can make it hold more than the limits: a document goes to its sink in pieces, everything else
of a message together is bounded, and so is what expat itself holds back of a token that does not end.
"""

from __future__ import annotations

import re
from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from math import isfinite
from typing import Any
from xml.parsers import expat

from attrs import define, field

from pfserver.wire.xmlrpc.base64stream import Base64Decoder
from pfserver.wire.xmlrpc.values import (
    BAD_PARAMS,
    NOT_A_CALL,
    NOT_WELL_FORMED,
    Call,
    Code,
    DocumentPath,
    Fault,
    Limits,
    Response,
    Sink,
    Value,
)

_LEAVES = frozenset({"string", "int", "i4", "i8", "boolean", "double", "dateTime.iso8601", "base64", "nil"})

#: Which elements may stand in which; "" is the message itself.
_CHILDREN: Mapping[str, frozenset[str]] = {
    "": frozenset({"methodCall", "methodResponse"}),
    "methodCall": frozenset({"methodName", "params"}),
    "methodResponse": frozenset({"params", "fault"}),
    "params": frozenset({"param"}),
    "param": frozenset({"value"}),
    "fault": frozenset({"value"}),
    "value": _LEAVES | {"struct", "array"},
    "struct": frozenset({"member"}),
    "member": frozenset({"name", "value"}),
    "array": frozenset({"data"}),
    "data": frozenset({"value"}),
}

#: Elements that may stand more than once in their parent.
_REPEATED = frozenset({"param", "member"})

#: Elements whose text counts; anywhere else only white space may stand.
_WITH_TEXT = _LEAVES | {"methodName", "name", "value"}

_METHOD = re.compile(r"[A-Za-z0-9_.:/]{1,200}")

_Handler = Callable[[], None]


@define
class _Element:
    """An open element and what was read of it."""

    tag: str
    text: list[str] = field(factory=list)
    seen: set[str] = field(factory=set)
    value: Any = None
    """param, value, fault, member: the value. params, data: a list. struct: a dict."""
    name: str | None = None
    """member: its name."""
    decoder: Base64Decoder | None = None
    """value: where the text goes if a document stands here."""


class Reader:
    """Reads one message.

    :param documents: where documents stand; their values are the sinks that they were written to, complete.
    :param open_sink: makes the sink of a document. The caller closes it, also when the reader has raised.
    :param limits: what is accepted.
    """

    def __init__(
        self,
        documents: Collection[DocumentPath] = (),
        open_sink: Callable[[], Sink] | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._documents = frozenset(documents) if open_sink is not None else frozenset()
        self._open_sink = open_sink
        self._limits = limits or Limits()
        self._method = ""
        self._path: list[str | int] = []
        self._stack = [_Element("")]
        self._decoder: Base64Decoder | None = None
        self._fault: Fault | None = None
        self._fed = 0
        self._document_began = 0
        self._document_bytes = 0
        self._last_event = 0
        self._parser = parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.buffer_size = 64 * 1024
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.StartDoctypeDeclHandler = self._doctype

    @property
    def method(self) -> str:
        """The method's name as soon as it was read, else ""."""
        return self._method

    def feed(self, data: bytes) -> None:
        """Take more bytes. Raises ``Fault``; then it raises the same again, whatever follows."""
        if not self._fed:
            data = data.lstrip(b" \t\r\n")
        if data:
            self._parse(data, final=False)

    def close(self) -> Call | Response | Fault:
        """The message is complete: what it says; a message that is a fault is returned. Raises ``Fault``."""
        self._parse(b"", final=True)
        root = self._stack[0].value
        assert isinstance(root, Call | Response | Fault)  # a complete, well-formed document has a checked root
        return root

    def _parse(self, data: bytes, *, final: bool) -> None:
        if self._fault is not None:
            raise self._fault
        before = self._fed
        self._fed += len(data)
        try:
            self._parser.Parse(data, final)
            self._check_sizes(before)
        except Fault as fault:
            self._fault = fault
            raise
        except expat.ExpatError as error:
            text = f"not well-formed: {expat.ErrorString(error.code)} at line {error.lineno}, column {error.offset + 1}"
            self._fault = Fault(NOT_WELL_FORMED, text)
        except (LookupError, ValueError, UnicodeError):
            # What expat's bridge says to an encoding that it does not know.
            self._fault = Fault(NOT_WELL_FORMED, "not well-formed: unknown encoding")
        if self._fault is not None:
            raise self._fault

    def _check_sizes(self, before: int) -> None:
        """Bound what is neither document nor markup around it, and a token that does not end."""
        if self._decoder is None:
            outside = self._fed - self._document_bytes
        else:
            outside = self._document_began - self._document_bytes + max(0, before - self._last_event)
        if outside > self._limits.outside:
            raise Fault(Code.TOO_LARGE, f"the message has more than {self._limits.outside} bytes beside its document")

    # -- what expat tells ------------------------------------------------------------------------

    def _doctype(self, *_arguments: object) -> None:
        raise Fault(NOT_WELL_FORMED, "a document type declaration is refused")

    def _start(self, tag: str, _attributes: Mapping[str, str]) -> None:
        self._last_event = self._parser.CurrentByteIndex
        parent = self._stack[-1]
        if len(self._stack) > self._limits.depth:
            raise Fault(NOT_A_CALL, f"elements are nested deeper than {self._limits.depth}")
        if tag not in _CHILDREN.get(parent.tag, ()):
            raise Fault(NOT_A_CALL, f"<{tag[:40]}> cannot stand {f'in <{parent.tag}>' if parent.tag else 'here'}")
        if tag in parent.seen and tag not in _REPEATED and parent.tag != "data":
            raise Fault(NOT_A_CALL, f"<{tag}> stands twice in <{parent.tag}>")
        parent.seen.add(tag)
        element = _Element(tag)
        self._stack.append(element)
        if tag in ("params", "data"):
            element.value = []
        elif tag == "struct":
            element.value = {}
        elif tag == "param":
            self._path.append(len(parent.value))
        elif tag == "value":
            self._start_value(parent, element)
        if parent.decoder is not None and tag not in ("string", "base64"):
            raise Fault(BAD_PARAMS, f"the document must be a string or base64, not <{tag}>")
        if parent.tag == "value":
            self._only_white_space(parent)

    def _start_value(self, parent: _Element, element: _Element) -> None:
        if parent.tag == "member":
            if parent.name is None:
                raise Fault(NOT_A_CALL, "<name> must stand before <value>")
            self._path.append(parent.name)
        elif parent.tag == "data":
            self._path.append(len(parent.value))
        if self._open_sink is not None and (self._method, *self._path) in self._documents:
            element.decoder = self._decoder = Base64Decoder(self._open_sink(), self._limits.document)
            self._document_began = self._parser.CurrentByteIndex

    def _characters(self, text: str) -> None:
        self._last_event = self._parser.CurrentByteIndex
        element = self._stack[-1]
        if self._decoder is not None:
            self._decoder.feed(text)
        elif element.tag in _WITH_TEXT:
            element.text.append(text)
        elif not text.isspace():
            raise Fault(NOT_A_CALL, f"text cannot stand in <{element.tag}>")

    def _end(self, tag: str) -> None:
        self._last_event = self._parser.CurrentByteIndex
        element = self._stack.pop()
        parent = self._stack[-1]
        if tag == "value":
            self._end_value(element, parent)
        elif tag in _LEAVES:
            parent.value = _leaf(tag, "".join(element.text)) if parent.decoder is None else None
        elif tag in ("struct", "array", "fault", "data"):
            parent.value = element.value
        elif tag == "param":
            self._needs(element, "value")
            parent.value.append(element.value)
            self._path.pop()
        elif tag == "name":
            parent.name = "".join(element.text)
            if parent.name in self._stack[-2].value:
                # The later one would win, and each document among them has been a file of its own.
                raise Fault(NOT_A_CALL, f"<struct> has two members {parent.name[:40]!r}")
        elif tag == "member":
            self._needs(element, "name", "value")
            parent.value[element.name] = element.value
        elif tag == "methodName":
            self._method = _method("".join(element.text))
        elif tag == "params":
            if parent.tag == "methodCall" and not self._method:
                raise Fault(NOT_A_CALL, "<methodName> must stand before <params>")
            parent.value = element.value
        else:
            parent.value = self._message(element)

    def _end_value(self, element: _Element, parent: _Element) -> None:
        value = element.value
        if element.decoder is not None:
            element.decoder.close()
            value = element.decoder.sink
            self._decoder = None
            self._document_bytes += self._parser.CurrentByteIndex - self._document_began
        elif not element.seen & _CHILDREN["value"]:
            value = "".join(element.text)
        else:
            self._only_white_space(element)
        if parent.tag in ("member", "data"):
            self._path.pop()
        if parent.tag == "data":
            parent.value.append(value)
        else:
            parent.value = value

    def _message(self, root: _Element) -> Call | Response | Fault:
        if root.tag == "methodCall":
            self._needs(root, "methodName")
            return Call(self._method, tuple(root.value or ()))
        if "fault" in root.seen:
            return _fault(root.value)
        values = root.value or [None]
        if len(values) != 1:
            raise Fault(NOT_A_CALL, "a response has one value")
        return Response(values[0])

    def _needs(self, element: _Element, *tags: str) -> None:
        for tag in tags:
            if tag not in element.seen:
                raise Fault(NOT_A_CALL, f"<{element.tag}> without <{tag}>")

    def _only_white_space(self, value: _Element) -> None:
        if value.text and not "".join(value.text).isspace():
            raise Fault(NOT_A_CALL, "text beside an element in <value>")
        value.text.clear()


def _method(text: str) -> str:
    name = text.strip()
    if _METHOD.fullmatch(name) is None:
        raise Fault(NOT_A_CALL, "the method's name is empty or holds characters that XML-RPC does not allow")
    return name


def _fault(value: Value) -> Fault:
    if isinstance(value, Mapping):
        code, text = value.get("faultCode"), value.get("faultString")
        if isinstance(code, int) and isinstance(text, str):
            return Fault(code, text)
    raise Fault(NOT_A_CALL, "a fault needs faultCode and faultString")


def _leaf(tag: str, text: str) -> Value:
    """The value of a typed element. Raises ``Fault``."""
    if tag == "string":
        return text
    try:
        return _CONVERTERS[tag](text.strip(" \t\r\n"))
    except (ValueError, Base64Error):
        raise Fault(BAD_PARAMS, f"{text.strip()[:40]!r} is not a value for <{tag}>") from None


_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")


def _integer(bits: int) -> Callable[[str], Value]:
    def convert(text: str) -> Value:
        if _INTEGER.fullmatch(text) is None or not -(2 ** (bits - 1)) <= int(text) < 2 ** (bits - 1):
            raise ValueError(text)
        return int(text)

    return convert


def _boolean(text: str) -> Value:
    if text not in ("0", "1"):
        raise ValueError(text)
    return text == "1"


def _double(text: str) -> Value:
    value = float(text)
    if not isfinite(value):
        raise ValueError(text)
    return value


def _nil(text: str) -> Value:
    if text:
        raise ValueError(text)
    return None


def _base64(text: str) -> Value:
    return a2b_base64(text.encode("ascii").translate(None, b" \t\r\n"), strict_mode=True) if text else b""


_CONVERTERS: Mapping[str, Callable[[str], Value]] = {
    "int": _integer(32),
    "i4": _integer(32),
    "i8": _integer(64),
    "boolean": _boolean,
    "double": _double,
    "dateTime.iso8601": lambda text: datetime.strptime(text, "%Y%m%dT%H:%M:%S"),
    "base64": _base64,
    "nil": _nil,
}
