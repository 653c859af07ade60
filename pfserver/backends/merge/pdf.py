"""PDF files as Typst writes them, taken apart many times quicker than a general PDF library could.

What makes it quick is what such files are: a classic cross-reference table, one flat list of pages, no object streams,
generation 0 everywhere, and one structure element *Document* whose descendants lie in the file in the order of the
pages. A file that is anything else raises :class:`UnknownShape`, and the caller compiles each record by itself instead.

Numbers are replaced without parsing: a text is cut at ``" 0 R"``, and each piece but the last ends with a number.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property

_REFERENCE = re.compile(rb"(\d+) 0 R\b")
_STRING = rb"\((?:[^()\\]|\\.|\((?:[^()\\]|\\.|\((?:[^()\\]|\\.)*\))*\))*\)"
_PARENTHESES = re.compile(rb"\\.|[()]", re.DOTALL)
#: A string that looks as if it held a reference, or one with parentheses inside: they need a closer look.
_SUSPICIOUS = re.compile(rb"\\[()]|\([^()]*(?:\d 0 (?:R|obj)|\()", re.DOTALL)

_ELEMENT = b"obj\n<</Type/StructElem"
_PAGE_OF_ELEMENT = re.compile(rb"/Pg (\d+) 0 R")
_SUSPICIOUS_PAGE = re.compile(rb"\([^)]*/Pg |\\[()]")

_NO_LABEL = b"<</Type/PageLabel>>"
_LABEL_NUMBER = re.compile(rb"/St (\d+)")

_DIGITS = b"0123456789"

#: What in a catalog cannot be divided among records.
_WHOLE = re.compile(rb"/(?:AF|EmbeddedFiles|AcroForm|OpenAction|OCProperties|Threads|AA|Collection)\b")


#: What a structure tree has for all of its elements.
TREE_ENTRIES = re.compile(rb"/RoleMap<<.*?>>|/Namespaces\[.*?\]", re.DOTALL)


class UnknownShape(Exception):
    """The file is not as Typst writes simple documents."""


@contextmanager
def known_shape() -> Iterator[None]:
    """What is not found where it should be is a shape that was not thought of. Raises ``UnknownShape``."""
    try:
        yield
    except (LookupError, ValueError) as error:
        raise UnknownShape(f"something is missing: {error}") from error


class TypstPdf:
    """A PDF file from Typst: its objects found, and what divides it into records.

    :raises UnknownShape: from the constructor and from every method.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._find_objects()
        self.catalog = self.text(self.root)
        if _WHOLE.search(without_strings(self.catalog)):
            raise UnknownShape("something belongs to the whole document")
        self.pages_root = number(self.catalog, b"/Pages")
        self.pages = references(array(self.text(self.pages_root), b"/Kids"))
        if self.pages and b"/Type/Pages" in self.text(self.pages[0]):
            raise UnknownShape("nested page tree")
        self.page_index = {page: index for index, page in enumerate(self.pages)}
        self._find_structure()

    # -- objects --------

    def body(self, number: int) -> bytes:
        """An object with its ``obj`` and ``endobj``."""
        try:
            return self.data[self.offsets[number] : self.ends[number]]
        except IndexError:
            raise UnknownShape(f"no object {number}") from None

    def halves(self, number: int) -> tuple[bytes, bytes]:
        """An object without its number: its text, and from the stream or its end on."""
        body = self.body(number)
        begin = body.find(b"\n") + 1
        end = body.find(b"\nstream\n")
        if end < 0:
            end = body.rfind(b"\nendobj")
        return body[begin:end], body[end:]

    def text(self, number: int) -> bytes:
        """An object without its number, its stream and its end."""
        return self.halves(number)[0]

    def _find_objects(self) -> None:
        data = self.data
        start = re.search(rb"startxref\s+(\d+)\s+%%EOF\s*$", data[-64:])
        if start is None:
            raise UnknownShape("no cross-reference table")
        self.table_at = int(start[1])
        head = re.compile(rb"xref\s+0 (\d+)\s+").match(data, self.table_at)
        if head is None:
            raise UnknownShape("no classic cross-reference table")
        self.size = int(head[1])
        end = head.end() + 20 * self.size
        trailer = re.compile(rb"\s*trailer\s*<<(.*)>>\s*startxref", re.DOTALL).match(data, end)
        if trailer is None:
            raise UnknownShape("no trailer")
        self.trailer = trailer[1]
        self.root = number(self.trailer, b"/Root")
        self.offsets = [int(data[at : at + 10]) for at in range(head.end(), end, 20)]
        order = self._order = sorted(range(1, self.size), key=self.offsets.__getitem__)
        #: The version of PDF, and bytes that tell that the file is binary.
        self.header = data[: self.offsets[order[0]]] if order else b""
        if self.size < 3 or self.offsets[order[0]] < 9 or data[end - 3 : end - 2] != b"n":
            raise UnknownShape("objects are missing")
        #: Where each object ends: where the next one begins.
        self.ends = [0] * self.size
        for one, following in zip(order, [*order[1:], 0], strict=True):
            self.ends[one] = self.offsets[following] if following else self.table_at

    # -- structure --------

    def _find_structure(self) -> None:
        self.tree = number(self.catalog, b"/StructTreeRoot", missing=0)
        self.document = 0
        self.parents: dict[int, int] = {}
        self.names: dict[int, bytes] = {}
        self.children: list[int] = []
        if not self.tree:
            return
        text = self.text(self.tree)
        if b"/ParentTree" not in text:
            # Pages of nothing: there is nothing to be in an order.
            self.tree = 0
            return
        top = references(array(text, b"/K"))
        nums = array(text, b"/ParentTree<</Nums")
        if len(top) != 1:
            raise UnknownShape("an unusual structure tree")
        self.document = top[0]
        self.parents = {int(key): int(value) for key, value in re.findall(rb"(\d+) (\d+) 0 R", nums)}
        if b"/IDTree" in text:
            self.names = named(text, b"/IDTree<</Names")
        self.children = references(array(self.text(self.document), b"/K"))
        # Elements are written behind their own children: those of a record lie between two children of the document.
        if self.children != sorted(self.children) or (self.children and self.children[-1] >= self.document):
            raise UnknownShape("the structure is not in the order of the pages")

    @cached_property
    def first_element(self) -> int:
        """The lowest object number of a structure element."""
        begin = self.data.find(_ELEMENT)
        places = [self.offsets[one] for one in self._order]
        element = self._order[max(0, bisect_right(places, begin) - 1)]
        if self.data.count(_ELEMENT, begin, self.ends[self.document]) == self.document + 1 - element:
            # They lie behind one another, the document's the last: no need to look at each.
            return element
        element = self.document
        while element > 1 and self.body(element - 1).find(b"<</Type/StructElem", 0, 40) > 0:
            element -= 1
        return element

    @cached_property
    def child_pages(self) -> list[tuple[int, int]]:
        """For each child of the document, the first and the last page on which it has something."""
        found: list[tuple[int, int]] = []
        before = self.first_element - 1
        for child in self.children:
            blob = self.data[self.offsets[before + 1] : self.ends[child]]
            if b"(" in blob and _SUSPICIOUS_PAGE.search(blob):
                blob = without_strings(blob)
            pages = [self.page_index[int(page)] for page in set(_PAGE_OF_ELEMENT.findall(blob))]
            if not pages:
                raise UnknownShape("a part of the structure is on no page")
            found.append((min(pages), max(pages)))
            before = child
        firsts = [first for first, _ in found]
        if firsts != sorted(firsts):
            raise UnknownShape("the structure is not in the order of the pages")
        return found

    @cached_property
    def labels(self) -> list[bytes]:
        """The label of each page; empty where no page has one."""
        root = number(self.catalog, b"/PageLabels", missing=0)
        if not root:
            return []
        entries = re.findall(rb"(\d+) (\d+) 0 R", array(self.text(root), b"<</Nums"))
        known = {int(page): self.text(int(label)) for page, label in entries}
        found: list[bytes] = []
        label = _NO_LABEL
        for page in range(len(self.pages)):
            # Typst leaves away a number that is one less than the last, and means one more (0.15).
            label = known[page] if page in known else _stepped(label, -1)
            found.append(label)
        return found

    def elements(self, first: int, end: int) -> tuple[range, list[int]]:
        """The structure elements of the pages from ``first`` to before ``end``: all of them, and the topmost."""
        if not self.children:
            return range(0), []
        low, high = bisect_left(self.child_pages, (first,)), bisect_left(self.child_pages, (end,))
        if low == high:
            return range(0), []
        # What follows one another without a paragraph is one element, even of several records.
        if max(last for _, last in self.child_pages[low:high]) >= end:
            raise UnknownShape("a part of the structure belongs to two ranges of pages")
        begin = self.children[low - 1] + 1 if low else self.first_element
        return range(begin, self.children[high - 1] + 1), self.children[low:high]


