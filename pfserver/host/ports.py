"""Listening ports: all open before the server says that it listens, all closed before it stops."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.logger import Logger

from pfserver.errors import ConfigurationError


class Ports:
    """The listening ports of a server."""

    log = Logger()

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._ports: list[tuple[str, IListeningPort]] = []

    async def listen(self, name: str, endpoint: str, factory: IProtocolFactory) -> None:
        """Listen on a Twisted endpoint string. Raises ``ConfigurationError`` that says why it cannot be."""
        try:
            server = serverFromString(self._reactor, endpoint)
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
