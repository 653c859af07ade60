"""How a factory shows who it is, and how it knows the server: certificates from PEM files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.ssl import optionsForClientTLS, platformTrust, trustRootFromCertificates
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer

from pfserver.host.pem import read_authorities, read_own


@implementer(IPolicyForHTTPS)
class Policy:
    """TLS of connections to the server.

    :param ca: a PEM file of the authorities to trust; None for those of this machine.
    :param certificate: a PEM file with our certificate, and its key unless ``key`` names another file.
    :raises ConfigurationError: for a file that cannot be used.
    """

    def __init__(self, ca: Path | None = None, certificate: Path | None = None, key: Path | None = None) -> None:
        self._trust: Any = platformTrust() if ca is None else trustRootFromCertificates(read_authorities(ca))
        self._own = None if certificate is None else read_own(certificate, key)

    def creatorForNetloc(self, hostname: bytes, port: int) -> Any:
        """See ``IPolicyForHTTPS``."""
        return optionsForClientTLS(hostname.decode("ascii"), trustRoot=self._trust, clientCertificate=self._own)
