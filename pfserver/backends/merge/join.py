"""Joins the parts of a run file: pages, tags, and a bookmark for each record. One part is in memory at a time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from pfserver.backends.merge.pdf import HEADER, MOVED, OBJECT, Bookmark, TypstPdf, cross_references


def join(parts: Sequence[Path], bookmarks: Sequence[Bookmark], target: Path) -> int:
    """Write the parts one behind the other into ``target``; gives the number of pages.

    The first part's metadata and catalog (language, output intent) stand for the whole. Raises ``UnknownShape``.
    """
    joined = _Joined(target)
    for path in parts:
        joined.add(TypstPdf(path.read_bytes()))
    return joined.finish(bookmarks)


class _Joined:
    """A growing file. Objects 1 to 4: the page tree's root, the structure's root and document, the outline's root."""

    PAGES, TREE, DOCUMENT, OUTLINES = 1, 2, 3, 4

    def __init__(self, target: Path) -> None:
        self._file = target.open("wb")
        self._file.write(HEADER)
        self._position = len(HEADER)
        self._entries: dict[int, int] = {}
        self._next = 5
        self._next_key = 0
        self._parts: list[tuple[int, int]] = []
        self._pages: list[int] = []
        self._documents: list[int] = []
        self._nums: list[bytes] = []
        self._roles: dict[bytes, None] = {}
        self._catalog = b""
        self._trailer = b""

    def add(self, pdf: TypstPdf) -> None:
        """Append one part."""
        distance = self._next - 1
        key_distance = self._next_key
        moved = {pdf.tree: self.DOCUMENT} if pdf.tree else {}

        def move(match: re.Match[bytes]) -> bytes:
            key, key_number, number, rest = match.groups()
            if number is not None:
                old = int(number)
                if old in moved and rest == b" 0 R":
                    return b"%d 0 R" % moved[old]
                return b"%d%s" % (old + distance, rest)
            if key is not None:
                return b"%s%d" % (key, int(key_number) + key_distance)
            return match[0]

        if not self._catalog:
            self._catalog = MOVED.sub(move, pdf.catalog)
            self._trailer = MOVED.sub(move, pdf.trailer)
            skipped = {pdf.root, pdf.tree}
        else:
            skipped = {pdf.root, pdf.tree, *_whole(pdf)}
        plain: list[bytes] = []
        for number in pdf.numbers():
            if number in skipped:
                continue
            body = pdf.body(number)
            if number == pdf.pages_root:
                parent = b"/Type/Pages/Parent %d 0 R" % self.PAGES
                self._write(MOVED.sub(move, body).replace(b"/Type/Pages", parent, 1))
                continue
            if number == pdf.document:
                body = body.replace(b"/S/Document", b"/S/Part", 1)
            stream = body.find(b"stream\n")
            if stream < 0:
                plain.append(body)
                continue
            # Numbers are moved in long pieces, for what costs is to begin.
            self._write(MOVED.sub(move, b"".join(plain)))
            plain.clear()
            self._write(MOVED.sub(move, body[:stream]), body[stream:])
        self._write(MOVED.sub(move, b"".join(plain)))
        self._parts.append((pdf.pages_root + distance, len(pdf.pages)))
        self._pages += [page + distance for page in pdf.pages]
        if pdf.tree:
            self._documents.append(pdf.document + distance)
            self._nums += [b"%d %d 0 R" % (key + key_distance, value + distance) for key, value in pdf.parents.items()]
            self._next_key += max(pdf.parents, default=-1) + 1
            self._roles.update(dict.fromkeys(re.findall(rb"/[^/\s]+/[^/\s]+", pdf.role_map)))
        self._next += pdf.size

    def finish(self, bookmarks: Sequence[Bookmark]) -> int:
        """Write what stands for the whole."""
        kids = b" ".join(b"%d 0 R" % number for number, _ in self._parts)
        self._object(self.PAGES, b"<</Type/Pages/Count %d/Kids[%s]>>" % (len(self._pages), kids))
        catalog = re.sub(rb"^\d+ 0 obj\s*|\s*endobj\s*$", b"", self._catalog)
        catalog = re.sub(rb"/Pages \d+ 0 R", b"/Pages %d 0 R" % self.PAGES, catalog)
        catalog = re.sub(rb"/(Outlines|PageLabels) \d+ 0 R", b"", catalog)
        if self._documents:
            kids = b" ".join(b"%d 0 R" % number for number in self._documents)
            self._object(self.DOCUMENT, b"<</Type/StructElem/S/Document/P %d 0 R/K[%s]>>" % (self.TREE, kids))
            self._object(self.TREE, self._tree())
            catalog = re.sub(rb"/StructTreeRoot \d+ 0 R", b"/StructTreeRoot %d 0 R" % self.TREE, catalog)
        if bookmarks:
            self._outline(bookmarks)
            catalog = catalog.replace(b"/Type/Catalog", b"/Type/Catalog/Outlines %d 0 R" % self.OUTLINES, 1)
        root = self._next
        self._object(root, catalog)
        trailer = re.sub(rb"/Root \d+ 0 R", b"/Root %d 0 R" % root, self._trailer)
        self._file.write(b"".join(cross_references(self._entries, self._position, trailer)))
        self._file.close()
        return len(self._pages)

    def _tree(self) -> bytes:
        return b"<</Type/StructTreeRoot/RoleMap<<%s>>/K[%d 0 R]/ParentTree<</Nums[%s]>>/ParentTreeNextKey %d>>" % (
            b"".join(self._roles),
            self.DOCUMENT,
            b" ".join(self._nums),
            self._next_key,
        )

    def _outline(self, bookmarks: Sequence[Bookmark]) -> None:
        first = self._next
        last = first + len(bookmarks) - 1
        self._next = last + 1
        for number, bookmark in enumerate(bookmarks, first):
            page = self._pages[bookmark.page]
            after = b"/Next %d 0 R" % (number + 1) if number < last else b""
            before = b"/Prev %d 0 R" % (number - 1) if number > first else b""
            title = b"<FEFF%s>" % bookmark.title.encode("utf-16-be", "replace").hex().upper().encode("ascii")
            entry = b"<</Parent %d 0 R%s%s/Title%s/Dest[%d 0 R/Fit]>>" % (self.OUTLINES, after, before, title, page)
            self._object(number, entry)
        count = (first, last, len(bookmarks))
        self._object(self.OUTLINES, b"<</Type/Outlines/First %d 0 R/Last %d 0 R/Count %d>>" % count)

    def _object(self, number: int, body: bytes) -> None:
        self._next = max(self._next, number + 1)
        self._write(b"%d 0 obj\n%s\nendobj\n\n" % (number, body))

    def _write(self, numbered: bytes, rest: bytes = b"") -> None:
        """Write objects and note where they begin; ``rest`` is the stream that belongs to the last of them."""
        position = self._position
        for match in OBJECT.finditer(numbered):
            if match.start() == 0 or numbered[match.start() - 1] in b"\n\r":
                self._entries[int(match[1])] = position + match.start()
        self._file.write(numbered)
        self._file.write(rest)
        self._position += len(numbered) + len(rest)


def _whole(pdf: TypstPdf) -> set[int]:
    """Objects that stand for a whole part: its metadata and information."""
    return {int(number) for number in re.findall(rb"/(?:Metadata|Info) (\d+) 0 R", pdf.catalog + pdf.trailer)}
