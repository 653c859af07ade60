"""A command packet as a value, the names of its elements, and what it may be at most."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

NAMESPACE = "http://www.pageflex.com/schemas"
OLDER_NAMESPACE = "http://www.pageflexinc.com/schemas"

#: The elements of a packet as the parser names them: namespace, ``}``, name.
ROOTS = frozenset({f"{NAMESPACE}}}job_command", f"{OLDER_NAMESPACE}}}job_command"})
BLOCKS = {
    f"{namespace}}}{name}": name
    for namespace in (NAMESPACE, OLDER_NAMESPACE)
    for name in ("job_variables", "doc_variables")
}
VARIABLES = frozenset({f"{NAMESPACE}}}var", f"{OLDER_NAMESPACE}}}var"})


@frozen(kw_only=True)
class Limits:
    """What one packet may be at most."""

    packet_bytes: int = 1 << 20
    """A job's variables fit many times; bulk data belongs into a data source."""
    depth: int = 8
    """Nested elements; a packet needs three."""
    variables: int = 10_000


@frozen(kw_only=True)
class Packet:
    """A well-formed packet; what it means is for :func:`command_of` to say."""

    command: str
    project_type: str = ""
    job_variables: Mapping[str, str] = field(factory=dict)
    document_variables: Mapping[str, str] = field(factory=dict)
