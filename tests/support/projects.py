"""A small project for tests that need many pages or many records, and care little how they look."""

from __future__ import annotations

from pathlib import Path

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
    """A project ``a.pf`` of so many records, numbered from 1 in the column ``n``; job A is split by job, B by record."""
    projects.mkdir(parents=True, exist_ok=True)
    (projects / "a.pf").write_text(PROJECT)
    (projects / "t.typ").write_text(TEMPLATE)
    (projects / "d.csv").write_text("n\n" + "".join(f"{n}\n" for n in range(1, records + 1)))
