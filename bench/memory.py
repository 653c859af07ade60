"""Peak memory of the server and of its workers during csv jobs of more and more records.

``python bench/memory.py [--records 10000 100000] [--split job]``

Each job runs on a server of its own. Memory is the peak of what was resident (``VmHWM`` of Linux), for a worker the
most of any. What must not grow with the records is shown as a ratio to the first job, and against the limits.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.support.process import ServerProcess  # noqa: E402

#: MiB that the server and a worker may take.
LIMITS = {"server": 150.0, "worker": 400.0}

PACKET = """<?xml version="1.0"?><?pf_command version="1.0"?>
<pfjob:job_command xmlns:pfjob="http://www.pageflex.com/schemas" name="SubmitJob"><pfjob:job_variables>
<pfjob:var name="ProjectName">Labels.pf</pfjob:var><pfjob:var name="JobName">{split}</pfjob:var>
<pfjob:var name="_sys_ClientJobMonitor">true</pfjob:var></pfjob:job_variables></pfjob:job_command>"""

PROJECT = """title = "Labels"
[data]
source = "labels.csv"
[rules]
script = "rules.js"
variables = ["Price"]
[jobs.job]
template = "label.typ"
split = "job"
bookmark = "name"
[jobs.record]
template = "label.typ"
"""

TEMPLATE = """#let template(record, job) = {
  set page(width: 9cm, height: 5cm, margin: 8mm)
  [*#record.name* \\ #record.street \\ #record.city]
  v(1fr)
  align(right, record.Price)
}
"""

RULES = "export const Price = (record) => formatCurrency(record.price, 'EUR');\n"


def put_project(projects: Path, records: int) -> None:
    """A project whose data has so many records."""
    folder = projects / "Labels"
    folder.mkdir(parents=True)
    (projects / "Labels.pf").write_text(PROJECT)
    (folder / "label.typ").write_text(TEMPLATE)
    (folder / "rules.js").write_text(RULES)
    with (folder / "labels.csv").open("w") as file:
        file.write("name,street,city,price\n")
        for n in range(records):
            file.write(f"Customer {n},{n % 997} Mill Lane,Hay-on-Wye HR3 {n % 10}AA,{n / 7:.2f}\n")


class Peaks:
    """The peak memory in MiB of a process and of those that it has started, looked at again and again."""

    def __init__(self, server: int) -> None:
        self.server = 0.0
        self.workers: dict[int, float] = {}
        self._id = server
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def stop(self) -> dict[str, float]:
        """Look once more; gives the peaks."""
        self._stop.set()
        self._thread.join()
        self._look()
        return {"server": self.server, "worker": max(self.workers.values(), default=0.0)}

    def _watch(self) -> None:
        while not self._stop.wait(0.25):
            self._look()

    def _look(self) -> None:
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                text = (entry / "status").read_text()
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            peak = re.search(r"^VmHWM:\s+(\d+) kB", text, re.MULTILINE)
            if peak is None:
                continue
            mebibytes = int(peak[1]) / 1024
            if int(entry.name) == self._id:
                self.server = max(self.server, mebibytes)
            elif f"PPid:\t{self._id}\n" in text and b"spawn_main" in command:
                self.workers[int(entry.name)] = max(self.workers.get(int(entry.name), 0.0), mebibytes)


def measure(records: int, split: str, workers: int) -> dict[str, Any]:
    """One job on a fresh server."""
    with tempfile.TemporaryDirectory(prefix="pfserver-memory-") as name:
        folder = Path(name)
        put_project(folder / "projects", records)
        with ServerProcess(folder, config=f'executor = "processes:{workers}"\n') as server:
            peaks = Peaks(server.process.pid)
            try:
                begin = time.monotonic()
                reply = server.talk(PACKET.format(split=split).encode(), timeout=24 * 3600).decode("cp1252")
                seconds = time.monotonic() - begin
            finally:
                found = peaks.stop()
    if f"Job completed successfully. {records} documents" not in reply:
        raise SystemExit(f"the job did not complete:\n{reply[-2000:]}")
    return {"records": records, "seconds": round(seconds, 1), **{key: round(one, 1) for key, one in found.items()}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--split", choices=("job", "record"), default="job")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    given = parser.parse_args()
    results = [measure(records, given.split, given.workers) for records in given.records]
    if given.json:
        print(json.dumps(results))
        return
    print(f"peak memory in MiB, split = {given.split}, {given.workers} workers")
    for result in results:
        line = f"{result['records']:>9} records {result['seconds']:8.1f} s"
        for what, limit in LIMITS.items():
            line += f"   {what} {result[what]:6.1f} ({result[what] / limit:.2f} of {limit:.0f},"
            line += f" {result[what] / results[0][what]:.2f}x the first)"
        print(line)


if __name__ == "__main__":
    main()
