"""The ``twistd pfserver`` command and the built-in front ends, backends and data sources."""

from twisted.application.service import ServiceMaker

from pfserver.frontends.pageflex import PageflexFrontEndPlugin

pfserver = ServiceMaker("pfserver", "pfserver.tap", "A durable job server for document production.", "pfserver")

pageflex = PageflexFrontEndPlugin()
