"""Cuts a file of many records into a file for each: pages with all that they need, tags, bookmarks, labels."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from attrs import field, frozen

from pfserver.backends.merge.pdf import (
    TREE_ENTRIES,
    TypstPdf,
    UnknownShape,
    array,
    cross_references,
    known_shape,
    label_tree,
    named,
    number,
    references,
    renumber,
    without,
)

_PARENT_KEY = re.compile(rb"/StructParents? (\d+)")
_XMP = re.compile(rb"(?<=<xmpMM:InstanceID>)[^<]+|(?<=<xmpMM:DocumentID>)[^<]+|(?<=<xmpTPg:NPages>)\d+")
_END = b"\nendobj\n"

#: From an old number to a new reference.
Table = Mapping[bytes, bytes]


def split(pdf: TypstPdf, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
    """A file for each range of pages, from the first to before the second, counted from 0. Raises ``UnknownShape``."""
    with known_shape():
        splitter = _Splitter(pdf, ranges)
        return [splitter.part(first, end) for first, end in ranges]


@frozen
class _Mark:
    """One of the outline's topmost items: the page it leads to, its object, and those below it."""

    page: int
    item: int
    below: Sequence[int]


@frozen
class _Objects:
    """Objects on their way into a file, and where each begins."""

    position: int
    pieces: list[bytes] = field(factory=list)
    offsets: dict[int, int] = field(factory=dict)

    def end(self) -> int:
        return self.position + sum(map(len, self.pieces))


