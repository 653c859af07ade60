"""Throughput of the office backend against soffice alone and unoserver; memory over a day's work.

``python bench/conversions.py [--documents 120] [--repeat 3] [--leak 3000] [--only throughput|leak]``
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import xmlrpc.client
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from pfserver.client.conversions import follow  # noqa: E402
from pfserver.client.xmlrpc import XMLRPCClient  # noqa: E402
from pfserver.model import Outcome  # noqa: E402
from tests.backends.office import samples  # noqa: E402
from tests.support.process import ServerProcess  # noqa: E402

#: The targets: times soffice, times unoserver, memory at the end as a part of that at a sixth of the way.
SOFFICE_RATIO, UNOSERVER_RATIO, LEAK_RATIO = 5.0, 1.5, 1.2

MIB = 1024 * 1024
UNO_PYTHON = "/usr/bin/python3"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=120)
    parser.add_argument("--alone", type=int, default=12, help="documents for soffice alone, which is slow")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--leak", type=int, default=3000)
    parser.add_argument("--only", choices=["throughput", "leak"])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pfserver-bench-") as name:
        folder = Path(name)
        projects = folder / "projects"
        projects.mkdir()
        kinds = [
            samples.odt(projects / "letter.odt", pages=2),
            samples.ods(projects / "table.ods", rows=60),
            samples.odp(projects / "slides.odp", slides=3),
        ]
        with office(folder, projects) as (server, client):
            if given.only != "leak":
                throughput(folder, client, kinds, given)
            if given.only != "throughput":
                leak(server, client, kinds, given.leak)
            pids = family(server.process.pid)
        left = [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]
        print(f"processes left over after the end: {len(left)}")


@contextmanager
def office(folder: Path, projects: Path) -> Iterator[tuple[ServerProcess, XMLRPCClient]]:
    """A server, with as many LibreOffices as there are cores."""
    config = f"[queues]\ndefault = {os.cpu_count() or 1}\n[retention]\ncount = 50\n"
    with ServerProcess(folder / "server", frontends=("http",), projects=projects, config=config) as server:
        client = XMLRPCClient("http://{}:{}".format(*server.addresses["http"]), seconds=600)
        with client:
            yield server, client


def convert(client: XMLRPCClient, paths: Sequence[Path]) -> float:
    """Seconds from the first submission to the last outcome, which all must be good."""
    begin = time.perf_counter()
    jobs: list[str] = []
    for path in paths:
        made = client.call("pfserver.submit", {"filename": path.name, "format": "pdf"})
        assert isinstance(made, list)
        jobs += [str(job) for job in made]
    # The last one ends last, but for a moment.
    for job in reversed(jobs):
        for news in follow(client, [job]):
            if news.outcome not in (None, Outcome.COMPLETED):
                raise SystemExit(f"{job} ended with {news.outcome}: {news.messages}")
        break
    while client.call("pfserver.status", jobs[-2], 10**6)["state"] != "done":  # type: ignore[call-overload,index]
        time.sleep(0.001)
    return time.perf_counter() - begin


# -- throughput --------


def throughput(folder: Path, client: XMLRPCClient, kinds: Sequence[Path], given: argparse.Namespace) -> None:
    """Rounds of all, each on the same documents."""
    mixed = [kinds[index % len(kinds)] for index in range(given.documents)]
    # unoserver crashes on spreadsheets with LibreOffice packages that have no GUI.
    survived = [path for path in mixed if path.suffix != ".ods"]
    convert(client, mixed[:12])
    rates: dict[str, list[float]] = {"soffice": [], "mixed": [], "unoserver": [], "odt and odp": []}
    with unoserver(folder) as port:
        for _ in range(given.repeat):
            rates["soffice"].append(given.alone / alone(folder, mixed[: given.alone]))
            rates["mixed"].append(len(mixed) / convert(client, mixed))
            if port:
                rates["unoserver"].append(len(survived) / by_unoserver(port, folder, survived))
            rates["odt and odp"].append(len(survived) / convert(client, survived))
    print(f"{given.documents} documents of two or three pages, {os.cpu_count()} cores, {given.repeat} rounds")
    print(f"  soffice --convert-to, one after another: {statistics.median(rates['soffice']):6.2f}/s")
    print(f"      pfserver, odt, ods and odp in turns: {statistics.median(rates['mixed']):6.2f}/s")
    print(f"  ratio: {ratio(rates, 'mixed', 'soffice'):.2f}   target: at least {SOFFICE_RATIO:.0f}")
    if rates["unoserver"]:
        print(f"     unoserver with two clients, odt, odp: {statistics.median(rates['unoserver']):6.2f}/s")
        print(f"           pfserver, odt and odp in turns: {statistics.median(rates['odt and odp']):6.2f}/s")
        print(f"  ratio: {ratio(rates, 'odt and odp', 'unoserver'):.2f}   target: at least {UNOSERVER_RATIO}")
    else:
        print("  unoserver is not installed: pip install unoserver")


def ratio(rates: dict[str, list[float]], ours: str, theirs: str) -> float:
    """The median of the rounds' ratios."""
    return statistics.median([one / other for one, other in zip(rates[ours], rates[theirs], strict=True)])


