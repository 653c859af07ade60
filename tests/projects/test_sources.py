"""Data sources: records of every kind, the place of what is wrong, and no way out of the project."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pfserver.errors import JobFailed
from pfserver.numbers import Number
from pfserver.projects.records import Records, RecordSource
from pfserver.projects.sources import DelimitedSource, JsonLinesSource, JsonSource, SqlSource, common, sql
from pfserver.projects.sources.common import Unreadable

PLUGINS = (DelimitedSource(), JsonLinesSource(), JsonSource(), SqlSource())


class SourceCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = Path(self.mktemp()).resolve()
        self.root.mkdir()
        self.records = Records(PLUGINS, Path(self.mktemp()))

    def put(self, name: str, content: str | bytes) -> str:
        path = self.root / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    def database(self, name: str = "a.sqlite", rows: int = 3) -> str:
        path = self.root / name
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE t (n INTEGER, name TEXT, price REAL, raw BLOB)")
            connection.executemany(
                "INSERT INTO t VALUES (?, ?, ?, ?)", [(n, f"é{n}", n / 2, b"x") for n in range(rows)]
            )
            connection.commit()
        return str(path)

    def read(self, source: str, query: str = "", **options: Any) -> list[dict[str, Any]]:
        origin = RecordSource(source=source, root=self.root, options=options, query=query)
        with self.records.open(origin) as records:
            return [dict(record) for record in records]

    def count(self, source: str, **options: Any) -> int | None:
        return self.records.count(RecordSource(source=source, root=self.root, options=options))

    def broken(self, source: str, query: str = "", **options: Any) -> str:
        raised = self.assertRaises(JobFailed, self.read, source, query, **options)
        self.assertEqual(raised.number, Number.DATA_SOURCE_BROKEN)
        self.assertNotIn(str(self.root), raised.text)
        return raised.text


class DelimitedTests(SourceCase):
    def test_kinds(self) -> None:
        expected = [{"a": "1", "b c": "x,y"}, {"a": "2", "b c": ""}]
        for name, text in {
            "a.csv": 'a,b c\r\n1,"x,y"\r\n2,\r\n',
            "b.csv": "a;b c\n1;x,y\n2;",
            "c.csv": '\ufeffa\tb c\n1\t"x,y"\n\n2\t\n',
            "d.tsv": "a\tb c\n1\tx,y\n2\t\n",
            "e.TAB": "a\tb c\n1\tx,y\n2\t\n",
        }.items():
            self.assertEqual(self.read(self.put(name, text)), expected, name)
        self.assertEqual(self.read(self.put("f.csv", "a|b c\n1|x,y\n2|\n"), delimiter="|"), expected)
        self.assertEqual(self.read(self.put("g.csv", '"a","b c"\n"1","x,y"\n"2",""')), expected)

    def test_names_and_values_may_have_line_breaks(self) -> None:
        source = self.put("a.csv", '"a\nb",c\n"1\n2",3\n')
        self.assertEqual(self.read(source), [{"a\nb": "1\n2", "c": "3"}])
        self.assertIsNone(self.count(source))

    def test_encodings(self) -> None:
        for encoding in ("utf-8", "utf-16", "latin-1", "cp1252", "utf-16-le"):
            source = self.put("a.csv", "name\né\n".encode(encoding))
            self.assertEqual(self.read(source, encoding=encoding), [{"name": "é"}], encoding)
        self.assertIn("there is no encoding 'klingon'", self.broken(source, encoding="klingon"))

    def test_rows_that_do_not_fit_are_failures_of_their_own(self) -> None:
        source = self.put("a.csv", "a,b\n1,2\n3\n4,5,6\n7,8\n")
        origin = RecordSource(source=source, root=self.root)
        with self.records.open(origin) as records:
            got = [one.text if isinstance(one, Unreadable) else dict(one) for one in records]
        self.assertEqual(
            got,
            [
                {"a": "1", "b": "2"},
                "a.csv, line 3: has 1 fields where the first line names 2",
                "a.csv, line 4: has 3 fields where the first line names 2",
                {"a": "7", "b": "8"},
            ],
        )
        self.assertEqual(self.broken(source, "SELECT * FROM data"), got[1])

    def test_broken_files_are_told_with_their_place(self) -> None:
        for content, text in {
            b"a,b\n1,\xff\n": "a.csv, line 2, column 3: its bytes do not fit its encoding",
            b"a,b\n\xc3\xa9,\xff\n": "a.csv, line 2, column 3: its bytes",
            b'a,b\n1,"x" y\n': "a.csv, line 2, column 6: ",
            b'a,b\n1,"x\ny""z\n"" y",2\n3,"x\nz"y\n': "a.csv, line 6, column 3: ",
            b'a,b\n1,"x\ny""z\n"" y"\n1,""\n3,"x""\nz"y\n': "a.csv, line 7, column 3: ",
            b'a,b\n1,"x': "a.csv, line 2, column 3: unexpected end of data",
            b'a,b\n1,"x\n1,2\n1,2\n': "a.csv, line 2, column 3: unexpected end of data",
            b"": "a.csv, line 1: the first line does not name every column",
            b"a,,b\n": "a.csv, line 1, column 3: the first line does not name every column",
            b"a,a\n": "a.csv, line 1, column 3: two columns have the same name",
        }.items():
            self.assertIn(text, self.broken(self.put("a.csv", content)))
        self.assertIn("unknown key 'x'", self.broken(self.put("a.csv", "a\n"), x=1))
        self.assertIn("delimiter", self.broken(self.put("a.csv", "a\n"), delimiter="ab"))

    def test_a_record_has_an_end(self) -> None:
        for content in (
            b"x" * 5000,
            b"a\n" + b"y" * 5000,
            b'a\n"' + b"y\n" * 3000,
            b'a,b\n"' + b"y\n" * 900 + b'","' + b"y\n" * 900,
        ):
            with patch("pfserver.projects.sources.delimited.RECORD", 2000):
                self.assertIn("longer than 2000 characters", self.broken(self.put("a.csv", content)))
        # But a file may.
        with patch("pfserver.projects.sources.delimited.RECORD", 2000):
            self.assertEqual(len(self.read(self.put("a.csv", "a\n" + "1234567\n" * 5000))), 5000)

    def test_counts(self) -> None:
        for text, count in {"a\n1\n2\n": 2, "a\n1\n2": 2, "a\n": 0, "a": 0, "": 0}.items():
            self.assertEqual(self.count(self.put("a.csv", text)), count, text)
        self.assertEqual(self.count(self.put("a.csv", "a\r\n1\r\n2\r\n")), 2)
        # A total that is not the number of records is worse than none.
        for unsure in ("a\r1\r2\r", "a\n1\n\n2\n", "a\r\n1\r\n\r\n", "a\n1\n2\n\n", 'a\n"1\n2"\n'):
            self.assertIsNone(self.count(self.put("a.csv", unsure)), unsure)
        source = self.put("a.csv", "a\n1\n2\n".encode("utf-16"))
        self.assertIsNone(self.count(source, encoding="utf-16"))

    @settings(max_examples=100, deadline=None)
    @given(st.lists(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0\r")), min_size=2, max_size=2)))
    def test_what_is_written_is_read(self, rows: list[list[str]]) -> None:
        buffer = io.StringIO()
        csv.writer(buffer).writerows([["a", "b"], *rows])
        self.assertEqual(self.read(self.put("a.csv", buffer.getvalue())), [{"a": a, "b": b} for a, b in rows])

    @settings(max_examples=200, deadline=None)
    @given(st.binary(max_size=60), st.sampled_from(["a.csv", "a.tsv", "a.jsonl", "a.json", "a.sqlite"]))
    def test_any_bytes_give_records_or_a_named_error(self, data: bytes, name: str) -> None:
        options = {"table": "t"} if name == "a.sqlite" else {}
        try:
            records = self.read(self.put(name, b"a,b\n" + data if name == "a.csv" else data), **options)
        except JobFailed as error:
            self.assertEqual(error.number, Number.DATA_SOURCE_BROKEN)
        else:
            self.assertTrue(all(isinstance(record, dict) for record in records))


class JsonTests(SourceCase):
    RECORDS = [{"a": 1, "b": [None, {"c": "é"}]}, {"a": 2.5}]

    def test_kinds(self) -> None:
        lines = "\n\n".join(json.dumps(record) for record in self.RECORDS)
        for name, text in {"a.jsonl": lines, "b.ndjson": lines + "\n", "c.json": json.dumps(self.RECORDS)}.items():
            self.assertEqual(self.read(self.put(name, text)), self.RECORDS)
        self.assertEqual(self.count(self.put("a.jsonl", lines)), 2)
        self.assertEqual(self.read(self.put("e.json", " [ ] ")), [])
        nested = self.put("d.json", json.dumps({"x": [1], "answer": {"items": self.RECORDS, "n": 1}}))
        self.assertEqual(self.read(nested, records="answer.items"), self.RECORDS)

    def test_broken_files_are_told_with_their_place(self) -> None:
        for name, content, text in (
            ("a.jsonl", b'{"a": 1}\n{"a": }\n', "a.jsonl, line 2, column 7: Expecting value"),
            ("a.jsonl", b"{}\n[1]\n", "a.jsonl, line 2, column 1: the line is not a JSON object"),
            ("a.jsonl", b'{"a": "\xff"}', "a.jsonl, line 1, column 8: the line is not JSON in UTF-8"),
            ("a.jsonl", b"[" * 100_000, "a.jsonl, line 1, column 1: the line is not JSON"),
            ("a.jsonl", b"9" * 10_000, "a.jsonl, line 1, column 1: "),
            ("a.json", b'[{"a": 1},\n {"a" 2}]', "a.json, line 2, column 7: Expecting ':' delimiter"),
            ("a.json", b'[{"a": 1}', "a.json, line 1, column 10: ',' is expected"),
            ("a.json", b'[{"a": 1}, 5]', "a.json, line 1, column 13: item 2 is not a JSON object"),
            ("a.json", b'[{"a": "\xff"}]', "a.json, line 1, column 9: is not UTF-8"),
            ("a.json", b"[" * 100_000, "a.json, line 1, column 2: is nested too deeply"),
        ):
            self.assertIn(text, self.broken(self.put(name, content)), content[:40])

    @settings(max_examples=100, deadline=None)
    @given(
        st.lists(st.dictionaries(st.text(max_size=3), st.text() | st.integers() | st.lists(st.floats(-9, 9)))),
        st.sampled_from([None, 1]),
        st.integers(1, 9),
    )
    def test_what_is_written_is_read_at_any_pace(self, rows: list[Any], indent: int | None, pace: int) -> None:
        text = json.dumps(rows, indent=indent, ensure_ascii=False)
        with patch("pfserver.projects.sources.window._READ", pace):
            self.assertEqual(self.read(self.put("a.json", text)), rows)

    def test_a_record_has_an_end(self) -> None:
        window = patch("pfserver.projects.sources.window.RECORD", 2000)
        with patch("pfserver.projects.sources.documents.RECORD", 2000), window:
            self.assertIn("too long", self.broken(self.put("a.jsonl", json.dumps({"a": "x" * 3000}))))
            self.assertIsNone(self.count(self.put("a.jsonl", json.dumps({"a": "x" * 3000}))))
            long = json.dumps([{"a": 1}, {"a": "x" * 200_000}])
            self.assertIn("longer than 2000 characters", self.broken(self.put("a.json", long)))
            self.assertEqual(len(self.read(self.put("b.json", json.dumps([{"a": "x" * 1000}] * 500)))), 500)


ATTACKS = (
    "INSERT INTO {t} (name) VALUES ('x')",
    "DELETE FROM {t}",
    "UPDATE {t} SET name = 'x'",
    "DROP TABLE {t}",
    "CREATE TABLE x (a)",
    "ATTACH DATABASE '/tmp/pfserver-attack.sqlite' AS x",
    "PRAGMA writable_schema = 1",
    "SELECT * FROM {t}; DELETE FROM {t}",
    "SELECT 1; SELECT 2",
    "WITH x AS (SELECT 1) DELETE FROM {t}",
    "WITH x AS (SELECT 1) INSERT INTO {t} (name) SELECT 'x'",
    "VACUUM INTO '/tmp/pfserver-attack.sqlite'",
    "EXPLAIN SELECT 1",
    "SELECT load_extension('/tmp/x.so')",
    "SELECT readfile('/etc/passwd')",
    "SELECT writefile('/tmp/pfserver-attack.sqlite', 'x')",
    "SELECT * FROM pragma_table_info('{t}')",
    "SELECT zeroblob(1000000000) AS x",
    "SELECT group_concat(hex(randomblob(100000))) AS x FROM (WITH RECURSIVE n(i) AS "
    "(SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 1000) SELECT i FROM n)",
    "",
    "/* x */",
    "SELECT",
    "\0SELECT 1",
)


class SqlTests(SourceCase):
    def test_files_and_urls(self) -> None:
        source = self.database()
        expected = [{"n": n, "name": f"é{n}"} for n in range(3)]
        query = "SELECT n, name FROM t ORDER BY n"
        self.assertEqual(self.read(source, query=query), expected)
        self.assertEqual(self._url(query), expected)
        self.assertEqual(self.count(source, query=query + ";"), 3)
        self.assertEqual(len(self.read(source, table="t")), 3)
        self.assertIn("no such table", self.broken(source, table='t" UNION SELECT 1 --'))

    def test_each_database_quotes_a_table_in_its_own_way(self) -> None:
        for scheme, quoted in (("mysql", '`a``"b`'), ("postgresql", '"a`""b"'), ("sqlite", '"a`""b"')):
            query = SqlSource()._query(f"{scheme}://host/d", {"table": 'a`"b'})
            self.assertEqual(query, f"SELECT * FROM {quoted}")
        self.assertIn("cannot be used", self.broken("nothing://host/d", table="t"))

    def _url(self, query: str) -> list[dict[str, Any]]:
        origin = RecordSource(source="sqlite:///a.sqlite", root=self.root, options={"query": query})
        with self.records.open(origin) as records:
            return [dict(record) for record in records]

    def test_a_url_does_not_leave_the_project(self) -> None:
        outside = self.root.parent / "outside.sqlite"
        Path(self.database()).rename(outside)
        (self.root / "link.sqlite").symlink_to(outside)
        for url in (
            f"sqlite:///{outside}",
            "sqlite:///../outside.sqlite",
            f"sqlite+pysqlite:///{outside}",
            f"sqlite:////{outside}",
            "sqlite:///link.sqlite",
            f"sqlite:///file:{outside}?uri=true",
            "sqlite://",
        ):
            origin = RecordSource(source=url, root=self.root, options={"table": "t"})
            with self.assertRaises(JobFailed) as raised, self.records.open(origin) as records:
                list(records)
            self.assertRegex(raised.exception.text, "inside the project|no such file", url)

    def test_only_reading(self) -> None:
        source = self.database()
        before = Path(source).read_bytes()
        for attack in ATTACKS:
            origin = RecordSource(source=source, root=self.root, options={"query": attack.format(t="t")})
            with self.assertRaises(JobFailed, msg=attack) as raised, self.records.open(origin) as records:
                list(records)
            self.assertEqual(raised.exception.number, Number.DATA_SOURCE_BROKEN)
        self.assertEqual(Path(source).read_bytes(), before)
        self.assertFalse(Path("/tmp/pfserver-attack.sqlite").exists())

    def test_a_query_has_an_end(self) -> None:
        endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) AS n FROM n"
        with patch.object(sql, "SECONDS", 0.2):
            for source, how in ((self.database(), {"query": endless}), (self.put("a.csv", "a\n1\n"), {})):
                origin = RecordSource(source=source, root=self.root, options=how, query="" if how else endless)
                with self.assertRaises(JobFailed) as raised, self.records.open(origin) as records:
                    list(records)
                self.assertIn("takes longer than 0.2 seconds", raised.exception.text)

    def test_slow_readers_are_no_slow_queries(self) -> None:
        with patch.object(sql, "SECONDS", 3600.0):
            origin = RecordSource(source=self.database(rows=200), root=self.root, options={"table": "t"})
            with self.records.open(origin) as records:
                next(records)
                self.assertEqual(len(list(records)), 199)

    def test_what_cannot_be_opened(self) -> None:
        self.assertIn("there is no such file", self.broken(str(self.root / "none.sqlite"), table="t"))
        self.assertIn("needs either query", self.broken(self.database()))
        self.assertIn("not a database", self.broken(self.put("b.sqlite", b"no database at all" * 100), table="t"))
        origin = RecordSource(source="nosuchdb://user:secret@host/x", root=self.root, options={"table": "t"})
        with self.assertRaises(JobFailed) as raised, self.records.open(origin) as records:
            list(records)
        self.assertNotIn("secret", raised.exception.text)
        self.assertIn("nosuchdb://host", raised.exception.text)


class QueryTests(SourceCase):
    """_sys_JobSQLQuery: a SELECT over a source of any kind, as the table ``data``."""

    def sources(self) -> dict[str, str]:
        rows = [{"n": str(n), "name": f"é{n}"} for n in range(3)]
        return {
            self.put("a.csv", "n,name\n" + "".join(f"{row['n']},{row['name']}\n" for row in rows)): "data",
            self.put("a.tsv", "n\tname\n" + "".join(f"{row['n']}\t{row['name']}\n" for row in rows)): "data",
            self.put("a.jsonl", "".join(json.dumps(row) + "\n" for row in rows)): "data",
            self.put("a.json", json.dumps(rows)): "data",
            self.database(): "t",
        }

    def test_over_every_kind(self) -> None:
        for source, table in self.sources().items():
            got = self.read(
                source,
                f"SELECT name, upper(name) AS loud FROM {table} WHERE n >= '1' OR n >= 1 ORDER BY n DESC LIMIT 2;",
            )
            self.assertEqual([row["name"] for row in got], ["é2", "é1"], source)
            self.assertEqual(got[0]["loud"], "é2".upper().replace("É", "é"))

    def test_only_reading(self) -> None:
        for source, table in self.sources().items():
            before = Path(source).read_bytes()
            for attack in ATTACKS:
                if attack.strip():
                    self.broken(source, attack.format(t=table))
            self.assertEqual(Path(source).read_bytes(), before)

    def test_odd_columns_and_values(self) -> None:
        got = self.read(
            self.put("b.jsonl", '{"a\\"b": [1, null], "select": true, "n": null}\n{"x": 1}\n'), "SELECT * FROM data"
        )
        self.assertEqual(got, [{'a"b': "[1, null]", "select": 1, "n": None}, {'a"b': None, "select": None, "n": None}])
        self.assertIn("has no record to query", self.broken(self.put("c.csv", "a\n"), "SELECT * FROM data"))
        surrogate = self.put("d.jsonl", '{"a": "\\ud800"}')
        self.assertIn("cannot be queried", self.broken(surrogate, "SELECT * FROM data"))


class HostileTests(SourceCase):
    def test_no_plugin_reads_it(self) -> None:
        self.assertIn("no data source", self.broken(str(self.root / "a.xlsx")))
        self.assertFalse(self.records.takes("file:///etc/passwd"))

    def test_compressed_is_not_text(self) -> None:
        self.assertIn("do not fit its encoding", self.broken(self.put("a.csv", gzip.compress(b"a,b\n1,2\n"))))

    def test_shown_hides_folders_and_passwords(self) -> None:
        self.assertEqual(common.shown("/a/b/c.csv"), "c.csv")
        self.assertEqual(common.shown("postgresql://u:p@h:1/d?password=x"), "postgresql://h:1")
