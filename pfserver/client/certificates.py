"""Certificates for a private installation: an authority of its own, servers, and clients known by their e-mail address.

Plain X.509 with keys on the curve P-256. Whoever has the key of the authority can be anybody: keep it off the server.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from secrets import token_hex

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pfserver.errors import PFServerError

#: Days that certificates are good for: of an authority, and of all others.
CA_DAYS, DAYS = 3650, 825

#: Clocks of other machines may be behind.
_BEFORE = timedelta(hours=1)


class CertificateProblem(PFServerError):
    """A certificate cannot be made; the text says why."""


@frozen
class Pair:
    """Files of a certificate and its key."""

    certificate: Path
    key: Path


def make_authority(folder: Path, name: str, days: int = CA_DAYS) -> Pair:
    """``ca.pem`` and ``ca.key``. Raises ``CertificateProblem`` where there are such files."""
    pair = Pair(folder / "ca.pem", folder / "ca.key")
    if pair.key.exists() or pair.certificate.exists():
        raise CertificateProblem(f"{folder} holds an authority already; certificates that it has signed would be void")
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = _builder(subject, subject, key, days)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(authority=True), critical=True)
    _write(folder, pair, builder.sign(key, hashes.SHA256()), key)
    return pair


def make_server(folder: Path, hosts: list[str], days: int = DAYS) -> Pair:
    """``server.pem`` and ``server.key`` for these host names and IP addresses. Raises ``CertificateProblem``."""
    try:
        names: list[x509.GeneralName] = [_host(host) for host in hosts]
    except ValueError as error:
        raise CertificateProblem(f"this is no host name or IP address: {error}") from error
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0][:64])])
    pair = Pair(folder / "server.pem", folder / "server.key")
    return _make(folder, pair, subject, names, ExtendedKeyUsageOID.SERVER_AUTH, days)


def make_client(folder: Path, email: str, days: int = DAYS) -> Pair:
    """``<email>.pem`` and ``<email>.key``: the address is the account. Raises ``CertificateProblem``."""
    email = email.strip().lower()
    local, _, domain = email.partition("@")
    if not local or not domain or "/" in email or email.startswith(".") or not email.isprintable() or " " in email:
        raise CertificateProblem(f"{email!r} is no e-mail address")
    try:
        names: list[x509.GeneralName] = [x509.RFC822Name(email)]
    except ValueError as error:
        raise CertificateProblem(f"{email!r} cannot stand in a certificate: {error}") from error
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, email[:64])])
    pair = Pair(folder / f"{email}.pem", folder / f"{email}.key")
    return _make(folder, pair, subject, names, ExtendedKeyUsageOID.CLIENT_AUTH, days)


def _make(
    folder: Path,
    pair: Pair,
    subject: x509.Name,
    names: list[x509.GeneralName],
    purpose: x509.ObjectIdentifier,
    days: int,
) -> Pair:
    """Sign a certificate with the authority of a folder; replaces an older one of the same name."""
    authority, authority_key = _authority(folder)
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(subject, authority.subject, key, days)
    signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    builder = (
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(signer, critical=False)
    )
    _write(folder, pair, builder.sign(authority_key, hashes.SHA256()), key)
    return pair


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BEFORE)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _authority(folder: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    try:
        certificate = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
        key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
    except FileNotFoundError as error:
        raise CertificateProblem(f"{folder} holds no authority: pfserver certificates ca {folder}") from error
    except (OSError, ValueError, TypeError) as error:
        raise CertificateProblem(f"the authority in {folder} cannot be read") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CertificateProblem(f"the key of the authority in {folder} is of a kind that is not made here")
    return certificate, key


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        if not host or "/" in host or ":" in host or " " in host:
            raise ValueError(host) from None
        return x509.DNSName(host.encode("idna").decode("ascii"))


def _write(folder: Path, pair: Pair, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    encryption = serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _replace(pair.key, pem, 0o600)
        _replace(pair.certificate, certificate.public_bytes(serialization.Encoding.PEM), 0o644)
    except OSError as error:
        raise CertificateProblem(f"cannot write to {folder}: {error.strerror}") from error


def _replace(path: Path, content: bytes, mode: int) -> None:
    draft = path.with_name(f".{token_hex(8)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
    draft.replace(path)
