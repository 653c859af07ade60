"""HTTP: the Officeshots XML-RPC API with its documentation, health and metrics."""

from pfserver.frontends.http.plugin import HttpFrontEndPlugin

__all__ = ["HttpFrontEndPlugin"]
