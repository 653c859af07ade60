"""Merge throughput through the socket, against the same Typst compiles in a bare pool of as many processes.

``python bench/merge.py [--records 20000] [--repeat 3] [--chunk 0]``

Each round measures the bare pool, then both jobs of the price list on one running server; so a busy machine hurts all
three alike. The pool and the server are warm: processes started, fonts found.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from pfserver.backends.merge.plugin import MergeOptions  # noqa: E402
from pfserver.projects.folders import ProjectFolder  # noqa: E402
from pfserver.projects.project import load  # noqa: E402
from pfserver.projects.records import Records, RecordSource  # noqa: E402
from pfserver.projects.rules import RuleSet  # noqa: E402
from pfserver.projects.sources.sql import SqlSource  # noqa: E402
from pfserver.projects.template import Template, make_folder  # noqa: E402
from tests.support.process import ServerProcess  # noqa: E402

PACKET = """<?xml version="1.0"?><?pf_command version="1.0"?>
<pfjob:job_command xmlns:pfjob="http://www.pageflex.com/schemas" name="SubmitJob"><pfjob:job_variables>
<pfjob:var name="ProjectName">Price List/Price List.pf</pfjob:var><pfjob:var name="JobName">{job}</pfjob:var>
<pfjob:var name="_sys_JobSQLQuery">{query}</pfjob:var>
<pfjob:var name="_sys_ClientJobMonitor">true</pfjob:var></pfjob:job_variables></pfjob:job_command>"""

JOBS = {"split = job": "Catalogue", "split = record": "Single Pages"}

Rows = Sequence[Mapping[str, Any]]


def query(records: int) -> str:
    """So many records of the price list's 5,000 products, taken again and again."""
    return (
        f"WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i &lt; {records // 5000}) "
        "SELECT number || '-' || i AS number, name, category, description, price, stock, weight + i AS weight "
        f"FROM n, products LIMIT {records}"
    )


class Bare:
    """Only the compiles: the records with their rules' values are ready before the clock runs."""

    def __init__(self, projects: Path, records: int, chunk: int, size: int, scratch: Path) -> None:
        folder = projects / "Price List"
        project = load(ProjectFolder(folder / "Price List.pf", folder))
        table = project.job("Catalogue")
        link = scratch / "links"
        link.mkdir()
        make_folder(folder, table.template, link)
        assert project.rules is not None
        rules = RuleSet(project.rules)
        job = {"id": "T0000001", "name": "Catalogue", "project": "Price List.pf", "title": "", "variables": {}}
        origin = RecordSource(
            source=str(folder / project.source), root=folder, query=query(records).replace("&lt;", "<")
        )
        rows = []
        with Records([SqlSource()], scratch).open(origin) as source:
            for record in source:
                values, _ = rules.evaluate({**project.variables, **record}, job)
                rows.append({**project.variables, **record, **values})
        self._chunks = list(_chunks(iter(rows), chunk))
        self._job = job
        spawn = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(size, mp_context=spawn, initializer=_load, initargs=(link,))
        list(self._pool.map(_compile, self._chunks[: 4 * size], [job] * 4 * size))

    def seconds(self) -> float:
        """The time for all compiles."""
        begin = time.perf_counter()
        for _ in self._pool.map(_compile, self._chunks, [self._job] * len(self._chunks)):
            pass
        return time.perf_counter() - begin

    def close(self) -> None:
        """End the processes."""
        self._pool.shutdown()


_template: Template


def _load(folder: Path) -> None:
    global _template
    _template = Template(folder, (), "", True)


def _compile(rows: Rows, job: Mapping[str, Any]) -> int:
    pdf: bytes = _template._compile("pdf", rows, job, pdf_standards=[], pdf_tags=True)
    return len(pdf)


def _chunks(rows: Iterator[Mapping[str, Any]], size: int) -> Iterator[Rows]:
    while chunk := list(islice(rows, size)):
        yield chunk


def submit(server: ServerProcess, job: str, records: int) -> float:
    """Seconds from the packet to the monitor's end; the job must be completed."""
    packet = PACKET.format(job=job, query=query(records)).encode()
    begin = time.perf_counter()
    reply = server.talk(packet, timeout=3600).decode("cp1252")
    seconds = time.perf_counter() - begin
    if f"Job completed successfully. {records} documents" not in reply:
        raise SystemExit(f"the job did not complete:\n{reply[-2000:]}")
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--workers", type=int, default=multiprocessing.cpu_count())
    parser.add_argument("--chunk", type=int, default=MergeOptions().chunk, help="records a compile, for both sides")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pfserver-bench-") as folder:
        results = measure(given, Path(folder))
    if given.json:
        print(json.dumps(results))
        return
    print(f"{given.records} records, {given.workers} workers, {given.chunk} records a compile; rounds: {given.repeat}")
    for name, rates in results.items():
        ratios = [rate / limit for rate, limit in zip(rates, results["bare pool"], strict=True)]
        print(f"{name:>16}: {statistics.median(rates):6.0f} records/s   {statistics.median(ratios):.2f} of the limit")


def measure(given: argparse.Namespace, folder: Path) -> dict[str, list[float]]:
    """Records a second of each round, by what was measured."""
    projects = folder / "projects"
    shutil.copytree(ROOT / "examples" / "projects", projects)
    config = (
        f'executor = "processes:{given.workers}"\n[retention]\ncount = 1\n[backends.merge]\nchunk = {given.chunk}\n'
    )
    bare = Bare(projects, given.records, given.chunk, given.workers, folder)
    results: dict[str, list[float]] = {"bare pool": [], **{name: [] for name in JOBS}}
    try:
        with ServerProcess(folder / "server", config=config, projects=projects) as server:
            for job in JOBS.values():
                submit(server, job, 1000)
            for _ in range(given.repeat):
                results["bare pool"].append(given.records / bare.seconds())
                for name, job in JOBS.items():
                    results[name].append(given.records / submit(server, job, given.records))
    finally:
        bare.close()
    return results


if __name__ == "__main__":
    main()
