"""Templates whose records can be told apart from records alone, and those whose cannot."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pfserver.projects.together import can_be_set_together

TOGETHER = (
    '#let template(r, j) = { set page(width: 5cm, numbering: "1"); [Here you are, both. State: final.] }',
    '#let template(r, j) = { set page(header: context counter(page).display("1")); heading(numbering: "1.1")[x] }',
    '#let template(r, j) = { set document(title: "The same", author: ("A", "B"), date: auto); [x] }',
    '#let template(r, j) = { set text(lang: "de"); [x #footnote[y]]; pagebreak(weak: true); [z] }',
    "// query(x), outline() and state()\n#let template(r, j) = { /* here() */ table(columns: 2)[a][b] }",
    "#let template(r, j) = { counter(page).update(1); context counter(heading).get(); figure(kind: table)[x] }",
    '#let template(r, j) = [#link("https://a.example/query")]',
    '#let template(r, j) = { page(numbering: none)[x]; page(numbering: "- 1 -")[y] }',
)

APART = (
    '#let template(r, j) = { set page(numbering: "1 / 1"); [x] }',
    "#let template(r, j) = { set page(numbering: (n, all) => [#n of #all]); [x] }",
    "#let template(r, j) = { set page(..j.page); [x] }",
    "#let template(r, j) = { let p = r.p; set page(numbering: p); [x] }",
    "#let template(r, j) = [#context counter(page).final().first()]",
    '#let template(r, j) = [#context counter(page).display("1/1", both: true)]',
    "#let template(r, j) = [#outline() = Heading]",
    "#let template(r, j) = { let o = outline; [x] }",
    "#let template(r, j) = context query(heading).len()",
    '#let template(r, j) = { let n = state("n", 0); n.update(x => x + 1) }',
    '#let template(r, j) = { counter("mine").step(); [x] }',
    "#let template(r, j) = { let c = counter; [x] }",
    "#let template(r, j) = context here().page()",
    '#let template(r, j) = { figure(kind: "photo", supplement: [P])[x] }',
    "#let template(r, j) = { [x]; pagebreak() }",
    '#let template(r, j) = { pagebreak(to: "odd", weak: true); [x] }',
    "#let template(r, j) = { [x]; colbreak() }",
    "#let template(r, j) = { set page(margin: (inside: 3cm, outside: 1cm)); [x] }",
    "#let template(r, j) = { set text(lang: r.lang); [x] }",
    '#let template(r, j) = { if r.x { set text(lang: "de") } else { set text(lang: "fr") }; [x] }',
    '#let template(r, j) = { set par.line(numbering: "1"); [x] }',
    '#let template(r, j) = eval(r.text, mode: "markup")',
    "#let template(r, j) = [#sys.inputs.records]",
    '#let template(r, j) = [#bibliography("x.bib")]',
    "#import r.file: x\n#let template(r, j) = x",
    "#let template(r, j) = { show heading: it => context it.location().position().y; [x] }",
)


class TogetherTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def together(self, text: str, *, apart: bool = True, **files: str) -> bool:
        for name, content in {"t": text, **files}.items():
            path = self.folder / f"{name}.typ"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
        return can_be_set_together(self.folder, self.folder / "t.typ", apart=apart)

    def test_templates(self) -> None:
        for text in TOGETHER:
            self.assertTrue(self.together(text), text)
        for text in APART:
            self.assertFalse(self.together(text), text)

    def test_a_title_of_its_own_matters_to_files_of_their_own(self) -> None:
        text = '#let template(r, j) = { set document(title: "For " + r.name); [x] }'
        self.assertFalse(self.together(text))
        self.assertTrue(self.together(text, apart=False))

    def test_imports_are_followed(self) -> None:
        plain = "#let x = [plain]"
        self.assertTrue(self.together('#import "a.typ": x\n#include "/b.typ"', a=plain, b=plain))
        self.assertFalse(self.together('#import "a.typ": x', a='#import "b.typ": y', b="#let y = outline()"))
        self.assertFalse(self.together('#import "none.typ": x'))
        self.assertFalse(self.together('#import "../../out.typ": x'))
        circle = self.together('#import "a.typ": x', a='#import "t.typ": template')
        self.assertTrue(circle)

    def test_packages_of_the_project_are_looked_at(self) -> None:
        package = self.folder / "packages" / "local" / "p" / "1.0.0"
        package.mkdir(parents=True)
        text = '#import "@local/p:1.0.0": x\n#let template(r, j) = x'
        (package / "lib.typ").write_text("#let x = [plain]")
        self.assertTrue(self.together(text))
        (package / "lib.typ").write_text("#let x = context query(heading)")
        self.assertFalse(self.together(text))

    def test_what_cannot_be_read_is_set_apart(self) -> None:
        (self.folder / "t.typ").write_bytes(b"#let template(r, j) = [\xff]")
        self.assertFalse(can_be_set_together(self.folder, self.folder / "t.typ", apart=False))
        self.assertFalse(self.together("x" * (5 << 20)))


class ExampleTests(SynchronousTestCase):
    def test_the_price_list_is_set_together(self) -> None:
        folder = Path(__file__).parents[2] / "examples" / "projects" / "Price List"
        self.assertTrue(can_be_set_together(folder, folder / "product.typ", apart=True))
