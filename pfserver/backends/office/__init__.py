"""Converts office documents with LibreOffice: a pool of listening ones, each in a process group of its own."""

from pfserver.backends.office.plugin import OfficeBackendPlugin

__all__ = ["OfficeBackendPlugin"]
