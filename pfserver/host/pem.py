"""Certificates and keys from PEM files, with errors that say which file."""

from __future__ import annotations

from pathlib import Path

from OpenSSL.crypto import Error as CryptoError
from twisted.internet.ssl import Certificate, PrivateCertificate

from pfserver.errors import ConfigurationError

_END = b"-----END CERTIFICATE-----"


def read_authorities(path: Path) -> list[Certificate]:
    """All certificates of a file. Raises ``ConfigurationError``."""
    pieces = [piece + _END for piece in _read(path).split(_END)[:-1]]
    try:
        found = [Certificate.loadPEM(piece) for piece in pieces]
    except (CryptoError, ValueError) as error:
        raise ConfigurationError(f"{path} holds something that is no certificate") from error
    if not found:
        raise ConfigurationError(f"{path} holds no certificate")
    return found


def read_own(certificate: Path, key: Path | None) -> PrivateCertificate:
    """A certificate and its key, which may stand in the same file. Raises ``ConfigurationError``."""
    pem = _read(certificate) + b"\n" + (_read(key) if key is not None else b"")
    try:
        own: PrivateCertificate = PrivateCertificate.loadPEM(pem)
    except (CryptoError, ValueError, TypeError) as error:
        raise ConfigurationError(f"{certificate} and its key cannot be used") from error
    return own


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error
