"""``pfserver certificates``: what it makes works with TLS libraries, and says who is who."""

from __future__ import annotations

import ssl
import stat
import subprocess
from pathlib import Path

from cryptography import x509
from twisted.trial.unittest import SynchronousTestCase

from pfserver.factory.tls import Policy
from pfserver.frontends.http.identity import account_of_certificate
from tests.client.test_convert import run


class CertificatesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.good("ca", "pki")
        self.good("server", "pki", "press.example.org", "localhost", "127.0.0.1", "::1")
        self.good("client", "pki", "Ann@Example.org")
        self.pki = self.folder / "pki"

    def run_here(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run("certificates", *arguments, server="", cwd=self.folder)

    def good(self, *arguments: str) -> None:
        done = self.run_here(*arguments)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("Wrote pki/", done.stdout)

    def handshake(self, name: str, ca: Path, certificate: str = "ann@example.org") -> None:
        """Both sides of TLS in memory, each checking the other."""
        server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(self.pki / "ca.pem"))
        server.load_cert_chain(self.pki / "server.pem", self.pki / "server.key")
        server.verify_mode = ssl.CERT_REQUIRED
        client = ssl.create_default_context(cafile=str(ca))
        client.load_cert_chain(self.pki / f"{certificate}.pem", self.pki / f"{certificate}.key")
        up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
        sides = [client.wrap_bio(down, up, server_hostname=name), server.wrap_bio(up, down, server_side=True)]
        for _ in range(4):
            for side in sides:
                try:
                    side.do_handshake()
                except ssl.SSLWantReadError:
                    continue
        self.assertEqual(sides[1].getpeercert()["subjectAltName"], (("email", f"{certificate}"),))  # type: ignore[index]

    def test_handshakes(self) -> None:
        for name in ("press.example.org", "localhost", "127.0.0.1", "::1"):
            self.handshake(name, self.pki / "ca.pem")

    def test_another_name_or_authority_is_refused(self) -> None:
        with self.assertRaises(ssl.SSLCertVerificationError):
            self.handshake("other.example.org", self.pki / "ca.pem")
        self.assertEqual(self.run_here("ca", "other").returncode, 0)
        with self.assertRaises(ssl.SSLCertVerificationError):
            self.handshake("localhost", self.folder / "other" / "ca.pem")

    def test_a_server_is_no_client(self) -> None:
        with self.assertRaises(ssl.SSLError):
            self.handshake("localhost", self.pki / "ca.pem", "server")

    def test_the_account(self) -> None:
        certificate = x509.load_pem_x509_certificate((self.pki / "ann@example.org.pem").read_bytes())
        self.assertEqual(account_of_certificate(certificate), "ann@example.org")

    def test_keys_are_for_the_owner_only(self) -> None:
        for name in ("ca", "server", "ann@example.org"):
            self.assertEqual(stat.S_IMODE((self.pki / f"{name}.key").stat().st_mode), 0o600)

    def test_the_factory_can_use_them(self) -> None:
        policy = Policy(self.pki / "ca.pem", self.pki / "ann@example.org.pem", self.pki / "ann@example.org.key")
        self.assertIsNotNone(policy.creatorForNetloc(b"localhost", 8010))
        self.assertIsNotNone(policy.creatorForNetloc(b"127.0.0.1", 8010))

    def test_what_cannot_be_made(self) -> None:
        for arguments, words in (
            (("ca", "pki"), "holds an authority already"),
            (("client", "nowhere", "ann@example.org"), "pfserver certificates ca nowhere"),
            (("client", "pki", "../x@y"), "is no e-mail address"),
            (("client", "pki", "ann"), "is no e-mail address"),
            (("server", "pki", "a b"), "no host name or IP address"),
        ):
            done = self.run_here(*arguments)
            self.assertEqual(done.returncode, 65, done.stderr)
            self.assertIn(words, done.stderr)

    def test_again_replaces_all_but_the_authority(self) -> None:
        before = (self.pki / "ann@example.org.pem").read_bytes()
        self.good("client", "pki", "ann@example.org")
        self.assertNotEqual((self.pki / "ann@example.org.pem").read_bytes(), before)
        self.handshake("localhost", self.pki / "ca.pem")
