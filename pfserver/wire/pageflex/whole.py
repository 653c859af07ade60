"""A packet that arrived in one piece, which nearly all do: three times as quick as one read as its bytes arrive.

What is unusual in it is left to the reader that says what is wrong, and where; so nothing is refused here.
"""

from __future__ import annotations

from typing import Any

from lxml import etree

from pfserver.wire.pageflex.packet import BLOCKS, ROOTS, VARIABLES, Limits, Packet

#: The largest packet that is tried as a whole: one that turns out not to be has been parsed for nothing.
WHOLE = 65_536

_PARSER = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=False)


def whole_packet(text: str, limits: Limits) -> Packet | None:
    """The packet in a text without XML declaration; None where it is not complete, or unusual in any way."""
    if len(text) > WHOLE or not text.rstrip().endswith(">") or "<!DOCTYPE" in text or limits.depth < 3:
        return None
    try:
        root: Any = etree.fromstring(text.lstrip().encode("utf-8"), _PARSER)
    except (etree.XMLSyntaxError, UnicodeError):
        return None
    if root.tag not in ROOTS:
        return None
    variables: dict[str, dict[str, str]] = {"job_variables": {}, "doc_variables": {}}
    count = 0
    for block in root:
        name = BLOCKS.get(block.tag)
        if name is None:
            return None
        into = variables[name]
        for variable in block:
            count += 1
            # Whatever stands inside of a variable parts its text.
            if variable.tag not in VARIABLES or len(variable) or count > limits.variables:
                return None
            key = variable.get("name", "").strip()
            if not key:
                return None
            into[key] = variable.text or ""
    return Packet(
        command=root.get("name", ""),
        project_type=root.get("project_type", ""),
        job_variables=variables["job_variables"],
        document_variables=variables["doc_variables"],
    )
