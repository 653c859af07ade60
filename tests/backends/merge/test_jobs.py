"""Merge jobs from packet to output, over a real socket, in real worker processes."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pikepdf
import pypdfium2

from tests.backends.merge.press import PressCase
from tests.backends.merge.web import Web
from tests.frontends.pageflex.support import packet
from tests.support.process import ended

SOURCE = '[data]\nsource = "{}"\n{}\n[jobs.A]\ntemplate = "t.typ"\nsplit = "job"\nbookmark = "name"\n{}\n'
NAMES = ("Ada", "Émile", "Zoë Ж")


def texts(path: Path) -> list[str]:
    """The text of each page."""
    document = pypdfium2.PdfDocument(path)
    try:
        return [page.get_textpage().get_text_range() for page in document]
    finally:
        document.close()


class SourceTests(PressCase):
    def assertNames(self, told, names=NAMES) -> None:
        self.assertEqual((told.outcome, texts(told.folder / "001.pdf")), (20, list(names)), told.text)

    def csv(self) -> str:
        return "name\n" + "".join(f"{name}\n" for name in NAMES)

    def test_files_of_every_kind(self) -> None:
        rows = [{"name": name} for name in NAMES]
        for kind, content in {
            "csv": self.csv(),
            "tsv": "name\tx\n" + "".join(f"{name}\t1\n" for name in NAMES),
            "jsonl": "".join(json.dumps(row) + "\n" for row in rows),
            "json": json.dumps(rows),
        }.items():
            self.project(f"kind {kind}", SOURCE.format(f"d.{kind}", "", ""), **{f"d__{kind}": content})
            self.assertNames(self.submit(f"kind {kind}.pf"))

    def database(self, folder: Path) -> None:
        with closing(sqlite3.connect(folder / "d.sqlite")) as connection:
            connection.execute("CREATE TABLE t (name)")
            connection.executemany("INSERT INTO t VALUES (?)", [(name,) for name in NAMES])
            connection.commit()

    def test_databases(self) -> None:
        folder = self.project("db", "", d__sqlite=b"")
        (folder / "d.sqlite").unlink()
        self.database(folder)
        for source in ("d.sqlite", "sqlite:///d.sqlite"):
            self.project("db", SOURCE.format(source, 'query = "SELECT name FROM t"', ""))
            self.assertNames(self.submit("db.pf"))
            self.assertNames(self.submit("db.pf", _sys_JobSQLQuery="SELECT name FROM t WHERE name < 'B'"), ["Ada"])
        outside = self.place / "outside.sqlite"
        shutil.copy(folder / "d.sqlite", outside)
        self.project("db", SOURCE.format(f"sqlite:///{outside}", 'table = "t"', ""))
        told = self.submit("db.pf")
        self.assertEqual(told.outcome, 22)
        self.assertIn("J0005012: sqlite://: does not name a file inside the project", told.text)

    def test_another_source_and_a_query_from_the_packet(self) -> None:
        self.project("packet", SOURCE.format("d.csv", "", ""), d__csv="name\nnobody\n", e__csv=self.csv())
        self.assertNames(self.submit("packet.pf", _sys_JobDataSourceFile="packet\\e.csv"))
        query = "SELECT name FROM data WHERE name >= 'B' ORDER BY name DESC"
        told = self.submit("packet.pf", _sys_JobDataSourceFile="packet/e.csv", _sys_JobSQLQuery=query)
        self.assertNames(told, ["Émile", "Zoë Ж"])
        self.refused(5117, "packet.pf", _sys_JobDataSourceFile="../state/pfserver.sqlite")
        self.refused(5117, "packet.pf", _sys_JobDataSourceFile="/etc/passwd")
        self.refused(5114, "packet.pf", _sys_JobDataSourceFile="packet/none.csv")
        self.refused(5112, "packet.pf", _sys_JobDataSourceFile="http://a.example/x.csv")
        for attack in ("DELETE FROM data", "SELECT 1; DROP TABLE data", "ATTACH 'x' AS y", "PRAGMA journal_mode=OFF"):
            self.refused(5112, "packet.pf", _sys_JobSQLQuery=attack)
        told = self.submit("packet.pf", _sys_JobSQLQuery="WITH x AS (SELECT 1) DELETE FROM data")
        self.assertEqual(told.outcome, 22)
        self.assertIn("J0005012: d.csv: the query cannot be run: not authorized", told.text)

    def test_no_source_is_one_document_of_the_packet(self) -> None:
        self.project("single", '[variables]\nname = "project"\n[jobs.A]\ntemplate = "t.typ"\n')
        self.assertEqual(texts(self.submit("single.pf").folder / "001.pdf"), ["project"])
        told = self.submit("single.pf", document={"name": "packet & <co>"})
        self.assertEqual(texts(told.folder / "001.pdf"), ["packet & <co>"])

    def test_document_variables_win_for_every_record(self) -> None:
        self.project("override", SOURCE.format("d.csv", "", ""), d__csv="name\na\nb\n")
        self.assertNames(self.submit("override.pf", document={"name": "packet"}), ["packet"] * 2)

    def test_the_web(self) -> None:
        with Web() as web:
            web.pages["/d.csv"] = self.csv().encode()
            web.pages["/typed"] = (json.dumps([{"name": name} for name in NAMES]).encode(), "application/json")
            web.pages["/gz.csv"] = (gzip.compress(self.csv().encode()), "text/csv", {"Content-Encoding": "gzip"})
            web.pages["/moved"] = (302, {"Location": "/d.csv"})
            for path in ("/d.csv", "/typed", "/gz.csv", "/moved"):
                self.project("web", SOURCE.format(web.url(path), "", ""))
                self.assertNames(self.submit("web.pf"))
            self.assertNames(self.submit("web.pf", _sys_JobSQLQuery="SELECT name FROM data LIMIT 1"), NAMES[:1])

    def test_what_the_web_refuses(self) -> None:
        with Web() as web:
            web.pages["/loop"] = (302, {"Location": "/loop"})
            web.pages["/file"] = (302, {"Location": "file:///etc/passwd"})
            web.pages["/short"] = (b"name\nx\n", "text/csv", {"Content-Length": "1000"})
            for path, text in {
                "/none.csv": "the server answers 404",
                "/loop": "cannot be fetched",
                "/file": "cannot be fetched",
                "/short": "cannot be fetched",
            }.items():
                self.project("web bad", SOURCE.format(web.url(path), "", ""))
                told = self.submit("web bad.pf")
                self.assertEqual(told.outcome, 22, told.text)
                self.assertRegex(told.text, rf"J0005012: http://127\.0\.0\.1:\d+: {text}")
            gone = web.url("/x.csv")
        self.project("web bad", SOURCE.format(gone, "", ""))
        self.assertIn("cannot be fetched: Connection", self.submit("web bad.pf").text)


class LimitTests(PressCase):
    config = 'executor = "processes:2"\n[backends.merge]\nfetch_bytes = 100000\nfetch_seconds = 1.0\n'

    def test_size_and_time_of_what_is_fetched(self) -> None:
        with Web() as web:
            web.pages["/big.csv"] = b"name\n" + b"x\n" * 100_000
            web.pages["/bomb.csv"] = (gzip.compress(bytes(50 << 20)), "text/csv", {"Content-Encoding": "gzip"})
            web.pages["/endless.csv"] = None
            web.pages["/silent.csv"] = ...
            for path, text in {
                "/big.csv": "is larger than 100000 bytes",
                "/bomb.csv": "is larger than 100000 bytes",
                "/endless.csv": "is larger than 100000 bytes",
                "/silent.csv": "was not fetched within 1 seconds",
            }.items():
                self.project("web", SOURCE.format(web.url(path), "", ""))
                told = self.submit("web.pf")
                self.assertEqual(told.outcome, 22)
                self.assertRegex(told.text, rf"J0005012: http://127\.0\.0\.1:\d+: {text}")
            # Whoever sends without end is hung up on.
            self.assertTrue(web.until_closed())


class FailureTests(PressCase):
    config = f"{PressCase.config}[queues]\none = 1\n"

    def test_the_example_of_failing_records(self) -> None:
        told = self.submit("Failing Records/Failing Records.pf", "Skip")
        self.assertEqual(told.outcome, 21)
        expected = (
            "J0005000- Evaluation failed for variable: FormatPriceJS\r\n"
            "J0005000: Script result was null, line 48, column 4\r\n"
        )
        self.assertIn(expected, told.text)
        for text in (
            'J0005000: TypeError: a price must be a number, not "twelve", line 24, column 102\r\n',
            "J0005000: Script took longer than 0.5 seconds, line ",
            "out of memory, line ",
            "J0005002: Record 6: label.typ, line 4, column 28: file not found\r\n",
            'J0005001: Record 7: label.typ, line 4, column 35: dictionary does not contain key "Picture"\r\n',
        ):
            self.assertIn(text, told.text)
        self.assertEqual(len(told.text.split("J0005000- ")), 5)
        self.assertEqual([text.split()[0] for text in texts(told.folder / "001.pdf")], ["Good", "Good"])
        ledger = told.ledger
        self.assertEqual((ledger["documents"], ledger["failures"], ledger["outcome"]), (2, 6, "PARTIAL"))
        self.assertEqual([entry["record"] for entry in ledger["records"]], list(range(1, 9)))
        self.assertEqual(ledger["records"][1]["failures"][0]["number"], 5000)
        self.assertEqual(ledger["records"][7], {"record": 8, "pages": 1, "files": ["001.pdf"], "page": 2})

    def test_on_error_stop(self) -> None:
        told = self.submit("Failing Records/Failing Records.pf", "Stop")
        self.assertEqual((told.outcome, told.files()), (22, []))
        self.assertIn("Script result was null, line 48, column 4", told.text)

    def test_what_fails_the_whole_job(self) -> None:
        good = SOURCE.format("d.csv", "", "")
        rules = '[rules]\nscript = "r.js"\nvariables = ["F"]\n' + good
        for name, text, files, number, place in (
            ("template", good, {"t__typ": "#let template(r, job) = {\n  [#r.name"}, 5011, "t.typ, line 1, column 25: "),
            (
                "unknown",
                good,
                {"t__typ": "#let template(r, job) = {\n  nothing\n}"},
                5011,
                "t.typ, line 2, column 3: unknown",
            ),
            (
                "rules",
                rules,
                {"r__js": "export const F = (r) => {\n  return ;;)\n}"},
                5013,
                "r.js, line 2, column 12: ",
            ),
            ("no rule", rules, {"r__js": "const G = 1"}, 5013, "r.js has no function F"),
            ("data", good, {"d__csv": 'name\n"a" b\n'}, 5012, "d.csv, line 2, column 4: "),
            ("empty", good, {"d__csv": ""}, 5012, "d.csv, line 1: "),
            ("bytes", good, {"d__csv": b"name\nok\n\xff\n"}, 5012, "d.csv, line 3, column 1: its bytes do not fit"),
        ):
            self.project(f"whole {name}", text, **{"d__csv": "name\na\n", **files})
            told = self.submit(f"whole {name}.pf")
            self.assertEqual((told.outcome, told.files()), (22, []), told.text)
            self.assertIn(f"J000{number}: {place}", told.text)

    def test_data_that_breaks_after_many_records(self) -> None:
        self.project("late", SOURCE.format("d.csv", "", ""), d__csv=b"name\n" + b"a\n" * 500 + b"\xff\n")
        told = self.submit("late.pf")
        self.assertEqual((told.outcome, told.files()), (22, []))
        self.assertIn("J0005012: d.csv, line 502, column 1: ", told.text)

    def test_broken_projects_are_refused_with_their_place(self) -> None:
        for text, place in {
            "title = \n": "line 1, column 9",
            "[jobs.A]\n": "template",
            '[jobs.A]\ntemplate = "none.typ"\n': "line 2",
            '[jobs.A]\ntemplate = "t.typ"\nbogus = 1\n': "line 3, column 1: unknown key 'bogus'",
            '[data]\nsource = "d.xlsx"\n[jobs.A]\ntemplate = "t.typ"\n': "d.xlsx",
        }.items():
            self.project("broken", text, d__xlsx=b"x")
            self.assertIn(place, self.refused(5116, "broken.pf"))

    def test_a_project_that_breaks_while_its_job_waits(self) -> None:
        self.project("slow", SOURCE.format("d.csv", "", ""), d__csv="name\n" + "x\n" * 100_000)
        self.project("changing", SOURCE.format("d.csv", "", ""), d__csv="name\na\n")
        slow, waiting = (
            self.server.talk(packet("SubmitJob", ProjectName=name, JobName="A", _sys_QueueName="one"))[10:-2]
            for name in ("slow.pf", "changing.pf")
        )
        self.project("changing", "title = \n")
        self.server.talk(packet("CancelJob", _sys_TransactionID=slow.decode()))
        self.assertEqual(ended(self.server, slow), b"CANCELLED")
        self.assertEqual(ended(self.server, waiting), b"FAILED")
        log = self.server.talk(packet("GetTaskLog", _sys_TransactionID=waiting.decode())).decode()
        self.assertIn("\r\nJ0005010: changing.pf, line 1, column 9: ", log)
        self.assertFalse((self.server.state / "output" / waiting.decode()).exists())

    def test_many_failures_are_counted(self) -> None:
        self.project(
            "many",
            SOURCE.format("d.csv", "", ""),
            t__typ="#let template(r, job) = [#r.nothing]",
            d__csv="name\n" + "x\n" * 1300,
        )
        told = self.submit("many.pf")
        self.assertEqual(told.outcome, 22)
        self.assertEqual(told.text.count("J0005001: "), 1000)
        self.assertEqual(told.text.count("J0005004: More than 1000 failures"), 1)


class CrashTests(PressCase):
    config = 'executor = "processes:2"\n[backends.merge]\nchunk = 4\n'

    #: A text of so many letters is more than a worker's memory: Typst ends its process.
    TEMPLATE = '#let template(r, job) = [#r.name #("x" * int(r.n)).len()]'

    def test_the_record_that_kills_is_found_and_the_others_go_on(self) -> None:
        for split, killers in {"job": (3, 10), "record": (2,)}.items():
            rows = [(f"r{n}", 10**14 if n in killers else n) for n in range(1, 13)]
            data = "name,n\n" + "".join(f"{name},{n}\n" for name, n in rows)
            text = SOURCE.format("d.csv", "", "").replace('"job"', f'"{split}"')
            self.project(f"crash {split}", text, t__typ=self.TEMPLATE, d__csv=data)
            told = self.submit(f"crash {split}.pf")
            self.assertEqual(told.outcome, 21, told.text)
            lost = "the worker process died, again and again"
            self.assertEqual(
                re.findall(r"J0005003: (.*)\r\n", told.text), [f"Record {record}: {lost}" for record in killers]
            )
            expected = [f"{name} {n}" for name, n in rows if n < 100]
            pages = [one for name in told.files() if name.endswith(".pdf") for one in texts(told.folder / name)]
            self.assertEqual(pages, expected)
            if split == "job":
                self.assertEqual(told.files(), ["001.pdf", "job.json"])


class EndlessTests(PressCase):
    config = 'executor = "processes:2"\n[backends.merge]\nchunk = 1\nchunk_seconds = 15.0\n'

    def test_a_template_that_does_not_end_is_ended(self) -> None:
        turns = "for a in range(n) { for b in range(n) { for c in range(n) { } } }"
        loop = f"#let template(r, job) = {{ let n = int(r.n); {turns}; [#r.name] }}"
        data = "name,n\nr1,0\nr2,100000\nr3,0\n"
        self.project("slow", SOURCE.format("d.csv", "", ""), t__typ=loop, d__csv=data)
        told = self.submit("slow.pf")
        self.assertEqual(told.outcome, 21)
        self.assertEqual(texts(told.folder / "001.pdf"), ["r1", "r3"])
        self.assertIn("J0005018: Record 2: the worker took longer than 15 seconds\r\n", told.text)


class OutputTests(PressCase):
    def test_run_files_are_cut_and_numbered(self) -> None:
        rows = "name,pages\n" + "".join(f"n{n},{n % 3 + 1}\n" for n in range(1, 48))
        template = (
            "#let template(r, job) = { set page(width: 6cm, height: 4cm);"
            " for p in range(int(r.pages)) { if p > 0 { pagebreak(weak: true) }; [#r.name page #p <x>]; [ ] } }"
        ).replace(" <x>", "")
        self.project("runs", SOURCE.format("d.csv", "", "max_documents = 20"), t__typ=template, d__csv=rows)
        told = self.submit("runs.pf")
        self.assertEqual((told.outcome, told.files()), (20, ["001.pdf", "002.pdf", "003.pdf", "job.json"]))
        number = 0
        for name in told.files()[:3]:
            with pikepdf.open(told.folder / name) as pdf:
                self.assertEqual(pdf.check_pdf_syntax(), [])
                marks = list(pdf.open_outline().root)
                index = {page.objgen: place for place, page in enumerate(pdf.pages)}
                pages = texts(told.folder / name)
                self.assertEqual(len(marks), 20 if number < 40 else 7)
                for mark in marks:
                    number += 1
                    at = index[mark.destination[0].objgen]
                    self.assertEqual(mark.title, f"n{number}")
                    self.assertEqual(pages[at].strip(), f"n{number} page 0")
                    entry = told.ledger["records"][number - 1]
                    expected = {"record": number, "pages": number % 3 + 1, "files": [name], "page": at + 1}
                    self.assertEqual(entry, expected)
        ledger = told.ledger
        self.assertEqual((ledger["documents"], ledger["pages"]), (47, sum(n % 3 + 1 for n in range(1, 48))))
        self.assertEqual(ledger["transaction"], told.transaction)
        self.assertGreater(ledger["documents_per_second"], 0)
        self.assertLessEqual(ledger["started"], ledger["finished"])

    def test_every_output(self) -> None:
        jobs = "".join(
            f'[jobs.{name}]\ntemplate = "t.typ"\n{more}\n'
            for name, more in {
                "pdf": "",
                "png": 'output = "png"',
                "svg": 'output = "svg"',
                "archive": 'pdf_standard = "a-2b"',
                "press": 'pdf_standard = "a-2a"\nsplit = "job"',
            }.items()
        )
        self.project(
            "outputs",
            '[data]\nsource = "d.csv"\n' + jobs,
            d__csv="name\na\nb\n",
            t__typ='#let template(r, job) = { set document(title: "x"); set page(width: 6cm); [= #r.name] }',
        )
        for job, magic in {"pdf": b"%PDF", "png": b"\x89PNG", "svg": b"<svg", "archive": b"%PDF"}.items():
            told = self.submit("outputs.pf", job)
            kind = "pdf" if job == "archive" else job
            self.assertEqual((told.outcome, told.files()), (20, [f"001.{kind}", f"002.{kind}", "job.json"]))
            for name in told.files()[:2]:
                data = (told.folder / name).read_bytes()
                self.assertTrue(data.startswith(magic))
                self.assertEqual(b"<pdfaid:part>2</pdfaid:part>" in data, job == "archive")
        told = self.submit("outputs.pf", "press")
        data = (told.folder / "001.pdf").read_bytes()
        self.assertIn(b"<pdfaid:conformance>A</pdfaid:conformance>", data)
        self.assertEqual([text.strip() for text in texts(told.folder / "001.pdf")], ["a", "b"])

    def test_many_document_variables(self) -> None:
        self.project("wide", '[jobs.A]\ntemplate = "t.typ"\n', t__typ="#let template(r, job) = [#r.v9899 of #r.len()]")
        told = self.submit("wide.pf", document={f"v{n}": str(n) for n in range(9900)})
        self.assertEqual(texts(told.folder / "001.pdf"), ["9899 of 9900"])
        self.refused(5106, "wide.pf", "A", {f"v{n}": str(n) for n in range(20_000)})

    def test_examples(self) -> None:
        for project, job in (("Sample Project.pf", "Job 1"), ("Sample Project.pf", "Print run")):
            self.assertEqual(self.submit(project, job).outcome, 20)


class ProjectTests(PressCase):
    def test_zips(self) -> None:
        text = SOURCE.format("d.csv", "", "")
        entries = {
            "z.pf": text,
            "z/t.typ": "#let template(r, job) = image(r.name)",
            "z/d.csv": "name\np.svg\n",
            "z/p.svg": '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
        }
        self.zipped("zip", entries)
        self.assertEqual(self.submit("zip.pf").outcome, 20)
        for name in ("../x.typ", "/x.typ", "z/../../x.typ"):
            self.zipped("evil", {**entries, name: "x"})
            self.assertIn("leads out of it", self.refused(5116, "evil.pf"))
        self.zipped("bomb", {**entries, "z/zeros": bytes(30 << 20)})
        self.assertIn("more than it may", self.refused(5116, "bomb.pf"))
        (self.place / "projects" / "cut.pf").write_bytes((self.place / "projects" / "zip.pf").read_bytes()[:-30])
        self.refused(5116, "cut.pf")

    def test_links_that_lead_out(self) -> None:
        secret = self.place / "secret.txt"
        secret.write_text("secret")
        folder = self.project("linked", SOURCE.format("d.csv", "", ""), d__csv="name\na\n")
        (folder / "s.txt").symlink_to(secret)
        self.assertIn("a link that leads out", self.refused(5116, "linked.pf"))
        (folder / "s.txt").unlink()
        (folder / "d.csv").unlink()
        (folder / "d.csv").symlink_to(secret)
        self.refused(5116, "linked.pf")
        shutil.rmtree(folder)
        folder.symlink_to(self.place)
        self.refused(5116, "linked.pf")
        (self.place / "projects" / "away.pf").symlink_to(secret)
        self.refused(5117, "away.pf")

    def test_names_that_lead_out(self) -> None:
        for name in ("../x.pf", "..\\x.pf", "/etc/x.pf", "\\\\server\\share\\x.pf", "C:\\x.pf", "a/../../x.pf"):
            self.refused(5117, name)
        self.refused(5114, "nothing.pf")
        self.refused(5115, "Sample Project.pf", "No Such Job")

    def test_nothing_outside_is_read_by_a_template(self) -> None:
        (self.place / "projects" / "other.txt").write_text("other")
        for what in ("/etc/passwd", "../other.txt", "../../../../../../../etc/passwd", "/../other.txt"):
            self.project("reads", '[jobs.A]\ntemplate = "t.typ"\n', t__typ=f'#let template(r, job) = [#read("{what}")]')
            told = self.submit("reads.pf")
            self.assertEqual(told.outcome, 22)
            self.assertIn("J0005002: Record 1: t.typ, line 1, column 32: ", told.text)
        self.project(
            "fetches",
            '[jobs.A]\ntemplate = "t.typ"\n',
            t__typ='#import "@preview/cetz:0.3.0": canvas\n#let template(r, job) = []',
        )
        told = self.submit("fetches.pf")
        self.assertEqual(told.outcome, 22)
        self.assertIn(
            "J0005011: t.typ, line 1, column 9: the package is not in the project's folder packages", told.text
        )
