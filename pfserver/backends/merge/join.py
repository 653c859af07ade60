"""Joins the parts of a run file: pages, tags, labels, and a bookmark a record. One part is in memory at a time."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import IO

from attrs import frozen

from pfserver.backends.merge.pdf import (
    TREE_ENTRIES,
    TypstPdf,
    array,
    cross_references,
    divided,
    known_shape,
    label_tree,
    named,
    number,
    references,
    renumber,
    without,
)

_END = b"\nendobj\n"
_NAME_OR_BRACKET = re.compile(rb"/ID<(?!<)|/Headers\[|\]|<<|<")
_XMP_PAGES = re.compile(rb"(?<=<xmpTPg:NPages>)\d+")
_PLAIN_STREAM = re.compile(rb"<</Length \d+/Filter/FlateDecode>>")

#: Texts of objects that are the same in every part: they are kept once, as streams are.
_SAME = (b"[/ICCBased ", b"<</Type/Namespace")


@frozen
class Bookmark:
    """An outline entry of a joined file: ``page`` counts from 0 through all parts."""

    title: str
    page: int


def join(parts: Sequence[Path], bookmarks: Sequence[Bookmark], target: Path) -> int:
    """Write the parts one behind the other into ``target``; gives the number of pages.

    The first part's metadata and catalog (language, output intent) stand for the whole; the parts' own bookmarks make
    room for those of the records. Pictures and colour profiles that several parts have are written once. Raises
    ``UnknownShape``.
    """
    with known_shape(), target.open("wb") as file:
        joined = _Joined(file)
        for path in parts:
            joined.add(TypstPdf(path.read_bytes()))
        joined.finish(bookmarks)
        return len(joined.pages)


class _Joined:
    """A growing file. The first objects stand for the whole: they are written last."""

    PAGES, TREE, DOCUMENT, OUTLINES, METADATA, CATALOG = range(1, 7)

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._position = 0
        self._offsets: list[int] = [0] * self.CATALOG
        self.pages: list[bytes] = []
        self._part = 0
        self._kids: list[bytes] = []
        self._children: list[bytes] = []
        self._nums: list[bytes] = []
        self._next_key = 0
        self._ids: list[tuple[bytes, bytes]] = []
        self._labels: list[bytes] = []
        self._targets: list[tuple[bytes, bytes]] = []
        self._known: dict[bytes, bytes] = {}
        self._catalog = self._tree = self._document = self._metadata = self._trailer = b""

    # -- parts --------

    def add(self, pdf: TypstPdf) -> None:
        """Append one part."""
        self._part += 1
        if self._part == 1:
            self._position = self._file.write(pdf.header)
        outlines = number(pdf.catalog, b"/Outlines", missing=0)
        labels = number(pdf.catalog, b"/PageLabels", missing=0)
        metadata = number(pdf.catalog, b"/Metadata", missing=0)
        information = number(pdf.trailer, b"/Info", missing=0) if self._part > 1 else 0
        skipped = {pdf.root, pdf.tree, pdf.document, pdf.pages_root, outlines, labels, metadata, information}
        texts: dict[int, bytes] = {}
        streams: dict[int, tuple[bytes, bytes]] = {}
        for old in range(1, pdf.size):
            if old in skipped:
                continue
            text, rest = pdf.halves(old)
            if rest.startswith(b"\nstream\n"):
                streams[old] = text, rest
            elif not (text.startswith(b"<</Type/PageLabel") or _is_bookmark(text)):
                texts[old] = text
        table = {b"%d" % pdf.document: b"%d 0 R" % self.DOCUMENT}
        again = self._known_already(texts, streams, table)
        for old in (pdf.pages_root, *texts, *streams):
            if b"%d" % old not in table:
                table[b"%d" % old] = b"%d 0 R" % self._allocate()
        self._write_texts(pdf, {old: text for old, text in texts.items() if old not in again}, table)
        for old, (text, rest) in streams.items():
            if old not in again:
                self._put(table[b"%d" % old], renumber(text, table) + rest)
        kids = renumber(array(pdf.text(pdf.pages_root), b"/Kids"), table)
        node = b"<</Type/Pages/Parent %d 0 R/Count %d/Kids[%s]>>" % (self.PAGES, len(pdf.pages), kids)
        self._put(table[b"%d" % pdf.pages_root], node + _END)
        self._note(pdf, table, metadata)

    def _known_already(
        self, texts: dict[int, bytes], streams: dict[int, tuple[bytes, bytes]], table: dict[bytes, bytes]
    ) -> set[int]:
        """Give what earlier parts have, too, its number there; page contents are not worth a look."""
        worth = {old: pair for old, pair in streams.items() if not _PLAIN_STREAM.fullmatch(pair[0])}
        order = [(old, *pair) for old, pair in worth.items() if b" 0 R" not in pair[0]]
        order += [(old, text, b"") for old, text in texts.items() if text.startswith(_SAME)]
        order += [(old, *pair) for old, pair in worth.items() if b" 0 R" in pair[0]]
        again: set[int] = set()
        for old, text, rest in order:
            if all(b"%d" % one in table for one in references(text)):
                key = hashlib.sha256(renumber(text, table) + rest).digest()
                if key in self._known:
                    again.add(old)
                else:
                    self._known[key] = b"%d 0 R" % self._allocate()
                table[b"%d" % old] = self._known[key]
        return again

    def _write_texts(self, pdf: TypstPdf, texts: dict[int, bytes], table: dict[bytes, bytes]) -> None:
        """Objects without streams: their references are replaced in one go, for what costs is to begin."""
        changed = [self._own(pdf, text) for text in texts.values()]
        renumbered = renumber(_END.join(changed), table).split(_END)
        if len(renumbered) != len(changed):
            renumbered = [renumber(text, table) for text in changed]
        for old, text in zip(texts, renumbered, strict=True):
            self._put(table[b"%d" % old], text + _END)

    def _own(self, pdf: TypstPdf, text: bytes) -> bytes:
        """A text with its structure keys moved behind those of the parts before, and its names made this part's."""
        if text.startswith(b"<</Type/Page/"):
            return re.sub(rb"/StructParents (\d+)", self._moved, text, count=1)
        if text.startswith(b"<</Type/Annot"):
            return b"".join(self._own_annotation(*pair) for pair in divided(text))
        if pdf.names and text.startswith(b"<</Type/StructElem") and (b"/ID" in text or b"/Headers[" in text):
            element = _OwnNames(self._mark)
            return b"".join(element.marked(*pair) for pair in divided(text))
        return text

    def _own_annotation(self, outside: bytes, string: bytes) -> bytes:
        outside = re.sub(rb"/F \d+/StructParent (\d+)", self._moved, outside, count=1)
        outside = re.sub(rb"(?<=\]/Dest)<(?!<)", self._mark(b"<"), outside, count=1)
        if string and outside.endswith(b"]/Dest"):
            string = self._mark(b"(") + string[1:]
        return outside + string

    def _moved(self, match: re.Match[bytes]) -> bytes:
        begin = match.start(1) - match.start()
        return match[0][:begin] + b"%d" % (int(match[1]) + self._next_key)

    def _mark(self, bracket: bytes) -> bytes:
        """The beginning of a name of this part, behind its bracket: names must be unique in the whole."""
        mark = b"%d-" % self._part
        return b"(" + mark if bracket == b"(" else b"<" + mark.hex().encode("ascii")

    def _note(self, pdf: TypstPdf, table: dict[bytes, bytes], metadata: int) -> None:
        """Remember what is written at the end for all parts together."""
        self._kids.append(table[b"%d" % pdf.pages_root])
        self._labels += pdf.labels or [b""] * len(pdf.pages)
        self.pages += [table[b"%d" % page] for page in pdf.pages]
        if pdf.tree:
            self._children += [table[b"%d" % child] for child in pdf.children]
            self._nums += [b"%d %s" % (key + self._next_key, table[b"%d" % one]) for key, one in pdf.parents.items()]
            self._next_key += max(pdf.parents, default=-1) + 1
            self._ids += [(self._mark(name[:1]) + name[1:], table[b"%d" % one]) for one, name in pdf.names.items()]
        if b"/Names" in pdf.catalog:
            names = named(pdf.catalog, b"/Names<</Dests<</Names")
            self._targets += [(self._mark(name[:1]) + name[1:], table[b"%d" % one]) for one, name in names.items()]
        if pdf.tree and not self._document:
            kept = b"".join(TREE_ENTRIES.findall(pdf.text(pdf.tree)))
            self._tree = renumber(kept, table)
            text = pdf.text(pdf.document)
            head = without(text[: text.index(b"/K[")], b"P")
            self._document = renumber(head, table) + b"/P %d 0 R" % self.TREE
        if self._part > 1:
            return
        keys = (b"Pages", b"Metadata", b"StructTreeRoot", b"Outlines", b"PageLabels")
        catalog = without(pdf.catalog, *keys).removesuffix(b">>").partition(b"/Names<<")[0]
        self._catalog = renumber(catalog, table)
        self._trailer = renumber(re.sub(rb"/Size \d+|/Root \d+ 0 R", b"", pdf.trailer), table)
        self._metadata = pdf.halves(metadata)[1] if metadata else b""

    # -- the whole --------

    def finish(self, bookmarks: Sequence[Bookmark]) -> None:
        """Write what stands for all parts."""
        catalog = self._catalog + b"/Pages %d 0 R" % self.PAGES
        pages = b"<</Type/Pages/Count %d/Kids[%s]>>" % (len(self.pages), b" ".join(self._kids))
        self._put(b"%d" % self.PAGES, pages + _END)
        if self._document:
            self._put(b"%d" % self.DOCUMENT, self._document + b"/K[%s]>>" % b" ".join(self._children) + _END)
            tree = b"<</Type/StructTreeRoot%s/K[%d 0 R]" % (self._tree, self.DOCUMENT)
            tree += b"/ParentTree<</Nums[%s]>>/ParentTreeNextKey %d" % (b" ".join(self._nums), self._next_key)
            tree += b"/IDTree<</Names[%s]>>" % _entries(self._ids) if self._ids else b""
            self._put(b"%d" % self.TREE, tree + b">>" + _END)
            catalog += b"/StructTreeRoot %d 0 R" % self.TREE
        if bookmarks:
            self._outline(bookmarks)
            catalog += b"/Outlines %d 0 R" % self.OUTLINES
        catalog += label_tree(self._labels)
        if self._targets:
            catalog += b"/Names<</Dests<</Names[%s]>>>>" % _entries(self._targets)
        if self._metadata:
            stream = _XMP_PAGES.sub(b"%d" % len(self.pages), self._metadata)
            length = stream.rindex(b"\nendstream") - len(b"\nstream\n")
            self._put(b"%d" % self.METADATA, b"<</Length %d/Type/Metadata/Subtype/XML>>" % length + stream)
            catalog += b"/Metadata %d 0 R" % self.METADATA
        self._put(b"%d" % self.CATALOG, catalog + b">>" + _END)
        trailer = b"%s/Root %d 0 R" % (self._trailer, self.CATALOG)
        self._file.write(cross_references(self._offsets, self._position, trailer))

    def _outline(self, bookmarks: Sequence[Bookmark]) -> None:
        first = len(self._offsets) + 1
        last = first + len(bookmarks) - 1
        for item, bookmark in enumerate(bookmarks, first):
            title = b"<FEFF%s>" % bookmark.title.encode("utf-16-be", "replace").hex().upper().encode("ascii")
            text = b"<</Parent %d 0 R/Title%s/Dest[%s/Fit]" % (self.OUTLINES, title, self.pages[bookmark.page])
            text += b"/Prev %d 0 R" % (item - 1) if item > first else b""
            text += b"/Next %d 0 R" % (item + 1) if item < last else b""
            self._put(b"%d" % self._allocate(), text + b">>" + _END)
        root = b"<</Type/Outlines/First %d 0 R/Last %d 0 R/Count %d>>" % (first, last, len(bookmarks))
        self._put(b"%d" % self.OUTLINES, root + _END)

    def _allocate(self) -> int:
        self._offsets.append(0)
        return len(self._offsets)

    def _put(self, reference: bytes, text: bytes) -> None:
        """Write one object, with its stream and its end."""
        old, _, _ = reference.partition(b" ")
        self._offsets[int(old) - 1] = self._position
        self._position += self._file.write(b"%s 0 obj\n%s\n" % (old, text))


