"""The plugin, its options, and the factory that holds what all circuits share."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from typing import Any
from weakref import WeakSet

from attrs import field, frozen, validators
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.internet.protocol import ServerFactory
from twisted.logger import Logger
from twisted.plugin import IPlugin
from zope.interface import implementer

from pfserver.errors import ServerBusy
from pfserver.frontends.omi.agents import Doorkeeper, read_agents
from pfserver.frontends.omi.jobs import JobRequests
from pfserver.frontends.omi.keys import Keys
from pfserver.frontends.omi.limits import LEAST, Agreement, Limits
from pfserver.frontends.omi.protocol import OMIProtocol
from pfserver.frontends.omi.routines import RoutineTable, read_routines
from pfserver.frontends.omi.session import Rooms, Session
from pfserver.frontends.omi.trees import JobTree
from pfserver.host.connections import Connections
from pfserver.host.hub import ReadHub
from pfserver.interfaces import ENVIRONMENT_BYTES, IEngine, IFrontEnd, IFrontEndPlugin, IFrontEndServices
from pfserver.options import read_table
from pfserver.wire.omi import Connect, Operation

#: Seconds between looks at who is idle, and that replies get to be read when the server stops.
LOOK = 1.0
LINGER = 2.0


def _seconds() -> Any:
    return field(default=30.0, validator=[validators.instance_of(int | float), validators.ge(0)])


def _length(name: str) -> Any:
    most, least = getattr(Limits(), name), getattr(LEAST, name)
    return field(default=most, validator=[validators.instance_of(int), validators.ge(least), validators.le(most)])


def _environment(_: object, attribute: Any, name: Any) -> None:
    if not isinstance(name, str) or len(name.encode()) > ENVIRONMENT_BYTES:
        raise ValueError(f"{attribute.name} holds {name!r}, not a name of at most {ENVIRONMENT_BYTES} bytes")


@frozen(kw_only=True)
class OMIOptions:
    """The table ``[frontends.omi]``."""

    value_bytes: int = _length("value")
    """The longest value that is offered."""
    subscript_bytes: int = _length("subscript")
    reference_bytes: int = _length("reference")
    """Of a name with its subscripts; version 1 has 255 at most."""
    message_bytes: int = _length("message")
    connections: int = field(default=10_000, validator=[validators.instance_of(int), validators.gt(0)])
    """Circuits at once."""
    connect_timeout: float = _seconds()
    """Seconds from accept to the end of connect."""
    message_timeout: float = _seconds()
    """Seconds from a message's first byte to its last; 0 for no limit."""
    idle_timeout: float = field(default=0.0, validator=[validators.instance_of(int | float), validators.ge(0)])
    """Seconds without a message after which a session ends; 0, as agents are used to, for no limit."""
    stalled: float = field(default=3600.0, validator=[validators.instance_of(int | float), validators.gt(0)])
    """Seconds after which an agent that does not read its replies is cut off, and its locks are free."""
    server_name: str = field(default="pfserver", validator=[validators.instance_of(str), validators.max_len(255)])
    """Told in the reply to connect."""
    environments: list[str] = field(
        factory=list,
        validator=validators.deep_iterable(
            _environment,
            validators.instance_of(list),
        ),
    )
    """The environments that there are; empty for any, made by its first update."""
    cancel_operation: int = field(
        default=int(Operation.CANCEL_JOB),
        validator=[validators.instance_of(int), validators.in_((60, *range(63, 256)))],
    )
    """The operation type of cancel job, which the standard does not tell."""
    open_to: list[str] | None = field(
        default=None,
        validator=validators.optional(
            validators.deep_iterable(validators.instance_of(str), validators.instance_of(list))
        ),
    )
    """Networks whose agents need no password; by default loopback, as long as no agent is configured."""
    agents: Mapping[str, Any] = field(factory=dict, validator=validators.instance_of(dict), repr=False)
    """By name, each with a password and its rights by environment."""
    routines: Mapping[str, Any] = field(factory=dict, validator=validators.instance_of(dict))
    """What job requests start, by routine."""

    @property
    def limits(self) -> Limits:
        """What is offered to agents."""
        return Limits(
            value=self.value_bytes,
            subscript=self.subscript_bytes,
            reference=self.reference_bytes,
            message=self.message_bytes,
        )


