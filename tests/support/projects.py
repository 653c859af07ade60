"""A small project for tests that need many pages or many records, and care little how they look."""

from __future__ import annotations

import json
from pathlib import Path
from unittest import TestCase

import pikepdf

TEMPLATE = "#let template(r, job) = { set page(width: 6cm, height: 4cm, margin: 5mm); [record #r.n]; lorem(20) }"

PROJECT = """
[data]
source = "d.csv"
[jobs.A]
template = "t.typ"
split = "job"
[jobs.B]
template = "t.typ"
"""


def put_project(projects: Path, records: int) -> None:
    """A project ``a.pf`` whose records are numbered from 1 in the column ``n``; A is split by job, B by record."""
    projects.mkdir(parents=True, exist_ok=True)
    (projects / "a.pf").write_text(PROJECT)
    (projects / "t.typ").write_text(TEMPLATE)
    (projects / "d.csv").write_text("n\n" + "".join(f"{n}\n" for n in range(1, records + 1)))


def assert_whole(test: TestCase, folder: Path, records: int, said: str = "") -> None:
    """The output of job A is all there and nothing else is: one page and one entry for each record."""
    test.assertEqual(sorted(path.name for path in folder.iterdir()), ["001.pdf", "job.json"], said)
    with pikepdf.open(folder / "001.pdf") as document:
        test.assertEqual(document.check_pdf_syntax(), [], said)
        test.assertEqual(len(document.pages), records, said)
    ledger = json.loads((folder / "job.json").read_text())
    test.assertEqual((ledger["documents"], ledger["pages"], ledger["failures"]), (records, records, 0), said)
    test.assertEqual([entry["record"] for entry in ledger["records"]], list(range(1, records + 1)), said)