# -- pieces of text --------


def _stepped(label: bytes, by: int) -> bytes:
    """The label whose number is so much larger; one without a number stays as it is."""
    return _LABEL_NUMBER.sub(lambda match: b"/St %d" % (int(match[1]) + by), label)


def label_tree(labels: Sequence[bytes]) -> bytes:
    """The entry of a catalog for the labels of all pages, each written where it does not follow from the one before."""
    if not any(labels):
        return b""
    entries: list[bytes] = []
    following = b""
    for page, label in enumerate(labels):
        label = label or _NO_LABEL
        if label != following:
            entries.append(b"%d%s" % (page, label))
        following = _stepped(label, 1)
    return b"/PageLabels<</Nums[%s]>>" % b"".join(entries)


def number(text: bytes, key: bytes, missing: int | None = None) -> int:
    """The object that a key refers to."""
    match = re.search(re.escape(key) + rb" (\d+) 0 R\b", text)
    if match is not None:
        return int(match[1])
    if missing is None:
        raise UnknownShape(f"no {key.decode()}")
    return missing


def array(text: bytes, key: bytes) -> bytes:
    """What stands between the brackets behind a key; arrays inside of it are not known."""
    begin = text.find(key + b"[")
    end = text.find(b"]", begin)
    if begin < 0 or end < 0:
        raise UnknownShape(f"no {key.decode()}")
    return text[begin + len(key) + 1 : end]


