"""The methods of the API as a table: name, signature, help. Introspection and the pages are made from it."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from attrs import field, frozen

from pfserver.frontends.http.exchange import Exchange, Upload
from pfserver.frontends.http.identity import Caller
from pfserver.wire.xmlrpc import BAD_PARAMS, NO_SUCH_METHOD, DocumentPath, Fault, Value

_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "int": (int,),
    "boolean": (bool,),
    "double": (float, int),
    "struct": (Mapping,),
    "array": (list,),
    "dateTime.iso8601": (datetime,),
    "base64": (bytes,),
    "document": (Upload,),
}


def _nothing() -> None:
    return


@frozen
class Context:
    """What a method knows of its call besides the parameters."""

    caller: Caller
    exchange: Exchange


@frozen
class Delivery:
    """A value whose document is read while it is sent.

    :param progressed: called when the peer has taken a piece.
    :param delivered: called when all is sent.
    :param undelivered: called where the peer was gone before that.
    """

    value: Value
    close: Callable[[], None]
    progressed: Callable[[], None] = _nothing
    delivered: Callable[[], None] = _nothing
    undelivered: Callable[[], None] = _nothing


@frozen
class Idle:
    """Nothing to do: an empty struct, and the same again as long as ``still`` says so, which counts the poll then."""

    still: Callable[[], bool]


@frozen(kw_only=True)
class Method:
    """A method. ``signature`` is the type of its result, then those of its parameters."""

    name: str
    signature: tuple[str, ...]
    function: Callable[..., Awaitable[Value | Delivery | Idle]]
    document: DocumentPath = ()
    """Where a document stands: the parameter's index, then names."""
    right: str = ""
    """What its caller needs the right to, where nothing of the document is taken from others."""
    help: str = field(default="")

    def check(self, params: Sequence[Value]) -> None:
        """Raises ``Fault`` where the parameters do not fit the signature."""
        wanted = self.signature[1:]
        if len(params) != len(wanted):
            raise Fault(BAD_PARAMS, f"{self.name} takes {len(wanted)} parameters, not {len(params)}")
        for index, (param, name) in enumerate(zip(params, wanted, strict=True)):
            good = isinstance(param, _TYPES[name])
            if not good or (isinstance(param, bool) and name != "boolean"):
                raise Fault(BAD_PARAMS, f"parameter {index + 1} of {self.name} must be a {name}")


class Registry:
    """All methods, by name."""

    def __init__(self) -> None:
        self._methods: dict[str, Method] = {}
        self.add("system.listMethods", ("array",), self._list)
        self.add("system.methodHelp", ("string", "string"), self._help)
        self.add("system.methodSignature", ("array", "string"), self._signature)

    def add(
        self,
        name: str,
        signature: tuple[str, ...],
        function: Callable[..., Awaitable[Value | Delivery | Idle]],
        document: DocumentPath = (),
        right: str = "",
    ) -> None:
        """Add a method; its help is the function's docstring."""
        text = inspect.cleandoc(function.__doc__ or "")
        self._methods[name] = Method(
            name=name, signature=signature, function=function, document=document, right=right, help=text
        )

    @property
    def methods(self) -> Sequence[Method]:
        """All of them, by name."""
        return [self._methods[name] for name in sorted(self._methods)]

    @property
    def documents(self) -> frozenset[DocumentPath]:
        """Where documents stand in calls."""
        return frozenset((method.name, *method.document) for method in self._methods.values() if method.document)

    def method(self, name: str) -> Method:
        """A method. Raises ``Fault``."""
        try:
            return self._methods[name]
        except KeyError:
            raise Fault(NO_SUCH_METHOD, f"there is no method {name[:100]!r}") from None

    async def _list(self, _context: Context) -> Value:
        """The names of all methods."""
        return [method.name for method in self.methods]

    async def _help(self, _context: Context, name: str) -> Value:
        """What a method does."""
        return self.method(name).help

    async def _signature(self, _context: Context, name: str) -> Value:
        """An array of the method's signatures: the type of its result, then those of its parameters."""
        types = ["string" if one == "document" else one for one in self.method(name).signature]
        return [types]


def member(struct: Mapping[str, Any], name: str, kind: type | tuple[type, ...], default: Any = None) -> Any:
    """A member of a struct that a peer has sent. Raises ``Fault`` where it has another type, or is missing."""
    value = struct.get(name, default)
    if value is None:
        raise Fault(BAD_PARAMS, f"{name} is missing")
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is int):
        raise Fault(BAD_PARAMS, f"{name} has the wrong type")
    return value


def expect_members(struct: Mapping[str, Any], known: Sequence[str]) -> None:
    """Raises ``Fault`` where a struct has a member that is not known: it was meant to do something."""
    for name in struct:
        if name not in known:
            raise Fault(BAD_PARAMS, f"{name[:40]!r} is not one of {', '.join(known)}")
