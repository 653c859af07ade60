"""A data source over https: fetched from whom the machine trusts, and from nobody else."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

from twisted.trial.unittest import TestCase

from tests.backends.merge.web import Web
from tests.frontends.pageflex.support import packet
from tests.support.process import ServerProcess, ended
from tests.support.projects import assert_whole, put_project


class HttpsTests(TestCase):
    timeout = 300

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        put_project(self.folder / "projects", 0)
        self.certificate, key = self.folder / "certificate.pem", self.folder / "key.pem"
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=web"]
        command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(self.certificate)]
        subprocess.run(command, check=True, capture_output=True)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(self.certificate, key)
        self.web = Web(tls)
        self.web.__enter__()
        self.addCleanup(self.web.__exit__)
        self.web.pages["/d.csv"] = b"n\n" + b"".join(b"%d\n" % n for n in range(1, 31))
        project = self.folder / "projects" / "a.pf"
        project.write_text(project.read_text().replace("d.csv", self.web.url("/d.csv")))

    def submit(self, environment: dict[str, str]) -> tuple[Path, bytes, bytes]:
        """Where its output lies, how the job ended and what was told, by a server with this environment."""
        config = 'executor = "processes:1"\n'
        with ServerProcess(self.folder, config=config, environment=environment) as server:
            id_ = server.talk(packet("SubmitJob", ProjectName="a.pf", JobName="A"))[10:-2]
            status = ended(server, id_)
            log = server.talk(packet("GetTaskLog", _sys_TransactionID=id_.decode()))
            return server.state / "output" / id_.decode(), status, log

    def test_a_server_that_the_machine_trusts(self) -> None:
        folder, status, log = self.submit({"SSL_CERT_FILE": str(self.certificate.absolute())})
        self.assertEqual(status, b"SUCCESS", log)
        assert_whole(self, folder, 30)

    def test_a_server_that_nobody_vouches_for(self) -> None:
        folder, status, log = self.submit({})
        self.assertEqual(status, b"FAILED")
        self.assertRegex(log, rb"J0005012: https://127\.0\.0\.1:\d+: cannot be fetched: ")
        self.assertFalse(folder.exists())