def alone(folder: Path, paths: Sequence[Path]) -> float:
    """Seconds of ``soffice --headless --convert-to``, once for each document, its profile made before."""
    command = ["soffice", f"-env:UserInstallation={(folder / 'alone').as_uri()}", "--headless", "--convert-to", "pdf"]
    command += ["--outdir", str(folder / "alone-out")]
    if not (folder / "alone").exists():
        subprocess.run([*command, str(paths[0])], check=True, capture_output=True)
    begin = time.perf_counter()
    for path in paths:
        subprocess.run([*command, str(path)], check=True, capture_output=True)
    return time.perf_counter() - begin


@contextmanager
def unoserver(folder: Path) -> Iterator[int]:
    """An unoserver, run by the Python that has the ``uno`` module; gives its port, 0 where it is not installed."""
    try:
        import unoserver as package
    except ImportError:
        yield 0
        return
    port = 22003
    site = str(Path(package.__file__).parents[1])
    command = [UNO_PYTHON, "-m", "unoserver.server", "--port", str(port), "--uno-port", str(port + 1)]
    command += ["--user-installation", str(folder / "unoserver")]
    environment = {**os.environ, "PYTHONPATH": site}
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, env=environment, stdout=quiet, stderr=quiet, start_new_session=True)
    try:
        wait_until(lambda: bool(xmlrpc.client.ServerProxy(f"http://127.0.0.1:{port}").info()))
        yield port
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_until(ready: Callable[[], bool]) -> None:
    """Ask until there is an answer."""
    deadline = time.monotonic() + 60
    while True:
        try:
            if ready():
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.1)


def by_unoserver(port: int, folder: Path, paths: Sequence[Path]) -> float:
    """Seconds of the same by unoserver, with two clients at once."""
    out = folder / "unoserver-out"
    out.mkdir(exist_ok=True)

    def one(numbered: tuple[int, Path]) -> None:
        number, path = numbered
        target = out / f"{number}.pdf"
        with xmlrpc.client.ServerProxy(f"http://127.0.0.1:{port}", allow_none=True) as proxy:
            proxy.convert(str(path), None, str(target), "pdf", None, [], False, None, None)
        if not target.stat().st_size:
            raise SystemExit(f"unoserver made nothing of {path.name}")

    begin = time.perf_counter()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(one, enumerate(paths)))
    seconds = time.perf_counter() - begin
    shutil.rmtree(out)
    return seconds


# -- leaks --------


def leak(server: ServerProcess, client: XMLRPCClient, kinds: Sequence[Path], count: int) -> None:
    """A day's work in a row, and the memory of the server and its LibreOffices on the way."""
    seen: list[tuple[int, float, float]] = []
    step = max(count // 30, len(kinds))
    done = 0
    begin = time.perf_counter()
    while done < count:
        convert(client, [kinds[index % len(kinds)] for index in range(step)])
        done += step
        own = psutil.Process(server.process.pid).memory_info().rss / MIB
        seen.append((done, own, sum(psutil.Process(pid).memory_info().rss for pid in family(server.process.pid)) / MIB))
    rate = done / (time.perf_counter() - begin)
    # LibreOffices are replaced after some hundred documents: their memory goes up and down, so the mean of a tenth.
    tenth = max(1, len(seen) // 10)
    sixth = max(tenth, len(seen) // 6)
    early, late = seen[sixth - tenth : sixth], seen[-tenth:]
    print(f"{done} conversions in a row, {rate:.1f}/s, memory after a sixth of them and at the end")
    for index, name in ((1, "server alone"), (2, "server and LibreOffices")):
        before, after = (statistics.mean(one[index] for one in part) for part in (early, late))
        print(f"  {name:>24}: {before:6.0f} MiB, then {after:6.0f} MiB, {after / before:.2f} of it", end="")
        print(f"   target: at most {LEAK_RATIO}")


def family(pid: int) -> list[int]:
    """A process and all that it has started, with their children; groups of their own stay children."""
    process = psutil.Process(pid)
    return [pid, *(child.pid for child in process.children(recursive=True))]


if __name__ == "__main__":
    main()
