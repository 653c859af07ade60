"""A packet written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.sax.saxutils import escape, quoteattr

from pfserver.errors import BadVariable
from pfserver.wire.pageflex.packet import NAMESPACE

#: What XML 1.0 cannot hold.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

#: White space that a parser would change.
_KEPT = {"\r": "&#13;"}
_KEPT_IN_ATTRIBUTE = {"\r": "&#13;", "\n": "&#10;", "\t": "&#9;"}


def write_packet(
    command: str,
    job_variables: Mapping[str, str] | None = None,
    document_variables: Mapping[str, str] | None = None,
    *,
    encoding: str = "utf-16-le",
) -> bytes:
    """A packet as .NET clients send it: UTF-16LE without a mark, unless another encoding is asked for.

    Raises ``BadVariable`` for a character that XML cannot hold.
    """
    blocks = _block("job_variables", job_variables or {}) + _block("doc_variables", document_variables or {})
    name = quoteattr(_checked("the command", command), _KEPT_IN_ATTRIBUTE)
    declaration = "" if encoding in ("utf-8", "utf-16-le", "utf-16-be") else f' encoding="{encoding}"'
    return (
        f'<?xml version="1.0"{declaration}?>\n<?pf_command version="1.0"?>\n'
        f'<pfjob:job_command xmlns:pfjob="{NAMESPACE}" name={name}>\n{blocks}</pfjob:job_command>\n'
    ).encode(encoding, "xmlcharrefreplace")


def _block(tag: str, variables: Mapping[str, str]) -> str:
    if not variables:
        return ""
    lines = [
        f"<pfjob:var name={quoteattr(_checked('a variable name', name), _KEPT_IN_ATTRIBUTE)}>"
        f"{escape(_checked(name, value), _KEPT)}</pfjob:var>\n"
        for name, value in variables.items()
    ]
    return f"<pfjob:{tag}>\n{''.join(lines)}</pfjob:{tag}>\n"


def _checked(what: str, text: str) -> str:
    found = _FORBIDDEN.search(text)
    if found is not None:
        raise BadVariable(f"{what} holds the character U+{ord(found[0]):04X}, which XML cannot carry")
    return text