class _Splitter:
    """What is the same for all parts of one file.

    New numbers: 1 is the page tree, then come the objects that every part has, then the part's own.
    """

    def __init__(self, pdf: TypstPdf, ranges: Sequence[tuple[int, int]]) -> None:
        self._pdf = pdf
        self._references: dict[int, list[int]] = {}
        self._closures: dict[int, frozenset[int]] = {}
        self._metadata = number(pdf.catalog, b"/Metadata", missing=0)
        self._outlines = number(pdf.catalog, b"/Outlines", missing=0)
        self._stop = {0, pdf.pages_root, pdf.tree, pdf.document, pdf.root, self._metadata, self._outlines, *pdf.pages}
        keys = (b"Pages", b"Metadata", b"StructTreeRoot", b"Outlines", b"PageLabels")
        self._catalog = without(pdf.catalog, *keys).removesuffix(b">>")
        if not pdf.tree and b"/StructTreeRoot" in pdf.catalog:
            raise UnknownShape("no page has anything, not even a structure to divide")
        self._targets: dict[int, list[tuple[int, bytes]]] = {}
        if b"/Names" in self._catalog:
            names = named(self._catalog, b"/Names<</Dests<</Names")
            self._catalog = self._catalog[: self._catalog.index(b"/Names")]
            for one, name in names.items():
                self._targets.setdefault(self._page_of(one), []).append((one, name))
        self._tree = b""
        if pdf.tree:
            kept = b"".join(TREE_ENTRIES.findall(pdf.text(pdf.tree)))
            self._tree = kept
        self._marks: dict[int, list[_Mark]] = {}
        range_of = {page: first for first, end in ranges for page in range(first, end)}
        for mark in self._top_marks():
            self._marks.setdefault(mark.page, []).append(mark)
            pages = {self._page_of(number(pdf.text(item), b"/Dest")) for item in mark.below}
            if {range_of.get(page) for page in pages} - {range_of.get(mark.page)}:
                # The first heading of a record may be of a lower level than the last one before it.
                raise UnknownShape("a bookmark of one record lies below that of another")
        self._trailer = re.sub(rb"/Size \d+|/ID\s*\[.*?\]|/Root \d+ 0 R", b"", pdf.trailer, flags=re.DOTALL)
        self._xmp = self._read_xmp()
        self._share(ranges)

    def _read_xmp(self) -> Callable[[bytes, bytes], bytes]:
        """Makes the metadata of a part from its identity and its number of pages."""
        _, stream = self._pdf.halves(self._metadata) if self._metadata else (b"", b"")
        stream = stream[len(b"\nstream\n") : stream.rfind(b"\nendstream")]
        kept, wanted, at = [], [], 0
        for match in _XMP.finditer(stream):
            kept.append(stream[at : match.start()])
            wanted.append(stream[: match.start()].endswith(b"NPages>"))
            at = match.end()

        def made(identity: bytes, pages: bytes) -> bytes:
            pieces = [
                piece for one, count in zip(kept, wanted, strict=True) for piece in (one, pages if count else identity)
            ]
            text = b"".join([*pieces, stream[at:]])
            return b"<</Length %d/Type/Metadata/Subtype/XML>>\nstream\n%s\nendstream" % (len(text), text)

        return made

    def _share(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Number and write, once for all, what each part has: fonts, colour profiles, information."""
        pdf = self._pdf
        shared = set(self._closure(references(self._catalog + self._tree + self._trailer)))
        needs = [self._closure(pdf.pages[first:end]) for first, end in ranges]
        if len(needs) > 1:
            shared |= needs[0].intersection(*needs[1:])
        self._new = {pdf.pages_root: 1, **{old: new for new, old in enumerate(sorted(shared), 2)}}
        self._table = {b"%d" % old: b"%d 0 R" % new for old, new in self._new.items()}
        self._prefix = _Objects(len(pdf.header))
        self._copy(self._prefix, sorted(shared), self._new, self._table)
        self._catalog = renumber(self._catalog, self._table)
        self._tree = renumber(self._tree, self._table)
        self._trailer = renumber(self._trailer, self._table)

    def _page_of(self, destination: int) -> int:
        """The page that a destination's array begins with."""
        found = references(self._pdf.text(destination))
        return self._pdf.page_index.get(found[0], -1) if found else -1

    def _top_marks(self) -> Iterator[_Mark]:
        item = number(self._pdf.text(self._outlines), b"/First", missing=0) if self._outlines else 0
        while item:
            text = self._pdf.text(item)
            page = self._page_of(number(text, b"/Dest"))
            yield _Mark(page, item, list(self._below(number(text, b"/First", missing=0))))
            item = number(text, b"/Next", missing=0)

    def _below(self, item: int) -> Iterator[int]:
        while item:
            yield item
            text = self._pdf.text(item)
            yield from self._below(number(text, b"/First", missing=0))
            item = number(text, b"/Next", missing=0)

    def _refers(self, old: int) -> list[int]:
        found = self._references.get(old)
        if found is None:
            text = self._pdf.text(old)
            found = [one for one in references(text) if one not in self._stop] if b" 0 R" in text else []
            self._references[old] = found
        return found

    def _closure(self, numbers: Iterable[int]) -> frozenset[int]:
        """Everything that is reached from some objects without passing through other pages."""
        result: set[int] | frozenset[int] = frozenset()
        for start in numbers:
            closure = self._closures.get(start)
            if closure is None:
                seen = {start}
                work = [start]
                while work:
                    for other in self._refers(work.pop()):
                        if other not in seen:
                            seen.add(other)
                            work.append(other)
                closure = self._closures[start] = frozenset(seen)
            result = result | closure if result else closure
        return frozenset(result)

    def _copy(self, objects: _Objects, numbers: Iterable[int], new: Mapping[int, int], table: Table) -> None:
        """Objects under their new numbers."""
        position = objects.end()
        for old in numbers:
            text, rest = self._pdf.halves(old)
            piece = b"%d 0 obj\n%s%s" % (new[old], renumber(text, table), rest)
            objects.offsets[new[old]] = position
            objects.pieces.append(piece)
            position += len(piece)

    def _copy_run(self, objects: _Objects, run: range, new: Mapping[int, int], table: Table) -> None:
        """Objects that lie behind one another in the file, none of them a stream, in one go."""
        pdf = self._pdf
        texts = pdf.data[pdf.offsets[run[0]] : pdf.ends[run[-1]]].split(_END)
        if len(texts) != len(run) + 1:
            self._copy(objects, run, new, table)
            return
        numbered = renumber(_END.join([text[text.find(b"obj\n", 0, 32) + 4 :] for text in texts[:-1]]), table)
        position = objects.end()
        first = new[run[0]]
        for one, text in enumerate(numbered.split(_END), first):
            piece = b"%d 0 obj\n%s%s" % (one, text, _END)
            objects.offsets[one] = position
            objects.pieces.append(piece)
            position += len(piece)

    # -- one part --------

    def part(self, first: int, end: int) -> bytes:
        """The file of some pages."""
        pdf = self._pdf
        pages = pdf.pages[first:end]
        elements, children = pdf.elements(first, end)
        marks = [mark for page in range(first, end) for mark in self._marks.get(page, ())]
        items = [one for mark in marks for one in (mark.item, *mark.below)]
        targets = {one: name for page in range(first, end) for one, name in self._targets.get(page, ())}
        own = set(self._closure(pages)).union(targets)
        own.update(number(pdf.text(item), b"/Dest") for item in items)
        keys = self._parent_keys(pages) if elements else {}
        own.update(value for value in keys.values() if value not in elements)
        numbers = sorted(own.difference(self._new))
        new = dict(self._new)
        for following, old in enumerate((*numbers, *elements, *items), len(new) + 1):
            new[old] = following
        at = len(new) + 1
        for old in (pdf.tree, pdf.document, self._outlines if marks else 0):
            if old:
                new[old] = at
                at += 1
        table = dict(self._table)
        for old in (*numbers, *elements, *items, pdf.tree, pdf.document, self._outlines):
            if old in new:
                table[b"%d" % old] = b"%d 0 R" % new[old]
        objects = _Objects(len(pdf.header), list(self._prefix.pieces), dict(self._prefix.offsets))
        self._copy(objects, numbers, new, table)
        if elements:
            self._copy_run(objects, elements, new, table)
        made = {1: b"<</Type/Pages/Count %d/Kids[%s]>>" % (len(pages), _list(new[page] for page in pages))}
        if pdf.tree:
            made |= self._structure(new, table, keys, elements, children)
        made |= self._outline(new, table, marks)
        return self._file(objects, made, new, at, first, end, targets)

    def _parent_keys(self, pages: Sequence[int]) -> dict[int, int]:
        """The keys by which pages and annotations name their structure, and what each stands for."""
        texts = [self._pdf.text(page) for page in pages]
        for text in list(texts):
            if b"/Annots" in text:
                texts += [self._pdf.text(one) for one in references(array(text, b"/Annots"))]
        keys = sorted(int(key) for key in _PARENT_KEY.findall(b"".join(texts)))
        return {key: self._pdf.parents[key] for key in keys if key in self._pdf.parents}

    def _structure(
        self,
        new: Mapping[int, int],
        table: Table,
        keys: Mapping[int, int],
        elements: range,
        children: Sequence[int],
    ) -> dict[int, bytes]:
        pdf = self._pdf
        nums = b" ".join(b"%d %d 0 R" % (key, new[value]) for key, value in keys.items() if value in new)
        tree = b"<</Type/StructTreeRoot%s/K[%d 0 R]/ParentTree<</Nums[%s]>>" % (
            self._tree,
            new[pdf.document],
            nums,
        )
        ids = sorted((name, new[one]) for one, name in pdf.names.items() if one in elements)
        if ids:
            tree += b"/IDTree<</Names[%s]>>" % b"".join(b"%s%d 0 R" % entry for entry in ids)
        tree += b"/ParentTreeNextKey %d>>" % (max(keys, default=-1) + 1)
        head = pdf.text(pdf.document)
        head = renumber(head[: head.index(b"/K[")], table)
        document = head + b"/K[%s]>>" % _list(new[child] for child in children)
        return {new[pdf.tree]: tree, new[pdf.document]: document}

    def _outline(self, new: Mapping[int, int], table: Table, marks: Sequence[_Mark]) -> dict[int, bytes]:
        if not marks:
            return {}
        made = {}
        root = new[self._outlines]
        for index, mark in enumerate(marks):
            text = without(self._pdf.text(mark.item), b"Parent", b"Prev", b"Next").removeprefix(b"<<")
            place = b"<</Parent %d 0 R" % root
            if index:
                place += b"/Prev %d 0 R" % new[marks[index - 1].item]
            if index + 1 < len(marks):
                place += b"/Next %d 0 R" % new[marks[index + 1].item]
            made[new[mark.item]] = place + renumber(text, table)
            for one in mark.below:
                made[new[one]] = renumber(self._pdf.text(one), table)
        ends = (new[marks[0].item], new[marks[-1].item], len(marks))
        made[root] = b"<</Type/Outlines/First %d 0 R/Last %d 0 R/Count %d>>" % ends
        return made

    def _file(
        self,
        objects: _Objects,
        made: dict[int, bytes],
        new: Mapping[int, int],
        at: int,
        first: int,
        end: int,
        targets: Mapping[int, bytes],
    ) -> bytes:
        """Write what stands for the whole part: metadata, catalog, cross-references."""
        pdf = self._pdf
        identity = b64encode(hashlib.md5(pdf.trailer + b"%d" % first, usedforsecurity=False).digest())
        catalog = self._catalog + b"/Pages 1 0 R"
        if self._metadata:
            made[at] = self._xmp(identity, b"%d" % (end - first))
            catalog += b"/Metadata %d 0 R" % at
            at += 1
        if pdf.tree:
            catalog += b"/StructTreeRoot %d 0 R" % new[pdf.tree]
        if self._outlines in new:
            catalog += b"/Outlines %d 0 R" % new[self._outlines]
        catalog += label_tree(pdf.labels[first:end])
        if targets:
            entries = sorted((name, new[one]) for one, name in targets.items())
            catalog += b"/Names<</Dests<</Names[%s]>>>>" % b"".join(b"%s%d 0 R" % entry for entry in entries)
        made[at] = catalog + b">>"
        position = objects.end()
        for one, text in made.items():
            piece = b"%d 0 obj\n%s\nendobj\n\n" % (one, text)
            objects.offsets[one] = position
            objects.pieces.append(piece)
            position += len(piece)
        trailer = b"%s/Root %d 0 R/ID[(%s)(%s)]" % (self._trailer, at, identity, identity)
        offsets = [objects.offsets.get(one, 0) for one in range(1, at + 1)]
        return b"".join([pdf.header, *objects.pieces, cross_references(offsets, position, trailer)])


def _list(numbers: Iterable[int]) -> bytes:
    return b" ".join(b"%d 0 R" % one for one in numbers)
