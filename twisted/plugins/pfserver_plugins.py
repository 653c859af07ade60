"""The ``twistd pfserver`` command and the built-in front ends, backends and data sources."""

from twisted.application.service import ServiceMaker

from pfserver.backends.factory import FactoryBackendPlugin
from pfserver.backends.merge import MergeBackendPlugin
from pfserver.backends.mumps import MumpsBackendPlugin
from pfserver.backends.office import OfficeBackendPlugin
from pfserver.frontends.http import HttpFrontEndPlugin
from pfserver.frontends.omi import OMIFrontEndPlugin
from pfserver.frontends.pageflex import PageflexFrontEndPlugin
from pfserver.host.tls import MutualTLSEndpointParser
from pfserver.projects.sources import DelimitedSource, JsonLinesSource, JsonSource, SqlSource

pfserver = ServiceMaker("pfserver", "pfserver.tap", "A durable job server for document production.", "pfserver")

pageflex = PageflexFrontEndPlugin()
omi = OMIFrontEndPlugin()
http = HttpFrontEndPlugin()

mtls = MutualTLSEndpointParser()

merge = MergeBackendPlugin()
mumps = MumpsBackendPlugin()
office = OfficeBackendPlugin()
factory = FactoryBackendPlugin()

csv = DelimitedSource()
jsonl = JsonLinesSource()
json = JsonSource()
sql = SqlSource()
