"""Run files: the pages of all parts one behind the other, with their tags, links, labels and pictures."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pikepdf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pfserver.backends.merge import worker
from pfserver.backends.merge.join import Bookmark, join
from pfserver.backends.merge.pdf import UnknownShape
from pfserver.errors import OutputUnavailable
from tests.backends.merge.anatomy import Anatomy, anatomy
from tests.backends.merge.support import ShopCase
from tests.backends.merge.test_split import DOT, EXAMPLES, PAGES, PIECES, RECORDS, template


def moved(value: Any, by: int) -> Any:
    """Structure with all pages so much further on."""
    if isinstance(value, tuple) and len(value) == 4:
        return (*value[:3], [moved(one, by) for one in value[3]])
    if isinstance(value, tuple) and len(value) == 2:
        return (value[0] + by, value[1])
    kind, page, mark = value
    return (kind, page + by, mark)


def holds_content(value: Any) -> bool:
    """Whether a piece of structure, at any depth, points to something on a page."""
    return any(holds_content(kid) for kid in value[3]) if len(value) == 4 else True


class JoinTests(ShopCase):
    def joined(self, parts: list[bytes], bookmarks: list[Bookmark]) -> bytes:
        folder = Path(self.mktemp())
        folder.mkdir()
        paths = [folder / f"{number}.pdf" for number in range(len(parts))]
        for path, part in zip(paths, parts, strict=True):
            path.write_bytes(part)
        pages = join(paths, bookmarks, folder / "all.pdf")
        data = (folder / "all.pdf").read_bytes()
        self.assertEqual(pages, len(anatomy(data).texts))
        return data

    def assertHoldsAll(self, whole: Anatomy, parts: list[Anatomy], note: Any = "") -> None:
        self.assertEqual(whole.problems, [], note)
        self.assertEqual(whole.texts, [text for part in parts for text in part.texts], note)
        self.assertTrue(whole.pictures == [one for part in parts for one in part.pictures], note)
        firsts = [sum(len(part.texts) for part in parts[:index]) for index in range(len(parts))]
        links, elements, labels = [], [], []
        for first, part in zip(firsts, parts, strict=True):
            for page, where, to in part.links:
                links.append((page + first, where, to if isinstance(to, str) else [to[0] + first, *to[1:]]))
            kids = [kid for one in part.structure or [] for kid in one[3]]
            # A part whose structure holds nothing (an empty heading, say) has none to join.
            elements += [moved(kid, first) for kid in kids] if any(map(holds_content, kids)) else []
            labels += part.labels
        self.assertEqual(whole.links, links, note)
        self.assertEqual([kid for one in whole.structure or [] for kid in one[3]], elements, note)
        self.assertEqual(whole.labels, labels, note)
        self.assertEqual(whole.catalog, parts[0].catalog)

    def assertJoins(self, pieces: list[str], records: list[dict[str, Any]], page: str = "") -> None:
        text = template(pieces, "width: 9cm, height: 7cm, margin: 8mm" + page)
        shop = self.shop(text, files={"dot.svg": DOT})
        parts = [shop.alone(record) for record in records]
        looks = [anatomy(part) for part in parts]
        firsts = [sum(len(look.texts) for look in looks[:index]) for index in range(len(looks))]
        marks = [Bookmark(record["text"], first) for record, first in zip(records, firsts, strict=True)]
        whole = anatomy(self.joined(parts, marks))
        self.assertHoldsAll(whole, looks, text)
        told = [(title, to[0], below) for title, to, below in whole.outline]
        self.assertEqual(told, [(mark.title, mark.page, []) for mark in marks])

    def test_each_piece(self) -> None:
        records = [{"text": "(1 0 R)", "n": "1"}, {"text": "漢\\)", "n": "3"}, {"text": "(1 0 R)", "n": "1"}]
        for piece in PIECES:
            self.assertJoins([piece], records)

    def test_texts_that_look_like_names(self) -> None:
        hostile = ["/ID(x)", "/ID<41>", "/Headers[(a)(b)", "]/Dest(x)", "]/Dest<41>", "/F 4/StructParent 0", "/T(x)"]
        records = [{"text": text, "n": "1"} for text in hostile]
        named = ["footnote(r.text)", 'link("https://example.org/" + r.text, r.text)', 'image("dot.svg", alt: r.text)']
        cells = "table(columns: 2, table.header[A][#r.text], [a], r.text)"
        self.assertJoins([*named, cells, "[#figure(rect(), caption: [x], alt: r.text) <f>]", "[@f]"], records)

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=5, unique=True), RECORDS, st.sampled_from(PAGES))
    def test_pieces_in_any_order(self, pieces: list[str], records: list[dict[str, Any]], page: str) -> None:
        self.assertJoins(pieces, records, page)

    def test_what_parts_share_is_written_once(self) -> None:
        text = template(['image("dot.svg", width: 1cm)', "[#r.text]"])
        picture = '#let template(r, job) = image("p.png", width: 2cm, alt: "p")'
        shop = self.shop(text, files={"dot.svg": DOT})
        other = self.shop(picture, files={"p.png": png()})
        for one in (shop, other):
            part = one.alone({"text": "same", "n": "1"})
            three, nine = (len(self.joined([part] * count, [])) for count in (3, 9))
            self.assertLess((nine - three) / 6, len(part) * 0.75)
        with pikepdf.open(io.BytesIO(self.joined([other.alone({"n": "1"})] * 5, []))) as pdf:
            images = {page.images["/" + key.lstrip("/")].objgen for page in pdf.pages for key in page.images}
            self.assertEqual((len(pdf.pages), len(images)), (5, 1))

    def test_versions_and_standards_stay(self) -> None:
        for standard, version in {"1.4": "1.4", "2.0": "2.0", "a-2b": "1.7", "a-4": "2.0", "ua-1": "1.7"}.items():
            body = '#let template(r, job) = { set document(title: "t"); set text(lang: "en"); [= #r.n\n words] }'
            shop = self.shop(body, job=f'pdf_standard = "{standard}"')
            parts = [shop.alone({"n": str(n)}) for n in range(3)]
            data = self.joined(parts, [Bookmark("x", 0)])
            with pikepdf.open(io.BytesIO(data)) as pdf, pikepdf.open(io.BytesIO(parts[0])) as first:
                self.assertEqual(pdf.pdf_version, version)
                self.assertEqual(pdf.check_pdf_syntax(), [])
                for key in ("/OutputIntents", "/MarkInfo"):
                    self.assertEqual(key in pdf.Root, key in first.Root, (standard, key))
                xmp = [one.Root.Metadata.read_bytes() if "/Metadata" in one.Root else b"" for one in (pdf, first)]
                self.assertEqual(*(one.count(b"pdfaid:part") + one.count(b"pdfuaid:part") for one in xmp))

    def test_another_shape_is_joined_by_another_library(self) -> None:
        # An attachment belongs to the whole document: our own joiner does not know what to do with it.
        body = '#let template(r, job) = { pdf.attach("x.txt", bytes("data " + r.n)); [Page #r.n] }'
        shop = self.shop(body, job='split = "job"')
        parts: list[str] = []
        for number in (1, 2):
            parts += shop.produce([{"n": str(number)}], first=number).parts
        path = shop.output / parts[0]
        self.assertRaises(UnknownShape, join, [path], [], shop.output / "never.pdf")
        worker.join_parts(shop.work, parts, [Bookmark("one", 0), Bookmark("two (", 1)], "001.pdf")
        look = anatomy(shop.files()["001.pdf"])
        self.assertEqual(look.texts, ["Page 1", "Page 2"])
        self.assertEqual([(title, to[0]) for title, to, _ in look.outline], [("one", 0), ("two (", 1)])
        self.assertEqual(look.problems, [])

    def test_another_shape_stays_pdf_a(self) -> None:
        for standard, kept in (("a-2b", ("2", "B")), ("a-3b", ("3", "B")), ("a-2a", ("2", "B"))):
            how = f'split = "job"\npdf_standard = "{standard}"'
            template = '#set document(title: "x", author: "y")\n#let template(r, job) = [Hi #r.n]'
            shop = self.shop(template, job=how)
            parts = [part for first in (1, 3) for part in shop.produce([{"n": "1"}, {"n": "2"}], first).parts]
            with patch.object(worker, "join", side_effect=UnknownShape):
                worker.join_parts(shop.work, parts, [Bookmark("one", 0)], "001.pdf")
            with pikepdf.open(shop.output / "001.pdf") as document:
                self.assertEqual((len(document.pages), document.check_pdf_syntax()), (4, []))
                (intent,) = document.Root.OutputIntents
                self.assertEqual(intent.S, "/GTS_PDFA1")
                self.assertGreater(len(intent.DestOutputProfile.read_bytes()), 100)
                self.assertGreaterEqual(document.pdf_version, "1.7")
                marks = document.open_metadata()
                self.assertEqual((marks["pdfaid:part"], marks["pdfaid:conformance"]), kept)
                # PDF/A wants the marks to be readable without a filter.
                self.assertNotIn("/Filter", document.Root.Metadata)

    def test_parts_are_removed_when_joined_and_no_sooner(self) -> None:
        shop = self.shop("#let template(r, job) = [#r.n]", job='split = "job"')
        parts = list(shop.produce([{"n": "1"}, {"n": "2"}]).parts)
        with patch.object(worker, "join", side_effect=OSError(28, "No space left on device")):
            self.assertRaises(OutputUnavailable, worker.join_parts, shop.work, parts, [], "001.pdf")
        self.assertTrue(set(parts) <= set(shop.files()))
        size = worker.join_parts(shop.work, parts, [], "001.pdf")
        self.assertEqual({name: len(data) for name, data in shop.files().items()}, {"001.pdf": size})
        # A worker that died behind the last step is followed by one that finds it done.
        self.assertEqual(worker.join_parts(shop.work, parts, [], "001.pdf"), size)


def png() -> bytes:
    """A picture of noise, which does not shrink."""
    import random
    import struct
    import zlib

    dice = random.Random(1)
    rows = b"".join(b"\0" + dice.randbytes(60 * 3) for _ in range(60))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 60, 60, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
