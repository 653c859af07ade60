"""Runs every measurement and writes what each printed to ``bench/RESULTS.md``, with the machine's name.

``python bench/all.py [--quick] [NAME ...]``: names as in the table below; a machine that does nothing else is assumed.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from attrs import frozen

HERE = Path(__file__).parent
RESULTS = HERE / "RESULTS.md"

HEADER = """# Results

What the scripts of this folder printed last, each with the machine and the day. `make bench` measures all of it anew.
Ratios are taken within one run; absolute figures say little about other machines.
"""


@frozen
class Measurement:
    """A script, with its targets, and arguments that make a quick run of it."""

    name: str
    title: str
    targets: str
    command: str
    quick: str


MEASUREMENTS = (
    Measurement(
        "merge",
        "Merge throughput through the socket",
        "at least 0.65 of the same compiles in a bare pool, for run files and for a file a record",
        "merge.py",
        "--records 2000 --repeat 1",
    ),
    Measurement(
        "submit",
        "Durable submission, and empty jobs to their stored outcome",
        "submission at least 2x, empty jobs at least 4x both peers",
        "submit.py",
        "--jobs 500 --repeat 1",
    ),
    Measurement(
        "monitors",
        "Idle monitors",
        "5,000 held, at most 25 KiB each, a submission meanwhile in less than 50 ms at the median",
        "monitors.py",
        "--monitors 500",
    ),
    Measurement(
        "officeshots",
        "The Officeshots API",
        "at most 15 ms added to a conversion by a factory; at most 40 MiB above idle during a finish of 100 MiB; polls "
        "at least 3x SimpleXMLRPCServer",
        "officeshots.py",
        "--conversions 30 --mib 20 --polls 1000 --repeat 1",
    ),
    Measurement(
        "conversions",
        "Conversions by the office backend",
        "at least 5x soffice alone and 1.5x unoserver; after 3,000 conversions at most 1.2x the memory at 500, no "
        "process left over",
        "conversions.py",
        "--documents 24 --alone 3 --repeat 1 --leak 60",
    ),
    Measurement(
        "omi",
        "OMI against gtcm_server",
        "get alone at least 0.8x and bunched 0.6x its rate; set, commits lazy as its are, 0.6x, alone and bunched; on "
        "disk before the reply, bunched, 20 sessions, 50,000/s; 100 sessions mixed 1x; order over 1,000,000 nodes 0.5x",
        "omi.py",
        "--nodes 20000 --seconds 0.5 --repeat 1",
    ),
    Measurement(
        "memory",
        "Memory of jobs of very many records",
        "server at most 150 MiB, a worker at most 400 MiB, flat from 100,000 to 1,000,000 records",
        "memory.py --records 100000 1000000",
        "--records 2000 4000",
    ),
    Measurement("start", "Start with many stored jobs", "at most 1.5x the empty start", "start.py", "--jobs 5000"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these")
    parser.add_argument("--quick", action="store_true", help="small runs, to see that they work; nothing is written")
    given = parser.parse_args()
    for one in MEASUREMENTS:
        if given.names and one.name not in given.names:
            continue
        command = f"python bench/{one.command}" + (f" {one.quick}" if given.quick else "")
        print(f"\n{one.title}\n$ {command}", flush=True)
        words = [sys.executable, *shlex.split(command)[1:]]
        done = subprocess.run(words, cwd=HERE.parent, stdout=subprocess.PIPE, text=True, check=False)
        print(done.stdout, flush=True)
        if done.returncode != 0:
            raise SystemExit(f"{one.name} ended with {done.returncode}")
        if not given.quick:
            keep(one, command, done.stdout.strip())


def keep(one: Measurement, command: str, printed: str) -> None:
    """Replace the section of a measurement, or add it."""
    machine = f"{platform.node()}, {os.cpu_count()} cores, {_processor()}, Python {platform.python_version()}"
    day = datetime.now(UTC).date().isoformat()
    section = f"## {one.title}\n\nTarget: {one.targets}.\n\n{day}, {machine}\n\n```text\n$ {command}\n{printed}\n```\n"
    text = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else HEADER
    sections = re.split(r"(?m)^(?=## )", text)
    kept = {part.splitlines()[0].removeprefix("## "): part.rstrip() + "\n" for part in sections[1:]}
    kept[one.title] = section
    order = [each.title for each in MEASUREMENTS if each.title in kept]
    # What somebody has written beside them stays behind them.
    order += [title for title in kept if title not in order]
    RESULTS.write_text(HEADER + "\n" + "\n".join(kept[title] for title in order), encoding="utf-8")


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


if __name__ == "__main__":
    main()
