"""How a factory shows who it is, and how it knows the server: certificates from PEM files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from OpenSSL.SSL import Error as SSLError
from twisted.internet.ssl import (
    Certificate,
    PrivateCertificate,
    optionsForClientTLS,
    platformTrust,
    trustRootFromCertificates,
)
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer

from pfserver.errors import ConfigurationError


@implementer(IPolicyForHTTPS)
class Policy:
    """TLS of connections to the server.

    :param ca: a PEM file of the authorities to trust; None for those of this machine.
    :param certificate: a PEM file with our certificate, and its key unless ``key`` names another file.
    :raises ConfigurationError: for a file that cannot be used.
    """

    def __init__(self, ca: Path | None = None, certificate: Path | None = None, key: Path | None = None) -> None:
        self._trust: Any = platformTrust() if ca is None else trustRootFromCertificates(_authorities(ca))
        self._own = None if certificate is None else _own(certificate, key)

    def creatorForNetloc(self, hostname: bytes, port: int) -> Any:
        """See ``IPolicyForHTTPS``."""
        return optionsForClientTLS(hostname.decode("ascii"), trustRoot=self._trust, clientCertificate=self._own)


def _authorities(path: Path) -> list[Certificate]:
    end = b"-----END CERTIFICATE-----"
    pieces = [piece + end for piece in _read(path).split(end)[:-1]]
    try:
        found = [Certificate.loadPEM(piece) for piece in pieces]
    except (SSLError, ValueError) as error:
        raise ConfigurationError(f"{path} holds something that is no certificate") from error
    if not found:
        raise ConfigurationError(f"{path} holds no certificate")
    return found


def _own(certificate: Path, key: Path | None) -> PrivateCertificate:
    pem = _read(certificate) + b"\n" + (_read(key) if key is not None else b"")
    try:
        own: PrivateCertificate = PrivateCertificate.loadPEM(pem)
    except (SSLError, ValueError, TypeError) as error:
        raise ConfigurationError(f"{certificate} and its key cannot be used") from error
    return own


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error
