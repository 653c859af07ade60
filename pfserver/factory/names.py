"""What a server says, made fit for file names and command lines: it may be anybody's server."""

from __future__ import annotations

import re

#: Bytes of a name. A disk takes 255; what is left is for suffixes, the programs' own among them.
LONGEST_NAME = 200

#: Characters of a suffix: there is none that is longer.
LONGEST_SUFFIX = 16

#: What nothing is called by: no shell, option parser or disk takes the rest amiss.
_STRANGE = re.compile(r"[^\w .()+-]")


def safe_name(text: str) -> str:
    """A text that is one file's name at most, and never an option; "" where nothing of it is left."""
    name = _STRANGE.sub("_", text).strip(" .-")
    # Disks count bytes; a character that the limit cuts goes whole.
    return name.encode("utf-8")[:LONGEST_NAME].decode("utf-8", "ignore").rstrip(" .-")


def safe_suffix(text: str) -> str:
    """A file's suffix without its dot, "bin" where the text is none."""
    return text if text.isascii() and text.isalnum() and len(text) <= LONGEST_SUFFIX else "bin"
