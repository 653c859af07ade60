"""Which account a certificate stands for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.trial.unittest import SynchronousTestCase

from pfserver.errors import NotAllowed
from pfserver.frontends.http.identity import account_of_certificate


def certificate(
    *alternatives: x509.GeneralName, email: str = "", common: str = "", unit: str = "Nursery"
) -> x509.Certificate:
    """A certificate that holds these names."""
    key = ec.generate_private_key(ec.SECP256R1())
    attributes = [
        (NameOID.ORGANIZATIONAL_UNIT_NAME, unit),
        (NameOID.EMAIL_ADDRESS, email),
        (NameOID.COMMON_NAME, common),
    ]
    name = x509.Name([x509.NameAttribute(oid, value) for oid, value in attributes if value])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
    )
    if alternatives:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    return builder.sign(key, hashes.SHA256())


class AccountTests(SynchronousTestCase):
    def test_order(self) -> None:
        mail = x509.RFC822Name("San@Example.org")
        host = x509.DNSName("host.example.org")
        for given, account in (
            (certificate(host, mail, email="mail@example.org", common="cn@example.org"), "san@example.org"),
            (certificate(host, email="Mail@Example.org", common="cn@example.org"), "mail@example.org"),
            (certificate(email="mail@example.org", common="Ann"), "mail@example.org"),
            (certificate(common=" CN@example.org "), "cn@example.org"),
            (certificate(email="no address", common="cn@example.org"), "cn@example.org"),
        ):
            self.assertEqual(account_of_certificate(given), account)

    def test_nobody(self) -> None:
        for given in (certificate(common="Ann"), certificate(x509.DNSName("host.example.org")), certificate()):
            self.assertRaises(NotAllowed, account_of_certificate, given)
