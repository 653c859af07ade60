"""The Officeshots API: what a factory adds to the bare UNO call, the memory of a 100 MiB finish, polls.

``python bench/officeshots.py [--conversions 200] [--mib 100] [--polls 20000] [--repeat 3]``
"""

from __future__ import annotations

import argparse
import json
import select
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import xmlrpc.client
import xmlrpc.server
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pikepdf
import psutil

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from pfserver.client.xmlrpc import FileSource, XMLRPCClient  # noqa: E402
from tests.backends.office import samples  # noqa: E402
from tests.support.factory import FactoryProcess  # noqa: E402
from tests.support.process import ServerProcess  # noqa: E402

#: The targets: milliseconds added, MiB above idle, times the standard library's rate.
ADDED_MS, ABOVE_MIB, POLL_RATIO = 15.0, 40.0, 3.0

MIB = 1024 * 1024
#: Seconds: about as long as LibreOffice rests between two conversions by a factory.
PAUSE = 0.03
#: Factories that poll at once; SimpleXMLRPCServer lets five wait.
FACTORIES = 4

#: Bare calls: as everybody makes them, and as the office backend does. Both wait until the document is closed, which a
#: factory does not.
CALLS = {"plain": "bare UNO call", "ours": "bare, without toolbars"}

UNO_PYTHON = "/usr/bin/python3"
NAME = "bench"

