"""Factories that are not ours: Python's xmlrpc.client and Perl's RPC::XML, over TLS with client certificates."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import xmlrpc.client
from pathlib import Path
from unittest import SkipTest
from uuid import UUID

from twisted.trial.unittest import SynchronousTestCase

from pfserver.client.certificates import make_authority, make_client, make_server
from tests.backends.office import samples
from tests.backends.office.test_backend import need_office
from tests.support.process import PATIENCE, ServerProcess

PYTHON = [sys.executable, "-I", str(Path(__file__).with_name("officeshots_factory.py"))]
PERL = ["perl", str(Path(__file__).with_name("officeshots_factory.pl"))]

#: The packet of a client that knows nothing of conversions but a project's name and two variables.
PACKET = """<?xml version="1.0"?>
<?pf_command version="1.0"?>
<p:job_command xmlns:p="http://www.pageflex.com/schemas" name="SubmitJob"><p:job_variables>
<p:var name="ProjectName">{}</p:var><p:var name="_sys_Application">LibreOffice</p:var>
<p:var name="_sys_OutputFormat">pdf</p:var><p:var name="_sys_ClientJobMonitor">TRUE</p:var>
</p:job_variables></p:job_command>
"""


def need_perl() -> None:
    """Skip where Perl's modules are missing; fail where the tests must be complete."""
    if (
        shutil.which("perl") is None
        or subprocess.run(
            ["perl", "-MRPC::XML::Client", "-MLWP::Protocol::https", "-e1"], capture_output=True, check=False
        ).returncode
    ):
        hint = "apt install librpc-xml-perl liblwp-protocol-https-perl"
        if os.environ.get("CI"):
            raise AssertionError(hint)
        raise SkipTest(hint)


class Monitor:
    """Submits a packet and reads what its monitor tells, in a thread."""

    def __init__(self, address: tuple[str, int], document: str) -> None:
        self.text = ""
        self._socket = socket.create_connection(address, timeout=PATIENCE)
        self._socket.sendall(PACKET.format(document).encode())
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while more := self._socket.recv(65536):
            self.text += more.decode("cp1252")

    def lines(self) -> list[str]:
        """All lines, once the server has closed."""
        self._thread.join(PATIENCE)
        self._socket.close()
        return self.text.splitlines()


