"""Twisted protocols and resources: wire values to engine calls and back, nothing more."""
