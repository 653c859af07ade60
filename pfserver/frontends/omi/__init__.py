"""The OMI front end: sessions of agents, globals, locks, and jobs that M systems start and follow."""

from pfserver.frontends.omi.plugin import OMIFrontEndPlugin

__all__ = ["OMIFrontEndPlugin"]
