"""Identity: a server that listens with TLS, factories with client certificates and access tokens."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.backends.office import samples
from tests.client.test_convert import run
from tests.support.factory import FactoryProcess
from tests.support.process import PATIENCE, ROOT, ServerProcess


class TLSTests(SynchronousTestCase):
    """A private installation, made with our own commands."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        for arguments in (
            ("ca", "pki"),
            ("server", "pki", "127.0.0.1"),
            ("client", "pki", "ann@example.org"),
            ("client", "pki", "bob@example.org"),
            ("ca", "other"),
            ("client", "other", "ann@example.org"),
        ):
            self.assertEqual(run("certificates", *arguments, server="", cwd=self.folder).returncode, 0)
        pki = self.folder / "pki"
        endpoint = f"mtls:0:interface=127.0.0.1:cert={pki}/server.pem:key={pki}/server.key:ca={pki}/ca.pem"
        self.server = ServerProcess(self.folder / "server", frontends=("http",), http=endpoint)
        self.addCleanup(self.server.close)
        self.server.wait()
        self.url = "https://{}:{}".format(*self.server.addresses["http"])
        samples.odt(self.folder / "letter.odt", pages=2)

    def identity(self, name: str = "ann@example.org", pki: str = "pki") -> list[str]:
        own = self.folder / pki / name
        return ["--cert", f"{own}.pem", "--key", f"{own}.key", "--ca", str(self.folder / "pki" / "ca.pem")]

    def good(self, *arguments: str) -> str:
        done = run(*arguments, server=self.url, cwd=self.folder)
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)
        return done.stdout

    def start(self, *options: str) -> FactoryProcess:
        factory = FactoryProcess(self.folder / "factory", self.url, "Ann's factory", *options)
        self.addCleanup(factory.close)
        return factory

    def test_a_document_goes_the_whole_way(self) -> None:
        self.good("factories", *self.identity(), "add", "Ann's factory")
        self.assertIn("Ann's factory  ann@example.org", self.good("factories", *self.identity(), "list"))
        factory = self.start(*self.identity())
        self.good("convert", "letter.odt", "--remote", *self.identity("bob@example.org"))
        self.assertIn("Hello from page 2", samples.pdf_text(self.folder / "letter.pdf"))
        self.assertEqual(len(factory.of("finished")), 1)
        self.assertEqual(factory.terminate(), 0)

    def test_another_account_is_not_the_owner(self) -> None:
        self.good("factories", *self.identity(), "add", "Ann's factory")
        factory = self.start(*self.identity("bob@example.org"))
        self.assertEqual(factory.join(), 65)
        self.assertIn("is not a factory of bob@example.org", "".join(factory.log))

    def test_nobody(self) -> None:
        factory = self.start("--ca", str(self.folder / "pki" / "ca.pem"))
        self.assertEqual(factory.join(), 65)
        self.assertIn("a client certificate or an access token is needed", "".join(factory.log))

    def test_a_certificate_of_another_authority(self) -> None:
        done = run("factories", *self.identity(pki="other"), "list", server=self.url, cwd=self.folder)
        self.assertEqual(done.returncode, 69, done.stdout)
        factory = self.start(*self.identity(pki="other"))
        factory.wait_for("away")

    def test_a_server_that_is_another(self) -> None:
        factory = self.start("--ca", str(self.folder / "other" / "ca.pem"))
        (event, *_) = factory.wait_for("away")
        self.assertIn("certificate", event["text"])
        done = run("factories", "--ca", "other/ca.pem", "list", server=self.url, cwd=self.folder)
        self.assertEqual(done.returncode, 69)
        self.assertIn("certificate", done.stderr.lower())

    def test_the_standard_library_as_a_factory(self) -> None:
        self.good("factories", *self.identity(), "add", "Ann's factory")
        self.good("convert", "letter.odt", "--remote", "--no-wait", *self.identity("bob@example.org"))
        code = (
            "import ssl, sys, xmlrpc.client, base64\n"
            "url, ca, cert, key = sys.argv[1:]\n"
            "context = ssl.create_default_context(cafile=ca)\n"
            "context.load_cert_chain(cert, key)\n"
            "proxy = xmlrpc.client.ServerProxy(url + '/xmlrpc', context=context)\n"
            'job = proxy.jobs.poll("Ann\'s factory")\n'
            "assert base64.b64decode(job['document']).startswith(b'PK')\n"
            "pdf = base64.b64encode(b'%PDF-1.4\\n').decode()\n"
            "print(proxy.jobs.finish(\"Ann's factory\", job['job'], 'pdf', pdf))\n"
        )
        own = self.folder / "pki" / "ann@example.org"
        arguments = [self.url, str(self.folder / "pki" / "ca.pem"), f"{own}.pem", f"{own}.key"]
        environment: dict[str, Any] = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            env=environment,
        )
        self.assertEqual((done.returncode, len(done.stdout.strip())), (0, 36), done.stderr)


class EndpointTests(SynchronousTestCase):
    def test_endpoints_that_cannot_be(self) -> None:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        (folder / "x.pem").write_text("nothing\n")
        for endpoint, words in (
            ("mtls:8443", "mtls:PORT:cert=FILE"),
            ("mtls:x:cert=x.pem", "'x' is no port"),
            (f"mtls:0:cert={folder}/none.pem", "cannot read"),
            (f"mtls:0:cert={folder}/x.pem", "cannot be used"),
        ):
            server = ServerProcess(folder / "server", frontends=("http",), http=endpoint)
            self.addCleanup(server.close)
            self.assertEqual(server.join(), 1)
            self.assertIn(words, "".join(server.log))
