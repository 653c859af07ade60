"""The factory backend: conversions that remote factories do. It checks what is asked for; the work is leased."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.threads import deferToThreadPool
from twisted.plugin import IPlugin
from zope.interface import implementer

from pfserver.documents.checks import check_document
from pfserver.documents.request import APPLICATION, PASSWORD, RESOLUTION, VERSION, conversion_of, doctype_of
from pfserver.documents.sources import Sources
from pfserver.documents.uploads import Uploads
from pfserver.errors import ConfigurationError, NotSupported
from pfserver.interfaces import IBackend, IBackendPlugin, IBackendServices, IReporter
from pfserver.model import JobRequest, Outcome


@implementer(IBackend)
class FactoryBackend:
    """Takes documents for which an application or a version is asked; others if the request names this backend."""

    name = "factory"
    local = False

    def __init__(self, reactor: Any, sources: Sources) -> None:
        self._reactor = reactor
        self._sources = sources

    def takes(self, request: JobRequest) -> bool:
        """See ``IBackend``."""
        if request.backend:
            return request.backend == self.name
        wanted = request.variables.get(APPLICATION, "").strip() or request.variables.get(VERSION, "").strip()
        return bool(wanted) and bool(doctype_of(request.project))

    async def check(self, request: JobRequest) -> JobRequest:
        """See ``IBackend``."""
        conversion = conversion_of(request)
        if request.variables.get(PASSWORD) or conversion.pdf_standard or request.variables.get(RESOLUTION, "").strip():
            what = "a password, a PDF standard or a resolution"
            raise NotSupported(f"a factory cannot be told {what}; leave the application away")
        await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), self._check_source, request)
        return self._sources.bound(request)

    def _check_source(self, request: JobRequest) -> None:
        check_document(self._sources.path(request), conversion_of(request).doctype)

    async def run(self, reporter: IReporter) -> Outcome:
        """Never called: the jobs are leased."""
        raise NotImplementedError("jobs of the factory backend are leased")

    async def restart(self) -> None:
        """See ``IBackend``: there is nothing here that could be restarted."""

    async def stop(self) -> None:
        """See ``IBackend``: there is nothing here that could be stopped."""


@implementer(IPlugin, IBackendPlugin)
class FactoryBackendPlugin:
    """Adds the factory backend. It has no keys."""

    name = "factory"

    def build(self, services: IBackendServices, options: Mapping[str, Any]) -> FactoryBackend:
        """See ``IBackendPlugin``."""
        for key in options:
            raise ConfigurationError(f"[backends.factory] has no key {key!r}")
        sources = Sources(services.projects_root, Uploads(services.state), services.home)
        return FactoryBackend(services.reactor, sources)