class OfficeshotsTests(SynchronousTestCase):
    """One server, two accounts with a factory each."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.pki = self.folder / "pki"
        make_authority(self.pki, "Nursery")
        make_server(self.pki, ["127.0.0.1", "localhost"])
        for name in ("ann", "bob"):
            make_client(self.pki, f"{name}@example.org")
        files = f"cert={self.pki}/server.pem:key={self.pki}/server.key:ca={self.pki}/ca.pem"
        endpoint = f"mtls:0:interface=127.0.0.1:{files}"
        self.server = ServerProcess(self.folder / "server", frontends=("pageflex", "http"), http=endpoint)
        self.addCleanup(self.server.close)
        self.server.wait()
        self.url = "https://{}:{}/xmlrpc".format(*self.server.addresses["http"])
        for name in ("ann", "bob"):
            workers = [{"application": "LibreOffice"}]
            self.call(name, "pfserver.factories.put", {"name": f"{name}'s factory", "workers": workers})

    def proxy(self, name: str) -> xmlrpc.client.ServerProxy:
        """Calls methods as one of the accounts, over one connection."""
        context = ssl.create_default_context(cafile=str(self.pki / "ca.pem"))
        own = self.pki / f"{name}@example.org"
        context.load_cert_chain(f"{own}.pem", f"{own}.key")
        return xmlrpc.client.ServerProxy(self.url, context=context)

    def call(self, name: str, method: str, *params: object) -> object:
        """Call a method as one of the accounts."""
        with self.proxy(name) as proxy:
            return getattr(proxy, method)(*params)

    def start(self, program: list[str], name: str, fixed: Path | None = None) -> subprocess.Popen[str]:
        """Start a factory."""
        work = self.folder / f"work-{name}"
        work.mkdir(exist_ok=True)
        own = self.pki / f"{name}@example.org"
        arguments = [self.url, str(self.pki / "ca.pem"), f"{own}.pem", f"{own}.key", f"{name}'s factory", str(work)]
        arguments += [str(fixed)] if fixed is not None else []
        process = subprocess.Popen(
            [*program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=work
        )
        self.addCleanup(process.wait, PATIENCE)
        return process

    def results(self, process: subprocess.Popen[str]) -> list[tuple[str, str]]:
        """The jobs that a factory has done, each with the name of its result."""
        output, complaints = process.communicate(timeout=PATIENCE)
        self.assertEqual((process.returncode, complaints), (0, ""))
        pairs = [line.partition(" ")[::2] for line in output.splitlines()]
        for job, result in pairs:
            self.assertNotEqual(UUID(job), UUID(result))
        return pairs

    def converts(self, program: list[str], name: str) -> None:
        """From a packet to a PDF: submitted over one protocol, rendered over the other, followed all the way."""
        samples.odt(self.server.projects / "letter.odt", pages=2)
        monitor = Monitor(self.server.pageflex, "letter.odt")
        while "T0000001" not in monitor.text and monitor._thread.is_alive():
            monitor._thread.join(0.01)
        self.assertEqual(len(self.results(self.start(program, name))), 1)
        lines = monitor.lines()
        self.assertEqual(lines[0], "R0000000: T0000001")
        self.assertIn(f"J0000118: Taken by {name}'s factory", lines)
        self.assertEqual(
            lines[-3:],
            [
                "J0000101: Job Status = SUCCESS",
                "J0000020: Job completed successfully. 1 documents and 2 pages produced.",
                "J0000001: Transaction T0000001 ended",
            ],
        )
        made = self.server.state / "output" / "T0000001" / "letter.pdf"
        self.assertIn("Hello from page 2", samples.pdf_text(made))

    def test_python(self) -> None:
        need_office()
        self.converts(PYTHON, "ann")

    def test_perl(self) -> None:
        need_office()
        need_perl()
        self.converts(PERL, "bob")

    def test_two_at_once_and_two_hundred_jobs(self) -> None:
        need_perl()
        (self.server.projects / "note.txt").write_text("A note\n", encoding="utf-8")
        fixed = self.folder / "fixed.pdf"
        fixed.write_bytes(b"%PDF-1.4\n%%EOF\n")
        for _ in range(4):
            request = {"filename": "note.txt", "format": "pdf", "applications": [{"application": "LibreOffice"}] * 50}
            self.call("ann", "pfserver.submit", request)
        done = [self.results(process) for process in [self.start(PYTHON, "ann", fixed), self.start(PERL, "bob", fixed)]]
        self.assertTrue(all(done), "one factory did all the work")
        jobs = [job for pairs in done for job, _ in pairs]
        self.assertEqual((len(jobs), len(set(jobs))), (200, 200))
        with self.proxy("ann") as proxy:
            for number in range(1, 201):
                status = proxy.pfserver.status(f"T{number:07d}", 0)
                assert isinstance(status, dict)
                self.assertEqual((number, status["state"], status["outcome"]), (number, "done", "SUCCESS"))

    def test_strangers(self) -> None:
        self.assertRaises(xmlrpc.client.Fault, self.call, "bob", "jobs.poll", "ann's factory")
        context = ssl.create_default_context(cafile=str(self.pki / "ca.pem"))
        with xmlrpc.client.ServerProxy(self.url, context=context) as proxy:
            fault = self.assertRaises(xmlrpc.client.Fault, proxy.jobs.poll, "ann's factory")
        self.assertEqual(fault.faultCode, 2)
        # Plain HTTP on a port that speaks TLS.
        with xmlrpc.client.ServerProxy(self.url.replace("https", "http")) as proxy:
            self.assertRaises(OSError, proxy.jobs.poll, "ann's factory")
        self.assertEqual(self.call("ann", "jobs.poll", "ann's factory"), {})
