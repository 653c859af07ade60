"""What is in a PDF file, as plain values to compare: by PDFium what is seen, by qpdf what lies behind it."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import pikepdf
import pypdfium2
from attrs import frozen


@frozen(kw_only=True)
class Anatomy:
    """A file taken apart. Pages are named by their index, never by their number in the file."""

    texts: list[str]
    pictures: list[bytes]
    outline: list[Any]
    links: list[Any]
    labels: list[str]
    structure: Any
    catalog: Mapping[str, str]
    problems: list[str]
    title: str


def anatomy(data: bytes) -> Anatomy:
    """Take a file apart; whatever is not well-formed raises or stands in ``problems``."""
    seen = pypdfium2.PdfDocument(data)
    try:
        texts = [page.get_textpage().get_text_range() for page in seen]
        pictures = [bytes(page.render(scale=0.5).buffer) for page in seen]
        labels = [seen.get_page_label(index) for index in range(len(seen))]
    finally:
        seen.close()
    with pikepdf.open(io.BytesIO(data)) as pdf:
        body = _Body(pdf)
        return Anatomy(
            texts=texts,
            pictures=pictures,
            labels=labels,
            outline=body.outline(),
            links=body.links(),
            structure=body.structure(),
            catalog={key: str(pdf.Root[key]) for key in ("/Lang", "/Version", "/ViewerPreferences") if key in pdf.Root},
            problems=[*pdf.check_pdf_syntax(), *body.parents()],
            title=str(pdf.docinfo.get("/Title", "")),
        )


class _Body:
    def __init__(self, pdf: pikepdf.Pdf) -> None:
        self._pdf = pdf
        self._index = {page.obj.objgen: index for index, page in enumerate(pdf.pages)}
        self._targets = self._names()
        self._elements: dict[Any, str] = {}

    def _names(self) -> dict[bytes, Any]:
        if "/Names" not in self._pdf.Root or "/Dests" not in self._pdf.Root.Names:
            return {}
        names = list(self._pdf.Root.Names.Dests.Names)
        found = {bytes(key): value for key, value in zip(names[::2], names[1::2], strict=True)}
        assert list(found) == sorted(found), "a name tree must be sorted"
        return found

    def target(self, value: Any) -> Any:
        """Where a destination leads: the page and the place on it."""
        if isinstance(value, pikepdf.String):
            value = self._targets[bytes(value)]
        return [self._index[value[0].objgen], *(str(one) for one in list(value)[1:])]

    def outline(self) -> list[Any]:
        """Titles, targets and children."""

        def items(item: Any) -> list[Any]:
            found = []
            while item is not None:
                children = items(item.First) if "/First" in item else []
                found.append((str(item.Title), self.target(item.Dest), children))
                item = item.get("/Next")
            return found

        root = self._pdf.Root.get("/Outlines")
        return items(root.First) if root is not None and "/First" in root else []

    def links(self) -> list[Any]:
        found = []
        for index, page in enumerate(self._pdf.pages):
            for note in page.obj.get("/Annots", []):
                where = [round(float(one), 2) for one in note.Rect]
                if "/Dest" in note:
                    found.append((index, where, self.target(note.Dest)))
                else:
                    action = note.A
                    to = self.target(action.D) if "/D" in action else str(action.URI)
                    found.append((index, where, to))
        return found

    def structure(self) -> Any:
        """The tags: kinds, texts and attributes, with the pages and the marks they hold."""
        root = self._pdf.Root.get("/StructTreeRoot")
        if root is None:
            return None
        self._number(root, "")
        return [self._element(kid) for kid in _list(root.get("/K", []))]

    def _number(self, element: Any, path: str) -> None:
        """Identifiers are any text, unique in a file: they are compared by where their element stands."""
        for index, kid in enumerate(_list(element.get("/K", []))):
            if isinstance(kid, pikepdf.Dictionary) and "/S" in kid:
                if "/ID" in kid:
                    key = bytes(kid.ID)
                    assert key not in self._elements, "an identifier is used twice"
                    # Below a child of the document: which one of them it is, a longer file cannot say the same of.
                    self._elements[key] = "/".join(f"{path}/{index}".split("/")[3:])
                self._number(kid, f"{path}/{index}")

    def _element(self, element: Any, page: Any = None) -> Any:
        page = element.get("/Pg", page)
        kids = []
        for kid in _list(element.get("/K", [])):
            if isinstance(kid, pikepdf.Dictionary) and "/S" in kid:
                assert kid.P.objgen == element.objgen, "an element does not know its parent"
                kids.append(self._element(kid, page))
            elif isinstance(kid, pikepdf.Dictionary):
                kids.append((str(kid.Type), self._index[kid.get("/Pg", page).objgen], int(kid.get("/MCID", -1))))
            else:
                kids.append((self._index[page.objgen], int(kid)))
        texts = {key: str(element[key]) for key in ("/Alt", "/ActualText", "/Lang", "/T") if key in element}
        return (str(element.S), texts, self._plain(element.get("/A")), kids)

    def _plain(self, value: Any) -> Any:
        if isinstance(value, pikepdf.Array):
            return [self._plain(one) for one in value]
        if isinstance(value, pikepdf.Dictionary):
            # Where a thing stands on its page belongs to it; the list of headers names elements.
            return {key: self._plain(one) for key, one in value.items()}
        if isinstance(value, pikepdf.String):
            return self._elements.get(bytes(value), bytes(value))
        return str(value)

    def parents(self) -> list[str]:
        """What is wrong with the way from marks on pages back to their elements."""
        root = self._pdf.Root.get("/StructTreeRoot")
        if root is None:
            return []
        numbers = list(root.ParentTree.Nums) if "/ParentTree" in root else []
        tree = dict(zip((int(key) for key in numbers[::2]), numbers[1::2], strict=True))
        wrong = [] if list(tree) == sorted(tree) else ["the parent tree is not sorted"]
        if tree and max(tree) >= int(root.ParentTreeNextKey):
            wrong.append("the next key of the parent tree is too small")
        used: list[int] = []
        marks = self._marks(root)
        for index, page in enumerate(self._pdf.pages):
            if "/StructParents" in page.obj:
                key = int(page.obj.StructParents)
                used.append(key)
                for mark, parent in enumerate(tree[key]):
                    if isinstance(parent, pikepdf.Dictionary) and marks.get((index, mark)) != parent.objgen:
                        wrong.append(f"page {index}, mark {mark}: another parent")
            for note in page.obj.get("/Annots", []):
                if "/StructParent" in note:
                    key = int(note.StructParent)
                    used.append(key)
                    if tree[key].S not in ("/Link", "/Reference", "/Note", "/Lbl"):
                        wrong.append(f"page {index}: an annotation's parent is {tree[key].S}")
        if len(set(used)) < len(used):
            wrong.append("a key of the parent tree is used twice")
        return wrong

    def _marks(self, element: Any, page: Any = None) -> dict[tuple[int, int], Any]:
        found: dict[tuple[int, int], Any] = {}
        page = element.get("/Pg", page)
        for kid in _list(element.get("/K", [])):
            if isinstance(kid, pikepdf.Dictionary) and "/S" in kid:
                found |= self._marks(kid, page)
            elif isinstance(kid, pikepdf.Dictionary):
                if "/MCID" in kid:
                    found[self._index[kid.get("/Pg", page).objgen], int(kid.MCID)] = element.objgen
            else:
                found[self._index[page.objgen], int(kid)] = element.objgen
        return found


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, pikepdf.Array | list) else [value]
