"""The endpoint ``mtls:PORT:cert=…:key=…:ca=…``: TLS that asks clients for their certificate.

Twisted's own ``ssl:`` and ``tls:`` cannot ask. A client without a certificate gets in, and may show an access token;
one whose certificate the authority has not signed does not.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.endpoints import SSL4ServerEndpoint
from twisted.internet.interfaces import IStreamServerEndpointStringParser
from twisted.internet.ssl import CertificateOptions
from twisted.plugin import IPlugin
from zope.interface import implementer

from pfserver.errors import ConfigurationError
from pfserver.host.pem import read_authorities, read_own


@implementer(IPlugin, IStreamServerEndpointStringParser)
class MutualTLSEndpointParser:
    """``cert`` and ``key``: the server's; ``ca``: who signs clients' certificates; ``interface``; all files are PEM."""

    prefix = "mtls"

    def parseStreamServer(self, reactor: Any, *arguments: Any, **options: Any) -> SSL4ServerEndpoint:
        """See ``IStreamServerEndpointStringParser``. Raises ``ConfigurationError``."""
        known = {"port", "cert", "key", "ca", "interface", "backlog"}
        if len(arguments) > 1 or not set(options) <= known or "cert" not in options:
            raise ConfigurationError("an mtls endpoint is mtls:PORT:cert=FILE:key=FILE:ca=FILE[:interface=ADDRESS]")
        port, backlog = (arguments[0] if arguments else options.get("port", "")), options.get("backlog", "50")
        if not port.isdecimal() or int(port) > 65535 or not backlog.isdecimal():
            raise ConfigurationError(f"{port!r} is no port")
        own = read_own(Path(options["cert"]), Path(options["key"]) if "key" in options else None)
        authorities = [one.original for one in read_authorities(Path(options["ca"]))] if "ca" in options else None
        context = CertificateOptions(
            privateKey=own.privateKey.original,
            certificate=own.original,
            verify=authorities is not None,
            caCerts=authorities,
            requireCertificate=False,
        )
        return SSL4ServerEndpoint(reactor, int(port), context, int(backlog), options.get("interface", ""))