def references(text: bytes) -> list[int]:
    """The objects that a text refers to, in order; strings are looked over."""
    if b"(" in text and _SUSPICIOUS.search(text):
        text = without_strings(text)
    return [int(found) for found in _REFERENCE.findall(text)]


def _strings(text: bytes) -> Iterator[tuple[int, int]]:
    """Where the strings of a text begin and end; they may have parentheses inside of one another."""
    depth = begin = 0
    for match in _PARENTHESES.finditer(text):
        if match[0] == b"(":
            begin = begin if depth else match.start()
            depth += 1
        elif match[0] == b")":
            depth -= 1
            if depth == 0:
                yield begin, match.end()
    if depth:
        raise UnknownShape("a string without an end")


def divided(text: bytes) -> Iterator[tuple[bytes, bytes]]:
    """A text as what lies outside of its strings, each piece with the string that follows it; the last with none."""
    at = 0
    for begin, end in _strings(text) if b"(" in text else ():
        yield text[at:begin], text[begin:end]
        at = end
    yield text[at:], b""


def without_strings(text: bytes) -> bytes:
    """A text without its strings."""
    pieces, at = [], 0
    for begin, end in _strings(text):
        pieces.append(text[at:begin])
        at = end
    return b"".join([*pieces, text[at:]])


def named(text: bytes, key: bytes) -> dict[int, bytes]:
    """A name tree of one level: the name of each object, with its parentheses."""
    begin = text.find(key + b"[")
    if begin < 0:
        raise UnknownShape(f"no {key.decode()}")
    result: dict[int, bytes] = {}
    entry = re.compile(rb"\s*(" + _STRING + rb"|<[0-9A-Fa-f]*>)\s*(\d+) 0 R", re.DOTALL)
    at = begin + len(key) + 1
    while match := entry.match(text, at):
        result[int(match[2])] = match[1]
        at = match.end()
    if text[at : at + 1] != b"]":
        raise UnknownShape("a name tree of another kind")
    return result


def without(text: bytes, *keys: bytes) -> bytes:
    """A dictionary without some keys whose values are references or numbers."""
    return re.sub(rb"/(?:" + b"|".join(keys) + rb") \d+(?: 0 R)?\b", b"", text)


def renumber(text: bytes, table: Mapping[bytes, bytes]) -> bytes:
    """A text in which each reference is replaced: the table gives ``b"12 0 R"`` for ``b"7"``; what it lacks is null."""
    if b"(" in text and _SUSPICIOUS.search(text):
        pieces, at = [], 0
        for begin, end in _strings(text):
            pieces += [_renumber(text[at:begin], table), text[begin:end]]
            at = end
        return b"".join([*pieces, _renumber(text[at:], table)])
    return _renumber(text, table)


def _renumber(text: bytes, table: Mapping[bytes, bytes]) -> bytes:
    pieces = text.split(b" 0 R")
    last = pieces.pop()
    if not pieces:
        return text
    result: list[bytes] = []
    for piece in pieces:
        kept = piece.rstrip(_DIGITS)
        result += (kept, table.get(piece[len(kept) :], b"null"))
    result.append(last)
    return b"".join(result)


def cross_references(offsets: Sequence[int], position: int, trailer: bytes) -> bytes:
    """The table for objects 1 and up, and the trailer; an offset of 0 is an object that there is not."""
    lines = [b"xref\n0 %d\n0000000000 65535 f\r\n" % (len(offsets) + 1)]
    lines += [b"%010d 00000 n\r\n" % offset if offset else b"0000000000 65535 f\r\n" for offset in offsets]
    lines.append(b"trailer\n<</Size %d%s>>\nstartxref\n%d\n%%%%EOF" % (len(offsets) + 1, trailer, position))
    return b"".join(lines)
