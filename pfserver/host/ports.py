"""Listening ports: all open before the server says that it listens, all closed before it stops."""

from __future__ import annotations

import re
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.logger import Logger

from pfserver.errors import ConfigurationError

#: Clients that may wait to be accepted; the kernel may allow fewer. Twisted's own 50 let the others wait for a second.
BACKLOG = 1024

#: Endpoints that know of it.
_WITH_BACKLOG = re.compile(r"(tcp|tcp6|ssl|unix|mtls):(?!.*:backlog=)")


def with_backlog(endpoint: str) -> str:
    """An endpoint string with our backlog, if it says none itself."""
    return f"{endpoint}:backlog={BACKLOG}" if _WITH_BACKLOG.match(endpoint) else endpoint


class Ports:
    """The listening ports of a server."""

    log = Logger()

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._ports: list[tuple[str, IListeningPort]] = []

    async def listen(self, name: str, endpoint: str, factory: IProtocolFactory) -> None:
        """Listen on a Twisted endpoint string. Raises ``ConfigurationError`` that says why it cannot be."""
        try:
            server = serverFromString(self._reactor, with_backlog(endpoint))
            port = await server.listen(factory)
        except CannotListenError as error:
            reason = getattr(error.socketError, "strerror", None) or error.socketError
            raise ConfigurationError(f"{name} cannot listen on {endpoint}: {reason}") from error
        except (ValueError, TypeError, OSError) as error:
            raise ConfigurationError(f"{name} cannot listen on {endpoint!r}: {error}") from error
        self._ports.append((name, port))

    def announce(self) -> None:
        """One log line a port."""
        for name, port in self._ports:
            self.log.info("{name} listening on {address}", name=name, address=_readable(port.getHost()))

    async def close(self) -> None:
        """Accept no more connections."""
        ports, self._ports = self._ports, []
        for _, port in ports:
            await maybeDeferred(port.stopListening)


def _readable(address: Any) -> str:
    if isinstance(address, IPv4Address):
        return f"{address.host}:{address.port}"
    if isinstance(address, IPv6Address):
        return f"[{address.host}]:{address.port}"
    if isinstance(address, UNIXAddress):
        return str(address.name.decode() if isinstance(address.name, bytes) else address.name)
    return str(address)
