"""The Pageflex Server socket API: one connection, one command; a job's monitor lines on the same socket."""

from pfserver.frontends.pageflex.plugin import PageflexFrontEndPlugin

__all__ = ["PageflexFrontEndPlugin"]
