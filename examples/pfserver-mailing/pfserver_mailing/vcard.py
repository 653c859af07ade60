"""Records from address books: vCard files (RFC 6350), a record for each card."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from twisted.plugin import IPlugin
from zope.interface import implementer

from pfserver.errors import JobFailed
from pfserver.interfaces import IDataSourcePlugin
from pfserver.numbers import Number

#: Properties that become a column as they are, by their names in the file.
PLAIN = {"FN": "name", "EMAIL": "email", "TEL": "telephone", "ORG": "organization", "TITLE": "title", "NOTE": "note"}

#: The parts of an address, in their order (RFC 6350, 6.3.1).
ADDRESS = ("box", "extended", "street", "city", "region", "code", "country")

#: Every record has all of these, empty where a card says nothing.
COLUMNS = (*PLAIN.values(), *ADDRESS)

_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


@implementer(IPlugin, IDataSourcePlugin)
class VCardSource:
    """``.vcf`` files in UTF-8."""

    name = "vcard"

    def takes(self, source: str) -> bool:
        """See ``IDataSourcePlugin``."""
        return "://" not in source and source.lower().endswith(".vcf")

    @contextmanager
    def open(self, source: str, root: Path, options: Mapping[str, Any]) -> Iterator[Iterator[Mapping[str, Any]]]:
        """See ``IDataSourcePlugin``."""
        try:
            with Path(source).open(encoding="utf-8-sig") as file:
                yield records(file, Path(source).name)
        except (OSError, UnicodeDecodeError) as error:
            raise JobFailed(Number.DATA_SOURCE_BROKEN, f"{Path(source).name} cannot be read as UTF-8 text") from error

    def count(self, source: str, root: Path, options: Mapping[str, Any]) -> int | None:
        """See ``IDataSourcePlugin``."""
        with Path(source).open("rb") as file:
            return sum(line.strip().upper() == b"BEGIN:VCARD" for line in file)


def records(lines: Iterable[str], name: str) -> Iterator[Mapping[str, Any]]:
    """The records of a file's lines. Raises ``JobFailed`` with the line of what is wrong."""
    card: dict[str, Any] | None = None
    begun = 0
    for number, line in unfolded(lines):
        prop, value = split(line, number, name)
        if prop == "BEGIN" and value.upper() == "VCARD":
            if card is not None:
                raise broken(name, number, f"a card begins inside of the one of line {begun}")
            card, begun = dict.fromkeys(COLUMNS, ""), number
        elif card is None:
            raise broken(name, number, "there is something outside of a card")
        elif prop == "END":
            yield card
            card = None
        elif prop in PLAIN:
            # The first one is the preferred one, where nothing else is said.
            card[PLAIN[prop]] = card[PLAIN[prop]] or plain(value)
        elif prop == "ADR":
            parts = re.split(r"(?<!\\);", value)
            card.update({column: plain(part) for column, part in zip(ADDRESS, parts, strict=False)})
    if card is not None:
        raise broken(name, begun, "the card has no END:VCARD")


def unfolded(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Lines with their numbers; one that begins with a space goes on where the one before ended (RFC 6350, 3.2)."""
    held, begun = "", 0
    for number, line in enumerate(lines, 1):
        text = line.rstrip("\r\n")
        if text[:1] in (" ", "\t"):
            held += text[1:]
            continue
        if held.strip():
            yield begun, held
        held, begun = text, number
    if held.strip():
        yield begun, held


def split(line: str, number: int, name: str) -> tuple[str, str]:
    """``item1.EMAIL;TYPE=work:a@b.example`` as ``EMAIL`` and its value. Raises ``JobFailed``."""
    head, colon, value = line.partition(":")
    if not colon:
        raise broken(name, number, "the line is no property: it has no colon")
    return head.partition(";")[0].rpartition(".")[2].strip().upper(), value.strip()


def plain(value: str) -> str:
    """A value without its escapes."""
    return _ESCAPE.sub(lambda found: "\n" if found[1] in "nN" else found[1], value).strip()


def broken(name: str, line: int, text: str) -> JobFailed:
    """The job fails: its address book cannot be read."""
    return JobFailed(Number.DATA_SOURCE_BROKEN, f"{name}, line {line}: {text}")
