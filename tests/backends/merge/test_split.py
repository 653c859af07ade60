"""Files of one record, cut from a chunk: each is what Typst makes of the record alone."""

from __future__ import annotations

import json
import os
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.backends.merge.anatomy import Anatomy, anatomy
from tests.backends.merge.support import Shop, ShopCase

#: Pieces of templates; ``r`` is the record. Together they have all that Typst writes into a file for a reader.
PIECES = (
    "[#r.text]",
    "heading(r.text)",
    'heading(level: 2, numbering: "1.1", [Part #r.text])',
    "[Word#footnote[#r.text] and word#footnote[two].]",
    'link("https://a.example/?q=" + r.text.replace(regex("[^a-z]"), ""), [there])',
    "[#[= Top #r.n] <top> #v(4cm) #link(<top>)[back to the top]]",
    "table(columns: 2, table.header[Name][*Price*], r.text, [1], [b], [2])",
    "table(columns: 1, table.header[Rows], ..range(int(r.n) * 6).map(n => [row #n]))",
    "figure(rect(width: 1cm), alt: r.text, caption: [A figure of #r.text])",
    "figure(table(columns: 1, [x], r.text), caption: [A table])",
    'image("dot.svg", alt: r.text, width: 1cm)',
    'image(bytes(dot), width: 5mm, alt: "plain")',
    "list([one], [two #r.text])",
    "enum([one], [two])",
    'math.equation(block: true, numbering: "(1)", alt: r.text, $x^2 + #r.n$)',
    "quote(block: true, attribution: r.text)[Words]",
    "raw(block: true, r.text)",
    'text(lang: "de", r.text)',
    "lorem(int(r.n) * 60)",
    "columns(2, lorem(30))",
    "place(bottom + center, float: true, rect[#r.text])",
    "text(fill: gradient.linear(red, blue), r.text)",
    "[#highlight(r.text) #strike[x] #underline[y]]",
)

#: More of them find more, and take longer.
EXAMPLES = int(os.environ.get("PFSERVER_EXAMPLES", "20"))

DOT = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><circle cx="4" cy="4" r="3" fill="red"/></svg>'

TEXTS = st.one_of(
    st.sampled_from(
        [
            "(1 0 R",
            "a) 7 0 R (",
            "\\(",
            "((()",
            "endobj\n",
            "stream\nx",
            "/Pg 3 0 R",
            "<</Type/Page",
            "5 0 obj",
            "é ü 漢",
            "((((1 0 R))))",
            "/ID(x)",
        ]
    ),
    # Where glyphs are composed, Typst itself tells the text of a cluster once for all records.
    st.text(st.characters(max_codepoint=0x2FF, exclude_categories=["Cc", "Mn"]), max_size=12),
)

PAGES = ("", ', numbering: "1"', ', numbering: "i"', ", columns: 2", ", header: [Head], footer: [Foot]")

RECORDS = st.lists(
    st.builds(lambda text, n: {"text": text, "n": str(n)}, TEXTS, st.integers(1, 5)), min_size=2, max_size=4
)


def template(pieces: list[str], page: str = "width: 9cm, height: 7cm, margin: 8mm") -> str:
    """A template of some pieces."""
    body = "\n  ".join(pieces)
    return f"#let dot = {json.dumps(DOT)}\n#let template(r, job) = {{\n  set page({page})\n  {body}\n}}\n"


class SplitTests(ShopCase):
    def assertSame(self, got: Anatomy, expected: Anatomy, note: Any = "") -> None:
        self.assertEqual(got.problems, [], note)
        for name in ("texts", "outline", "links", "labels", "structure", "catalog", "title"):
            self.assertEqual(getattr(got, name), getattr(expected, name), (name, note))
        self.assertEqual(got.pictures == expected.pictures, True, ("pictures", note))

    def assertAsAlone(self, shop: Shop, records: list[dict[str, Any]], note: Any = "") -> None:
        produced = shop.produce(records)
        self.assertEqual(produced.failures, [], note)
        files = shop.files()
        self.assertEqual(list(files), [f"{n:03d}.pdf" for n in range(1, len(records) + 1)])
        for record, data, document in zip(records, files.values(), produced.documents, strict=True):
            expected = anatomy(shop.alone(record))
            self.assertSame(anatomy(data), expected, note)
            self.assertEqual(document.pages, len(expected.texts))

    def test_each_piece(self) -> None:
        records = [{"text": "(1 0 R)", "n": "1"}, {"text": "b", "n": "4"}, {"text": "漢\\)", "n": "2"}]
        for piece in PIECES:
            shop = self.shop(template([piece]), files={"dot.svg": DOT})
            self.assertAsAlone(shop, records, piece)

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        st.lists(st.sampled_from(PIECES), min_size=1, max_size=6, unique=True),
        RECORDS,
        st.sampled_from(
            ["", ', numbering: "1"', ', numbering: "i"', ", columns: 2", ", header: [Head], footer: [Foot]"]
        ),
    )
    def test_pieces_in_any_order(self, pieces: list[str], records: list[dict[str, Any]], page: str) -> None:
        text = template(pieces, "width: 9cm, height: 7cm, margin: 8mm" + page)
        self.assertAsAlone(self.shop(text, files={"dot.svg": DOT}), records, text)
