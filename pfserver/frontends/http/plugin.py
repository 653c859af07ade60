"""The HTTP front end and its configuration, ``[frontends.http]``."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

from attrs import field, frozen, validators
from twisted.application.service import Service
from twisted.internet.threads import deferToThreadPool
from twisted.plugin import IPlugin
from twisted.web.resource import Resource
from zope.interface import implementer

from pfserver.documents.sources import Sources
from pfserver.documents.uploads import Uploads
from pfserver.frontends.http.api import XMLRPC
from pfserver.frontends.http.health import Health, Metrics
from pfserver.frontends.http.identity import Doorkeeper, Trust
from pfserver.frontends.http.jobs import JobMethods, LeaseOptions
from pfserver.frontends.http.limits import HTTPLimits
from pfserver.frontends.http.locks import LockMethods
from pfserver.frontends.http.manage import ManageMethods
from pfserver.frontends.http.methods import Registry
from pfserver.frontends.http.own import OwnMethods
from pfserver.frontends.http.site import Site
from pfserver.interfaces import IFrontEnd, IFrontEndPlugin, IFrontEndServices
from pfserver.options import read_table
from pfserver.remote import RIGHTS
from pfserver.wire.xmlrpc import Limits

MIB = 1024 * 1024

_number = validators.and_(validators.instance_of(int | float), validators.gt(0))
_count = validators.and_(validators.instance_of(int), validators.gt(0))
_rights = validators.deep_iterable(validators.in_(RIGHTS), validators.instance_of(list))


@frozen(kw_only=True)
class HTTPOptions:
    """The table ``[frontends.http]``."""

    connections: int = field(default=1000, validator=_count)
    """Connections at once."""
    document_mib: int = field(default=128, validator=_count)
    """The largest document in MiB; as base64 it takes a third more."""
    lease_seconds: float = field(default=300.0, validator=_number)
    """How long a factory may work on a job before another one may have it."""
    lease_backends: list[str] = field(
        factory=lambda: ["factory"],
        validator=validators.deep_iterable(validators.instance_of(str), validators.instance_of(list)),
    )
    """Whose jobs factories get; with "office" they help the server's own LibreOffice."""
    loopback_rights: list[str] = field(factory=lambda: sorted(RIGHTS), validator=_rights)
    """What a call from this machine may do without showing who it is."""
    certificate_rights: list[str] = field(factory=lambda: ["submit", "work"], validator=_rights)
    """What a client certificate may do whose account is not registered."""
    plain_tokens: bool = field(default=False, validator=validators.instance_of(bool))
    """Whether an access token from another machine is taken without TLS: behind a proxy that ends TLS, or in a private
    network."""


@implementer(IFrontEnd)
class HttpFrontEnd(Service):
    """The site."""

    name = "http"

    def __init__(self, services: IFrontEndServices, options: HTTPOptions) -> None:
        uploads = Uploads(services.state)
        registry = Registry()
        leases = LeaseOptions(seconds=options.lease_seconds, backends=tuple(options.lease_backends))
        engine, factories, reactor = services.engine, services.factories, services.reactor
        sources = Sources(services.projects_root, uploads)
        self.jobs = JobMethods(engine, factories, sources, leases, reactor, services.clock)
        self.jobs.register(registry)
        OwnMethods(engine, factories, self.jobs, leases, reactor).register(registry)
        ManageMethods(factories).register(registry)
        LockMethods(services.locks).register(registry)
        self._reactor = reactor
        self._hosts = {socket.gethostname().lower()}
        trust = Trust(
            loopback=frozenset(options.loopback_rights),
            certificate=frozenset(options.certificate_rights),
            hosts=self._hosts,
            plain_tokens=options.plain_tokens,
        )
        doorkeeper = Doorkeeper(factories, trust)
        api = XMLRPC(registry, doorkeeper, uploads, Limits(document=options.document_mib * MIB))
        root = Resource()
        root.putChild(b"xmlrpc", api)
        root.putChild(b"healthz", Health(engine))
        root.putChild(b"metrics", Metrics(engine, factories, api, doorkeeper))
        self.root = root
        self.factory = Site(root, api, HTTPLimits(connections=options.connections), services.clock)

    def startService(self) -> None:
        """Begin; this machine's full name may have to be asked for, which nobody waits for."""
        super().startService()
        asking = deferToThreadPool(self._reactor, self._reactor.getThreadPool(), socket.getfqdn)
        asking.addCallback(lambda name: self._hosts.add(name.lower()))

    def stopService(self) -> None:
        """End all connections."""
        super().stopService()
        self.factory.close()


@implementer(IPlugin, IFrontEndPlugin)
class HttpFrontEndPlugin:
    """Adds HTTP: XML-RPC at ``/xmlrpc``, ``/healthz`` and ``/metrics``."""

    name = "http"
    default_endpoint = "tcp:8010:interface=127.0.0.1"

    def build(self, services: IFrontEndServices, options: Mapping[str, Any]) -> HttpFrontEnd:
        """See ``IFrontEndPlugin``."""
        return HttpFrontEnd(services, read_table(HTTPOptions, options, "frontends.http"))
