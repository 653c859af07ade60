"""Any value of the protocol, for property tests."""

from __future__ import annotations

from typing import Any

from attrs import fields
from hypothesis import strategies as st

from pfserver.wire.omi import Range, Reference, Request, RoutineReference
from pfserver.wire.omi.layout import LI, LS, NUMBERS, OPTIONAL_REFERENCE, RANGE, REFERENCE, ROUTINE, SI, SS
from pfserver.wire.omi.replies import _REPLIES, Done, WideReply
from pfserver.wire.omi.requests import REQUESTS

names = st.from_regex(rb"[A-Za-z%][A-Za-z0-9]{0,7}", fullmatch=True)
environments = st.binary(max_size=8)
references = st.builds(Reference, environments, names, st.lists(st.binary(max_size=20), max_size=5).map(tuple))
routines = st.builds(
    RoutineReference, environments, names, st.none() | st.lists(st.binary(max_size=20), max_size=4).map(tuple)
)
shorts, longs = st.integers(0, 255), st.integers(0, 65_535)

_OF_TYPE: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (SI, shorts),
    (LI, longs),
    (SS, st.binary(max_size=255)),
    (LS, st.binary(max_size=300)),
    (REFERENCE, references),
    (OPTIONAL_REFERENCE, st.none() | references),
    (ROUTINE, routines),
    (RANGE, st.builds(Range, longs, longs)),
    (NUMBERS, st.lists(longs, max_size=5).map(tuple)),
]


def values_of(kind: Any) -> st.SearchStrategy[Any]:
    """Any value of a class with a layout."""
    layout = {name: next(values for type_, values in _OF_TYPE if type_ is one) for name, one in kind.layout}
    assert set(layout) == {attribute.name for attribute in fields(kind)}, kind
    return st.builds(kind, **layout)


requests: st.SearchStrategy[Request] = st.one_of([values_of(kind) for kind in REQUESTS.values()])
replies = st.one_of([values_of(kind) for kind in {*_REPLIES.values(), Done, WideReply}])
