"""The plugin, its options, and the factory that holds what all connections share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen, validators
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import ServerFactory
from twisted.plugin import IPlugin
from zope.interface import implementer

from pfserver.frontends.pageflex.commands import Commands
from pfserver.frontends.pageflex.protocol import LINGER, LOOK, PageflexProtocol
from pfserver.host.connections import Connections
from pfserver.host.deadlines import Deadlines
from pfserver.interfaces import IFrontEnd, IFrontEndPlugin, IFrontEndServices
from pfserver.options import read_table
from pfserver.wire.pageflex import Limits


@frozen(kw_only=True)
class PageflexOptions:
    """The table ``[frontends.pageflex]``."""

    packet_bytes: int = field(default=1 << 20, validator=[validators.instance_of(int), validators.gt(0)])
    """The largest packet. A job's variables fit many times; bulk data belongs into a data source."""
    depth: int = field(default=8, validator=[validators.instance_of(int), validators.gt(0)])
    """The deepest nesting of elements; a packet needs three levels."""
    variables: int = field(default=10_000, validator=[validators.instance_of(int), validators.gt(0)])
    """The most variables of one packet."""
    timeout: float = field(default=30.0, validator=[validators.instance_of(int | float), validators.gt(0)])
    """Seconds from accept to a complete packet."""
    stalled: float = field(default=3600.0, validator=[validators.instance_of(int | float), validators.gt(0)])
    """Seconds without reading after which a monitor is closed; its job goes on."""
    connections: int = field(default=10_000, validator=[validators.instance_of(int), validators.gt(0)])
    """Connections at once; monitors are connections."""
    restart_from: list[str] = field(
        factory=lambda: ["127.0.0.1", "::1"],
        validator=validators.deep_iterable(validators.instance_of(str), validators.instance_of(list)),
    )
    """Addresses that may send RestartServer."""


class PageflexFactory(ServerFactory):
    """Makes a protocol for each connection and knows all that are open."""

    noisy = False

    def __init__(self, commands: Commands, options: PageflexOptions, clock: IReactorTime) -> None:
        self.commands = commands
        self.clock = clock
        self.timeout = options.timeout
        self.limits = Limits(packet_bytes=options.packet_bytes, depth=options.depth, variables=options.variables)
        self.incomplete: Deadlines[PageflexProtocol] = Deadlines(clock, options.timeout, PageflexProtocol.too_slow)
        """Connections whose packet is not complete."""
        self.lingering: Deadlines[PageflexProtocol] = Deadlines(clock, LINGER, PageflexProtocol.close_fully)
        """Connections that have their reply and are not closed by their client yet."""
        self.stalled: Deadlines[PageflexProtocol] = Deadlines(clock, options.stalled, PageflexProtocol.abort)
        """Connections whose client does not read what it is told."""
        self.half_closed: Deadlines[PageflexProtocol] = Deadlines(clock, LOOK, PageflexProtocol.look)
        """Connections whose client has closed its sending side, and perhaps all."""
        self._most = options.connections
        self._open: Connections[PageflexProtocol] = Connections(clock, LINGER)

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """A protocol for a new connection."""
        protocol = PageflexProtocol()
        protocol.factory = self
        return protocol

    def admit(self, protocol: PageflexProtocol) -> bool:
        """Whether one more connection is allowed; it is known until :meth:`forget`, refused or not."""
        self._open.add(protocol)
        return len(self._open) <= self._most

    def forget(self, protocol: PageflexProtocol) -> None:
        """A connection is gone."""
        self._open.discard(protocol)
        self.incomplete.discard(protocol)
        self.lingering.discard(protocol)
        self.stalled.discard(protocol)
        self.half_closed.discard(protocol)

    async def close_all(self) -> None:
        """Close what is still open: what was written may be read for a moment, then it ends."""
        await self._open.close_all()
        self.incomplete.stop()
        self.lingering.stop()
        self.stalled.stop()
        self.half_closed.stop()


@implementer(IFrontEnd)
class PageflexFrontEnd(Service):
    """The running front end."""

    def __init__(self, factory: PageflexFactory) -> None:
        self.factory = factory

    def stopService(self) -> Deferred[None]:
        """Close all connections."""
        super().stopService()
        return Deferred.fromCoroutine(self.factory.close_all())


@implementer(IPlugin, IFrontEndPlugin)
class PageflexFrontEndPlugin:
    """Adds the Pageflex Server socket API."""

    name = "pageflex"
    default_endpoint = "tcp:8008:interface=127.0.0.1"

    def build(self, services: IFrontEndServices, options: Mapping[str, Any]) -> PageflexFrontEnd:
        """See ``IFrontEndPlugin``."""
        configured = read_table(PageflexOptions, options, "frontends.pageflex")
        commands = Commands(services.engine, services.build_string, configured.restart_from)
        return PageflexFrontEnd(PageflexFactory(commands, configured, services.clock))