def _is_bookmark(text: bytes) -> bool:
    """What begins with its parent and has a title is a bookmark: those of the records take its place."""
    return text.startswith(b"<</Parent ") and b"/Title" in text


def _entries(names: Iterable[tuple[bytes, bytes]]) -> bytes:
    return b"".join(name + reference for name, reference in sorted(names))


class _OwnNames:
    """Makes the names in a structure element those of its part: its own, and those of the header cells of a cell.

    :param mark: gives the beginning of a name, behind its bracket.
    """

    def __init__(self, mark: Callable[[bytes], bytes]) -> None:
        self._mark = mark
        self._in_headers = False

    def marked(self, outside: bytes, string: bytes) -> bytes:
        """The next piece outside of strings, and the string behind it."""
        outside = _NAME_OR_BRACKET.sub(self._hexadecimal, outside)
        if string and (self._in_headers or outside.endswith(b"/ID")):
            string = self._mark(b"(") + string[1:]
        return outside + string

    def _hexadecimal(self, match: re.Match[bytes]) -> bytes:
        found = match[0]
        if found in (b"/Headers[", b"]"):
            self._in_headers = found != b"]"
        elif found == b"/ID<":
            return b"/ID" + self._mark(b"<")
        elif found == b"<" and self._in_headers:
            return self._mark(b"<")
        return found
