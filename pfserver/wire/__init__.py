"""Bytes to values and values to bytes, for both sides of each protocol: no Twisted, no clock, no I/O."""
