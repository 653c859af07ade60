"""Chunks as a worker produces them: what fails, what goes on, and that nothing of one record reaches another."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

from attrs import evolve

from pfserver.backends.merge import worker
from pfserver.errors import JobFailed, OutputUnavailable
from pfserver.numbers import Number
from pfserver.projects.project import PDF_STANDARDS
from pfserver.projects.sources.common import unreadable
from tests.backends.merge.anatomy import anatomy
from tests.backends.merge.support import Shop, ShopCase

RECORDS: list[dict[str, Any]] = [{"n": str(n), "text": f"text {n}"} for n in range(1, 8)]


class ApartTests(ShopCase):
    """What looks beyond its record sees nothing of the others."""

    def assertAlone(self, body: str, *, together: bool | None = None) -> Shop:
        shop = self.shop(f"#let template(r, job) = {{ set page(width: 8cm, height: 6cm); {body} }}", together=together)
        produced = shop.produce(RECORDS)
        self.assertEqual(produced.failures, [], body)
        for record, data in zip(RECORDS, shop.files().values(), strict=True):
            got, expected = anatomy(data), anatomy(shop.alone(record))
            for name in ("texts", "outline", "links", "labels", "structure", "title", "problems"):
                self.assertEqual(getattr(got, name), getattr(expected, name), (name, body))
            self.assertTrue(got.pictures == expected.pictures, body)
        return shop

    def test_templates_that_look_beyond_their_record(self) -> None:
        long = "for i in range(int(r.n)) { if i > 0 { pagebreak() }; [page of #r.text] }"
        for body in (
            f'set page(numbering: "1 / 1"); {long}',
            f"{long}; context [all: #counter(page).final().first()]",
            "outline(); [= Head #r.n]",
            "context [#query(heading).len() headings]; [= A]; [= B]",
            'let s = state("s", 0); s.update(x => x + int(r.n)); context s.get()',
            'counter("mine").step(); context counter("mine").display()',
            'set document(title: "For " + r.n); [x]',
            "context [physical #here().page()]",
            'figure(kind: "photo", supplement: [Photo], caption: [c], rect())',
            "pagebreak(); [second #r.n]; pagebreak()",
            "set page(margin: (inside: 3cm, outside: 1cm)); [x]",
            'set text(lang: if r.n == "2" { "de" } else { "fr" }); [x]',
        ):
            shop = self.assertAlone(body)
            self.assertFalse(shop.work.together, body)

    def test_templates_that_do_not(self) -> None:
        for body in (
            'set page(numbering: "1"); set heading(numbering: "1.1"); [= Head #r.n]; [text #footnote[foot]]',
            'figure(rect(), caption: [c]); math.equation(block: true, numbering: "(1)", alt: "x", $x$)',
            "lorem(int(r.n) * 40)",
        ):
            shop = self.assertAlone(body)
            self.assertTrue(shop.work.together, body)

    def test_what_is_found_out_only_when_it_is_set(self) -> None:
        # Labels that each record has, records of no page, and structure that runs on into the next record.
        for body in (
            "[= Head #r.n <x>]; [See @x.]; [#link(<x>)[up]]".replace("See @x.", "See #link(<x>)[it]."),
            "if calc.odd(int(r.n)) { [#r.text] }",
            "place(top, rect[#r.text])",
            "",
            'if r.n == "1" [= A] else [== B]',
        ):
            shop = self.assertAlone(body)
            self.assertTrue(shop.work.together, body)


class FailureTests(ShopCase):
    def failures(self, body: str, records: list[Any], **how: Any) -> list[tuple[int, int, str]]:
        """The failures; all other records are produced."""
        shop = self.shop(f"#let template(r, job) = {body}", **how)
        produced = shop.produce(records)
        failed = [(one.record, int(one.number), one.text) for one in produced.failures]
        numbers = sorted({one.record for one in produced.documents} | {record for record, _, _ in failed})
        self.assertEqual(numbers, list(range(1, len(records) + 1)))
        self.assertEqual(len(shop.files()), len(produced.documents))
        return failed

    def test_each_kind(self) -> None:
        records: list[Any] = [
            {"name": "good", "picture": "p.svg"},
            {"picture": "p.svg"},
            {"name": "x", "picture": "none.svg"},
            {"name": "x", "picture": "broken.png"},
            {"name": "x", "picture": "../../../../etc/passwd"},
            {"name": float("nan"), "picture": "p.svg"},
            {"name": "\ud800", "picture": "p.svg"},
            unreadable("/secret/place/a.csv", "has 1 fields where the first line names 2", 8),
            {"name": "good", "picture": "p.svg"},
        ]
        svg = '<svg xmlns="http://www.w3.org/2000/svg" width="4" height="4"><rect width="3" height="3"/></svg>'
        body = "{\n  [#r.name]\n  image(r.picture)\n}"
        failures = self.failures(body, records, files={"p.svg": svg, "broken.png": b"\x89PNG\r\n\x1a\nno"})
        data, template = int(Number.RECORD_DATA), int(Number.RECORD_TEMPLATE)
        self.assertEqual(
            [(record, number) for record, number, _ in failures],
            [(2, data), (3, template), (4, template), (5, template), (6, data), (7, data), (8, data)],
        )
        texts = [text for _, _, text in failures]
        self.assertEqual(texts[0], 'Record 2: t.typ, line 2, column 7: dictionary does not contain key "name"')
        self.assertIn("Record 3: t.typ, line 3, column 9: file not found", texts[1])
        self.assertRegex(texts[2], "^Record 4: t.typ, line 3, column 3: failed to decode image")
        self.assertIn("Record 5: t.typ, line 3, column 9: ", texts[3])
        self.assertEqual(texts[4], "Record 6: a value holds a number that is none (NaN or infinity)")
        self.assertEqual(texts[5], "Record 7: a value holds text that is not Unicode")
        self.assertEqual(texts[6], "Record 8: a.csv, line 8: has 1 fields where the first line names 2")
        self.assertNotIn(str(Path.cwd()), "".join(texts))

    def test_bad_numbers_in_rules(self) -> None:
        rules = 'rules = {script = "r.js", variables = ["P"]}'
        script = "\nexport const P = (r) =>\n  formatCurrency(r.price, 'USD');\n"
        records = [{"price": 1}, {"price": "twelve"}, {}, {"price": float("inf")}]
        failures = self.failures("[#r.P]", records, more=rules, files={"r.js": script})
        self.assertEqual([record for record, _, _ in failures], [2, 3, 4])
        self.assertEqual(
            failures[0][2],
            'Evaluation failed for variable: P\nTypeError: "twelve" is not a number, line 3, column 18',
        )

    def test_a_broken_template_fails_the_job_with_its_place(self) -> None:
        for text, place in {
            "#let template(r, job) = {\n  [#r.x\n}": "t.typ, line 1, column 25: unclosed delimiter",
            "#let x = 1": "the template has no function template(record, job)",
            '#import "none.typ": y\n#let template(r, job) = y': "t.typ, line 1, column 9: file not found",
            '#import "@preview/cetz:0.3.0"\n#let template(r, job) = []': "the package is not in the project's folder",
        }.items():
            shop = self.shop(text)
            raised = self.assertRaises(JobFailed, worker.prepare, shop.work)
            self.assertEqual(raised.number, Number.TEMPLATE_BROKEN)
            self.assertIn(place, raised.text)
            self.assertNotIn(str(Path.cwd()), raised.text)
        shop = self.shop("#let template(r, job) = {\n  unknown-thing\n}")
        worker.prepare(shop.work)
        raised = self.assertRaises(JobFailed, shop.produce, RECORDS)
        self.assertEqual(
            (raised.number, raised.text),
            (
                Number.TEMPLATE_BROKEN,
                "t.typ, line 2, column 3: unknown variable: unknown-thing; "
                "if you meant to use subtraction, try adding spaces around the minus sign: `unknown - thing`",
            ),
        )

    def test_the_disk_is_full(self) -> None:
        shop = self.shop("#let template(r, job) = [x]")
        with patch.object(Path, "write_bytes", side_effect=OSError(28, "No space left on device")):
            raised = self.assertRaises(OutputUnavailable, shop.produce, RECORDS)
        self.assertEqual(str(raised), "the output could not be written: No space left on device")


class SandboxTests(ShopCase):
    def test_nothing_outside_of_the_project_is_read(self) -> None:
        (Path(self.mktemp()).parent / "secret.txt").write_text("secret")
        for what in (
            "/etc/passwd",
            "../secret.txt",
            "../../../../../../../../etc/passwd",
            "x/../../../secret.txt",
            "file:///etc/passwd",
            "..\\\\secret.txt",
            "/proc/self/environ",
            "/dev/zero",
        ):
            for call in ("read", "image", "json", "csv", "plugin"):
                shop = self.shop(f'#let template(r, job) = [#{call}("{what}")]')
                produced = shop.produce([{}])
                self.assertEqual(produced.documents, [], (call, what))
                self.assertEqual(len(produced.failures), 1)

    def test_the_network_is_not_asked_for_packages(self) -> None:
        # In worker processes there is no way to it, see test_executors; here the package is not in its folder.
        with patch.dict(os.environ, {"HTTPS_PROXY": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}):
            shop = self.shop('#let template(r, job) = { import "@preview/cetz:0.3.0"; [x] }')
            [failure] = shop.produce([{}]).failures
        self.assertIn("the package is not in the project's folder packages", failure.text)

    def test_a_package_of_the_project(self) -> None:
        files = {
            "packages/preview/hello/0.1.0/typst.toml": "[package]\n"
            'name = "hello"\nversion = "0.1.0"\nentrypoint = "lib.typ"\n',
            "packages/preview/hello/0.1.0/lib.typ": "#let hello = [Hello]",
        }
        shop = self.shop('#import "@preview/hello:0.1.0": hello\n#let template(r, job) = hello')
        for name, text in files.items():
            path = shop.work.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        shop.produce([{}])
        self.assertEqual(anatomy(shop.files()["001.pdf"]).texts, ["Hello"])


class OutputTests(ShopCase):
    def test_pictures(self) -> None:
        second = 'if r.n == "2" { pagebreak(); [b] }'
        body = f"#let template(r, job) = {{ set page(width: 72pt, height: 36pt, margin: 0pt); [a]; {second} }}"
        for kind, magic in {"png": b"\x89PNG", "svg": b"<svg"}.items():
            shop = self.shop(body, job=f'output = "{kind}"\nppi = 72')
            produced = shop.produce(RECORDS[:3])
            self.assertEqual(list(shop.files()), [f"001.{kind}", f"002-1.{kind}", f"002-2.{kind}", f"003.{kind}"])
            self.assertTrue(all(data.startswith(magic) for data in shop.files().values()))
            self.assertEqual([one.pages for one in produced.documents], [1, 2, 1])
            if kind == "png":
                size = shop.files()["001.png"][16:24]
                self.assertEqual((int.from_bytes(size[:4]), int.from_bytes(size[4:])), (72, 36))

    def test_every_pdf_standard(self) -> None:
        day = "datetime(year: 2027, month: 1, day: 2)"
        text = f'#let template(r, job) = {{ set document(title: "t", date: {day}); [= x #r.n] }}'
        for standard in PDF_STANDARDS:
            shop = self.shop(text, job=f'pdf_standard = "{standard}"\ntags = true')
            produced = shop.produce(RECORDS[:2])
            self.assertEqual([one.text for one in produced.failures], [], standard)
            for data in shop.files().values():
                part = standard[2] if standard.startswith("a-") else ""
                self.assertEqual(f"<pdfaid:part>{part}".encode() in data, bool(part), standard)
                self.assertEqual(anatomy(data).problems, [], standard)

    def test_fonts_of_the_project(self) -> None:
        import typst

        fonts = list(Path("/usr/share/fonts").rglob("DejaVuSansMono.ttf"))
        if not fonts:
            self.skipTest("a font is needed: apt-get install fonts-dejavu-core")
        self.assertIsNotNone(typst)
        files = {"fonts/a.ttf": fonts[0].read_bytes()}
        shop = self.shop('#let template(r, job) = { set text(font: "DejaVu Sans Mono"); [x] }', files=files)
        self.assertEqual([path.name for path in shop.work.fonts], ["fonts"])
        shop.produce([{}])
        self.assertIn(b"DejaVuSansMono", shop.files()["001.pdf"])

    def test_variables_in_their_order(self) -> None:
        rules = (
            'variables = {a = "project", b = "project", c = "project"}\nrules = {script = "r.js", variables = ["d"]}'
        )
        text = "#let template(r, job) = [#r.a #r.b #r.c #r.d #job.name]"
        shop = self.shop(text, more=rules, files={"r.js": "const d = (r) => r.a + r.c"})
        work = worker.Work(
            **{
                **{f: getattr(shop.work, f) for f in worker.Work.__slots__ if f != "__weakref__"},
                "document_variables": {"c": "packet"},
            }
        )
        worker.produce(work, worker.Chunk(first=1, records=[{"a": "record", "c": "record"}]))
        self.assertEqual(anatomy(shop.files()["001.pdf"]).texts, ["record project packet recordpacket A"])

    def test_a_thread_does_not_use_what_another_has_loaded(self) -> None:
        import threading

        shop = self.shop("#let template(r, job) = [x]")
        worker.prepare(shop.work)
        mine = worker._loaded(shop.work)
        theirs: list[Any] = []
        thread = threading.Thread(target=lambda: theirs.append(worker._loaded(shop.work)))
        thread.start()
        thread.join()
        self.assertIs(worker._loaded(shop.work)[1], mine[1])
        self.assertIsNot(theirs[0][1], mine[1])


class EndTests(ShopCase):
    """A cancelled job: the record at hand is finished, no further one begun."""

    def test_nothing_is_begun_once_the_end_is_asked_for(self) -> None:
        for together in (True, False):
            shop = self.shop("#let template(r, job) = [#r.text]", together=together)
            end = Path(self.mktemp())
            work = evolve(shop.work, end=end)
            chunk = worker.Chunk(first=1, records=RECORDS)
            end.touch()
            self.assertEqual(worker.produce(work, chunk).documents, [])
            end.unlink()
            with patch.object(worker.Template, "set", autospec=True, side_effect=self.ending(end)):
                produced = worker.produce(work, chunk)
            # What is set together is begun together.
            self.assertEqual([one.record for one in produced.documents], [*range(1, 8)] if together else [1])

    def ending(self, end: Path) -> Callable[..., Any]:
        set_ = worker.Template.set

        def both(*arguments: Any) -> Any:
            end.touch()
            return set_(*arguments)

        return both
