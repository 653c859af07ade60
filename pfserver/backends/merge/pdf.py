"""Splits and joins PDF files as Typst writes them, many times quicker than a general PDF library could.

What makes it quick is what such files are: a classic cross-reference table, one flat list of pages, no object streams,
and one structure element *Document* that holds all others. A file that is anything else raises :class:`UnknownShape`,
and the caller compiles each record by itself instead.

Splitting copies objects byte for byte under their old numbers: a cross-reference table may have gaps, and a reference
into a gap means null (PDF 32000-1, 7.3.10 and 7.5.4). Joining moves the numbers of each part by a distance. Both keep
tags.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from attrs import frozen

_REFERENCE = re.compile(rb"(\d+) 0 R\b")
_STRING = rb"\((?:[^()\\]|\\.|\((?:[^()\\]|\\.|\([^()]*\))*\))*\)"
#: A literal string (left alone), the key of a structure parent, or a number that names an object.
MOVED = re.compile(_STRING + rb"|(/StructParents? )(\d+)|(\d+)( 0 (?:R|obj)\b)", re.DOTALL)
_PARENT_KEY = re.compile(rb"/StructParents? (\d+)")
OBJECT = re.compile(rb"(\d+) 0 obj\b")

HEADER = b"%PDF-1.7\n%\x80\x80\x80\x80\n\n"


class UnknownShape(Exception):
    """The file is not as Typst writes simple documents."""


@frozen
class Bookmark:
    """An outline entry of a joined file: ``page`` counts from 0 through all parts."""

    title: str
    page: int


class TypstPdf:
    """A PDF file from Typst, its objects found and nothing else parsed."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._find_objects()
        self.catalog = self.body(self.root)
        self.pages_root = self._number(self.catalog, rb"/Pages (\d+) 0 R")
        self.pages = [int(number) for number in _REFERENCE.findall(self.array(self.body(self.pages_root), b"/Kids"))]
        if b"/Type/Pages" in b"".join(self.body(page)[:200] for page in self.pages[:1]):
            raise UnknownShape("nested page tree")
        self._find_structure()

    def body(self, number: int) -> bytes:
        """An object with its ``obj`` and ``endobj``."""
        try:
            return self.data[self._offsets[number] : self._ends[number]]
        except KeyError:
            raise UnknownShape(f"no object {number}") from None

    def numbers(self) -> Iterable[int]:
        """All objects, in the order in which they lie in the file."""
        return self._ends

    def split(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """A file for each range of pages, from the first to before the second, counted from 0."""
        if b"/Outlines" in self.catalog or b"/PageLabels" in self.catalog or b"/Names" in self.catalog:
            raise UnknownShape("the document has bookmarks, page labels or names")
        splitter = _Splitter(self)
        return [splitter.part(first, end) for first, end in ranges]

    def _find_objects(self) -> None:
        data = self.data
        start = re.search(rb"startxref\s+(\d+)\s+%%EOF\s*$", data[-64:])
        if start is None:
            raise UnknownShape("no cross-reference table")
        table = data[int(start[1]) :]
        head = re.match(rb"xref\s+0 (\d+)\s+", table)
        trailer = re.search(rb"trailer\s*<<(.*?)>>\s*startxref", table, re.DOTALL)
        if head is None or trailer is None:
            raise UnknownShape("no classic cross-reference table")
        self.trailer = trailer[1]
        self.root = self._number(self.trailer, rb"/Root (\d+) 0 R")
        self.size = int(head[1])
        entries = table[head.end() : head.end() + 20 * self.size]
        self._offsets = {n: int(entries[20 * n : 20 * n + 10]) for n in range(1, self.size)}
        order = sorted(self._offsets.items(), key=lambda item: item[1])
        ends = [offset for _, offset in order[1:]] + [int(start[1])]
        self._ends = {number: end for (number, _), end in zip(order, ends, strict=True)}

    def _find_structure(self) -> None:
        match = re.search(rb"/StructTreeRoot (\d+) 0 R", self.catalog)
        self.tree = int(match[1]) if match else 0
        self.document = 0
        self.parents: dict[int, int] = {}
        self.role_map = b""
        if not self.tree:
            return
        body = self.body(self.tree)
        top = _REFERENCE.findall(self.array(body, b"/K"))
        if len(top) != 1 or b"/IDTree" in body or b"/Kids" in body:
            raise UnknownShape("an unusual structure tree")
        self.document = int(top[0])
        nums = self.array(body, b"/Nums")
        self.parents = {int(key): int(value) for key, value in re.findall(rb"(\d+) (\d+) 0 R", nums)}
        roles = re.search(rb"/RoleMap<<(.*?)>>", body, re.DOTALL)
        self.role_map = roles[1] if roles else b""

    def _number(self, text: bytes, pattern: bytes) -> int:
        match = re.search(pattern, text)
        if match is None:
            raise UnknownShape("a part is missing")
        return int(match[1])

    def array(self, text: bytes, key: bytes) -> bytes:
        """What stands between the brackets behind a key."""
        match = re.search(re.escape(key) + rb"\s*\[([^\]]*)\]", text)
        if match is None:
            raise UnknownShape(f"no {key.decode()}")
        return match[1]


class _Splitter:
    """Cuts ranges of pages out of one file."""

    def __init__(self, pdf: TypstPdf) -> None:
        self._pdf = pdf
        self._references: dict[int, list[int]] = {}
        #: Never copied as they are: the page tree, the structure's top, and whatever stands for the whole document.
        self._replaced = {pdf.pages_root, pdf.tree, pdf.document, pdf.root}
        self._all_pages = frozenset(pdf.pages)
        self._top: list[int] = []
        if pdf.document:
            self._document = pdf.body(pdf.document)
            self._top = [int(number) for number in _REFERENCE.findall(pdf.array(self._document, b"/K"))]
        self._shared = self._closure(
            [int(number) for number in _REFERENCE.findall(pdf.catalog + pdf.trailer)], self._all_pages
        )

    def part(self, first: int, end: int) -> bytes:
        pdf = self._pdf
        pages = pdf.pages[first:end]
        others = self._all_pages.difference(pages)
        numbers = self._closure(pages, others)
        keys = sorted({int(key) for number in numbers for key in self._parent_keys(number) if int(key) in pdf.parents})
        numbers |= self._closure([pdf.parents[key] for key in keys], others)
        kids = b" ".join(b"%d 0 R" % page for page in pages)
        written = {
            **{number: pdf.body(number) for number in sorted(numbers | self._shared)},
            pdf.pages_root: b"%d 0 obj\n<</Type/Pages/Count %d/Kids[%s]>>\nendobj\n\n"
            % (pdf.pages_root, len(pages), kids),
            pdf.root: pdf.catalog,
        }
        if pdf.tree:
            top = b" ".join(b"%d 0 R" % number for number in self._top if number in numbers)
            document = re.sub(rb"/K\s*\[[^\]]*\]", b"/K[%s]" % top, self._document, count=1)
            nums = b" ".join(b"%d %d 0 R" % (key, pdf.parents[key]) for key in keys)
            tree = b"%d 0 obj\n<</Type/StructTreeRoot/RoleMap<<%s>>/K[%d 0 R]/ParentTree<</Nums[%s]>>" % (
                pdf.tree,
                pdf.role_map,
                pdf.document,
                nums,
            )
            written[pdf.document] = document
            written[pdf.tree] = tree + b"/ParentTreeNextKey %d>>\nendobj\n\n" % (keys[-1] + 1 if keys else 0)
        return write_file(written, pdf.trailer)

    def _closure(self, numbers: Iterable[int], stop: Iterable[int]) -> set[int]:
        """Everything that is reached from some objects without passing through others."""
        seen = set(self._replaced)
        seen.update(stop)
        reached: set[int] = set()
        work = [number for number in numbers if number not in seen]
        while work:
            number = work.pop()
            if number in seen:
                continue
            seen.add(number)
            reached.add(number)
            work += self._refer(number)
        return reached

    def _refer(self, number: int) -> list[int]:
        found = self._references.get(number)
        if found is None:
            found = [int(other) for other in _REFERENCE.findall(_without_stream(self._pdf.body(number)))]
            self._references[number] = found
        return found

    def _parent_keys(self, number: int) -> list[bytes]:
        body = self._pdf.body(number)
        return _PARENT_KEY.findall(_without_stream(body)) if b"/StructParent" in body[:4096] else []


def _without_stream(body: bytes) -> bytes:
    end = body.find(b"stream\n")
    return body if end < 0 else body[:end]


def write_file(objects: dict[int, bytes], trailer: bytes) -> bytes:
    """A file of objects under their numbers; the trailer's ``/Size`` is set right."""
    pieces = [HEADER]
    position = len(HEADER)
    entries: dict[int, int] = {}
    for number, body in objects.items():
        entries[number] = position
        pieces.append(body)
        position += len(body)
    pieces += cross_references(entries, position, trailer)
    return b"".join(pieces)


def cross_references(entries: dict[int, int], position: int, trailer: bytes) -> list[bytes]:
    """The cross-reference table, in sections where numbers have gaps, and the trailer."""
    pieces = [b"xref\n0 1\n0000000000 65535 f\r\n"]
    run: list[bytes] = []
    begin = previous = -1
    for number in sorted(entries):
        if number != previous + 1 or not run:
            if run:
                pieces.append(b"%d %d\n%s" % (begin, len(run), b"".join(run)))
            run, begin = [], number
        run.append(b"%010d 00000 n\r\n" % entries[number])
        previous = number
    if run:
        pieces.append(b"%d %d\n%s" % (begin, len(run), b"".join(run)))
    trailer = re.sub(rb"/Size \d+", b"/Size %d" % (previous + 1), trailer)
    pieces.append(b"trailer\n<<%s>>\nstartxref\n%d\n%%%%EOF" % (trailer, position))
    return pieces