POLL = xmlrpc.client.dumps((NAME,), "jobs.poll").encode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--conversions", type=int, default=200)
    parser.add_argument("--mib", type=int, default=100)
    parser.add_argument("--polls", type=int, default=20_000)
    parser.add_argument("--repeat", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pfserver-bench-") as name:
        folder = Path(name)
        overhead(folder, given.conversions, given.repeat)
        memory(folder, given.mib)
        polls(folder, given.polls, given.repeat)


@contextmanager
def server_of(folder: Path) -> Iterator[tuple[ServerProcess, XMLRPCClient]]:
    """A server with a factory registered."""
    with ServerProcess(folder, frontends=("http",)) as server:
        client = XMLRPCClient("http://{}:{}".format(*server.addresses["http"]), seconds=600)
        with client:
            client.call("pfserver.factories.put", {"name": NAME, "workers": [{"application": "LibreOffice"}]})
            yield server, client


def submit(client: XMLRPCClient, path: Path) -> None:
    """One conversion for factories."""
    source = FileSource(path)
    client.call("pfserver.submit", {"filename": path.name, "document": source, "format": "pdf", "remote": True})
    source.close()


# -- a conversion --------


def overhead(folder: Path, count: int, repeat: int) -> None:
    """Rounds of bare calls and of conversions by a factory, one after the other."""
    document = samples.odt(folder / "letter.odt")
    bare: dict[tuple[str, float], list[float]] = {(how, pause): [] for how in CALLS for pause in (0.0, PAUSE)}
    whole, row = [], []
    with server_of(folder / "overhead") as (server, client):
        url = "http://{}:{}".format(*server.addresses["http"])
        for index in range(repeat):
            for place, ((how, pause), times) in enumerate(bare.items()):
                times.append(bare_calls(how, document, folder / f"bare-{index}-{place}", count // 2, pause))
            factory = FactoryProcess(folder / f"factory-{index}", url, NAME, "--jobs", "1", "--poll", "0.05")
            try:
                one, rows = by_factory(factory, client, document, count)
            finally:
                factory.close()
            whole.append(one)
            row.append(rows)

    print(f"a one-page odt, {repeat} rounds of {count} conversions, medians")
    print(f"  jobs.poll … finish, one job alone:   {statistics.median(whole):6.1f} ms")
    print(f"  many, from one result to the next:   {statistics.median(row):6.1f} ms")
    for (how, pause), times in bare.items():
        name = f"{CALLS[how]}, {'with pauses' if pause else 'in a row'}"
        added = statistics.median([one - other for one, other in zip(whole, times, strict=True)])
        target = f"   target: at most {ADDED_MS:.0f}" if (how, pause) == ("plain", 0.0) else ""
        print(f"  {name:>35}: {statistics.median(times):6.1f} ms, added by us: {added:5.1f} ms{target}")


def by_factory(factory: FactoryProcess, client: XMLRPCClient, document: Path, count: int) -> tuple[float, float]:
    """Milliseconds of a conversion: each submitted when the one before is done; and then, many at once, of each."""
    for done in range(count + 5):
        submit(client, document)
        factory.wait_for("finished", done + 1)
    took, finished = factory.of("took")[5:], factory.of("finished")[5:]
    alone = [(one["seconds"] + two["seconds"]) * 1000 for one, two in zip(took, finished, strict=True)]
    for _ in range(count):
        submit(client, document)
    times = [event["time"] for event in factory.wait_for("finished", 2 * count + 5)[-count // 2 :]]
    return statistics.median(alone), statistics.median([(b - a) * 1000 for a, b in pairwise(times)])


def bare_calls(how: str, document: Path, folder: Path, count: int, pause: float = 0) -> float:
    """Milliseconds of a bare UNO call, warm, with so many seconds between two of them."""
    script = str(Path(__file__).with_name("bare_uno.py"))
    command = [UNO_PYTHON, script, how, str(document), "odt", str(folder), str(count + 5), str(pause)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    times: list[float] = json.loads(process.stdout.readline())
    process.wait()
    process.stdout.close()
    return statistics.median(times[5:])


# -- memory --------


def memory(folder: Path, mib: int) -> None:
    """The highest memory of the server while a large result comes in."""
    document = samples.odt(folder / "letter.odt")
    result = large_pdf(folder / "large.pdf", mib)
    with server_of(folder / "memory") as (server, client):
        for path in (document, document):
            submit(client, path)
        # Once with a small result: what is loaded for the first one is no part of the others.
        small = large_pdf(folder / "small.pdf", 0)
        for one in (small, result):
            job: Any = client.call("jobs.poll", NAME)
            Path(f"/proc/{server.process.pid}/clear_refs").write_text("5")
            idle = psutil.Process(server.process.pid).memory_info().rss / MIB
            begin = time.perf_counter()
            source = FileSource(one)
            client.call("jobs.finish", NAME, job["job"], "pdf", source)
            seconds = time.perf_counter() - begin
            source.close()
        peak = high_water(server.process.pid)
    print(f"a finish of {mib} MiB, in {seconds:.1f} s")
    above = f"{peak - idle:.1f} above   target: at most {ABOVE_MIB:.0f}"
    print(f"  server: {idle:.0f} MiB idle, {peak:.0f} MiB at most, {above}")


def large_pdf(path: Path, mib: int) -> Path:
    """A PDF of one page with an attachment of so many MiB."""
    with pikepdf.new() as pdf:
        pdf.add_blank_page()
        stream = pikepdf.Stream(pdf, b"x" * MIB * mib)
        pdf.Root.Attachment = pdf.make_indirect(stream)
        pdf.save(path, compress_streams=False)
    return path


def high_water(pid: int) -> float:
    """The most memory since clear_refs, in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise SystemExit("this kernel does not tell")


# -- polls --------


def polls(folder: Path, count: int, repeat: int) -> None:
    """Polls a second with nothing to do: of factories at once, and of one alone."""
    with (
        server_of(folder / "polls") as (server, _),
        standard_server("HTTP/1.0") as standard,
        standard_server("HTTP/1.1") as keeping,
    ):
        rates: dict[tuple[str, int], list[float]] = {}
        for _ in range(repeat):
            for clients in (FACTORIES, 1):
                theirs = poll_rate(("127.0.0.1", standard), count, clients, keep=False)
                ours = poll_rate(server.addresses["http"], count, clients)
                rates.setdefault(("theirs", clients), []).append(theirs)
                rates.setdefault(("ours", clients), []).append(ours)
            # It serves no other client as long as one keeps its connection.
            rates.setdefault(("kept", 1), []).append(poll_rate(("127.0.0.1", keeping), count, 1))

    def line(name: str, key: tuple[str, int]) -> str:
        return f"  {name:>40}: {statistics.median(rates[key]):6.0f}/s"

    def times(ours: tuple[str, int], other: tuple[str, int]) -> float:
        return statistics.median([one / two for one, two in zip(rates[ours], rates[other], strict=True)])

    print(f"polls with no job, {repeat} rounds of {count}")
    for clients in (FACTORIES, 1):
        print(f"  from {clients} at once" if clients > 1 else "  from one, which waits for each answer")
        print(line("SimpleXMLRPCServer as it comes, HTTP/1.0", ("theirs", clients)))
        if clients == 1:
            print(line("the same with HTTP/1.1 and keep-alive", ("kept", 1)))
        print(line("pfserver, keep-alive", ("ours", clients)))
        kept = f", with keep-alive on both sides {times(('ours', 1), ('kept', 1)):.2f}" if clients == 1 else ""
        ratio = times(("ours", clients), ("theirs", clients))
        print(f"  ratio: {ratio:.2f}{kept}   target: at least {POLL_RATIO:.0f}")


@contextmanager
def standard_server(protocol: str) -> Iterator[int]:
    """The standard library's server in a process of its own; gives its port."""
    process = subprocess.Popen([sys.executable, __file__, "serve", protocol], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def serve(protocol: str) -> None:
    """Be that server."""

    class Handler(xmlrpc.server.SimpleXMLRPCRequestHandler):
        protocol_version = protocol
        rpc_paths = ("/xmlrpc",)

    server = xmlrpc.server.SimpleXMLRPCServer(("127.0.0.1", 0), Handler, logRequests=False)
    server.register_function(lambda factory: {}, "jobs.poll")
    print(server.server_address[1], flush=True)
    server.serve_forever()


def poll_rate(address: tuple[str, int], count: int, clients: int, *, keep: bool = True) -> float:
    """Polls a second of so many clients, each over one connection, or over one for each poll."""
    head = f"POST /xmlrpc HTTP/1.1\r\nHost: x\r\nContent-Type: text/xml\r\nContent-Length: {len(POLL)}\r\n\r\n"
    request = head.encode() + POLL
    poller = select.epoll()
    answers: dict[int, tuple[socket.socket, bytes]] = {}

    def begin_one() -> None:
        connection = socket.socket()
        connection.connect(address)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(request)
        answers[connection.fileno()] = connection, b""
        poller.register(connection, select.EPOLLIN)

    for _ in range(clients):
        begin_one()
    done, begin = 0, time.perf_counter()
    while done < count:
        for descriptor, _ in poller.poll():
            connection, answer = answers[descriptor]
            more = connection.recv(65536)
            answer += more
            if not more or b"<fault>" in answer:
                raise SystemExit(f"the server does not answer a poll: {answer!r}")
            if b"</methodResponse>" not in answer:
                answers[descriptor] = connection, answer
                continue
            done += 1
            if keep:
                answers[descriptor] = connection, b""
                connection.sendall(request)
            else:
                del answers[descriptor]
                connection.close()
                begin_one()
    rate = done / (time.perf_counter() - begin)
    for connection, _ in answers.values():
        connection.close()
    poller.close()
    return rate


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(sys.argv[2])
    else:
        main()