class OMIFactory(ServerFactory):
    """Makes a protocol for each circuit, a session for each agent that is let in, and knows all that are open."""

    noisy = False
    log = Logger()

    def __init__(
        self, options: OMIOptions, rooms: Rooms, engine: IEngine, clock: IReactorTime, implementation: str
    ) -> None:
        self.hub = ReadHub()
        self.options = options
        self.clock = clock
        self.implementation = implementation.encode()[:255]
        self._rooms = rooms
        self._engine = engine
        self._doorkeeper = Doorkeeper(read_agents(options.agents), options.open_to)
        self._routines = RoutineTable(read_routines(options.routines))
        self._open: Connections[OMIProtocol] = Connections(clock, LINGER)
        # Those that a session or a time-out still needs.
        self._requests: WeakSet[JobRequests] = WeakSet()
        self._numbers = count(1)
        self._look: IDelayedCall | None = None

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """A protocol for a new circuit."""
        protocol = OMIProtocol()
        protocol.factory = self
        return protocol

    def start(self) -> None:
        """Begin to look at who is idle."""
        self._look = self.clock.callLater(LOOK, self._look_at_all)

    def opened(self, protocol: OMIProtocol) -> None:
        """A circuit is there."""
        self._open.add(protocol)

    def closed(self, protocol: OMIProtocol) -> None:
        """A circuit is gone."""
        self._open.discard(protocol)

    async def admit(self, peer: str, connect: Connect, agreement: Agreement) -> Session:
        """A session for an agent at the address ``peer``. Raises ``NotAllowed``, ``ServerBusy``."""
        if len(self._open) > self.options.connections:
            raise ServerBusy("the server has as many circuits as it may")
        agent = await self._doorkeeper.admit(connect.agent, connect.password, peer)
        requests = JobRequests(self._engine, self._routines, self.clock, agent)
        self._requests.add(requests)
        number = next(self._numbers)
        self.log.info("session.opened", session=number, peer=peer, agent=agent.name)
        return Session(self._rooms, number, agent, agreement, requests)

    async def stop(self) -> None:
        """Close what is open: replies may be read for a moment."""
        if self._look is not None and self._look.active():
            self._look.cancel()
        for requests in list(self._requests):
            requests.stop()
        await self._open.close_all()

    def _look_at_all(self) -> None:
        self._look = self.clock.callLater(LOOK, self._look_at_all)
        now = self.clock.seconds()
        for protocol in self._open:
            protocol.check_time(now)


@implementer(IFrontEnd)
class OMIFrontEnd(Service):
    """The running front end."""

    def __init__(self, factory: OMIFactory) -> None:
        self.factory = factory

    def startService(self) -> None:
        """Begin to look at who is idle."""
        super().startService()
        self.factory.start()

    def stopService(self) -> Deferred[None]:
        """Close all circuits."""
        super().stopService()
        return Deferred.fromCoroutine(self.factory.stop())


@implementer(IPlugin, IFrontEndPlugin)
class OMIFrontEndPlugin:
    """Adds OMI, Open MUMPS Interconnect."""

    name = "omi"
    default_endpoint = "tcp:8009:interface=127.0.0.1"

    def build(self, services: IFrontEndServices, options: Mapping[str, Any]) -> OMIFrontEnd:
        """See ``IFrontEndPlugin``."""
        configured = read_table(OMIOptions, options, "frontends.omi")
        keys = Keys(services.globals, frozenset(name.encode() for name in configured.environments))
        rooms = Rooms(
            globals=services.globals,
            keys=keys,
            locks=services.locks,
            job_tree=JobTree(services.engine),
            clock=services.clock,
            cancel_operation=configured.cancel_operation,
        )
        # No version: it is told before anybody has said who they are.
        factory = OMIFactory(configured, rooms, services.engine, services.clock, "pfserver")
        return OMIFrontEnd(factory)
