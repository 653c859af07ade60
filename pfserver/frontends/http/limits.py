"""What one connection may take of the server."""

from __future__ import annotations

from attrs import frozen

#: Seconds that a refused sender is listened to, so that it can read why; what it sends is thrown away.
LINGER = 10.0


@frozen(kw_only=True)
class HTTPLimits:
    """Limits of a connection."""

    connections: int = 1000
    """Connections at once."""
    idle: float = 75.0
    """Seconds without a byte; also between two requests of a connection."""
    header_time: float = 20.0
    """Seconds from the first byte of a request to the end of its headers."""
    body_grace: float = 30.0
    """Seconds of a body that are not looked at."""
    body_rate: float = 4096.0
    """Bytes a second that a longer body has to come with, over all its time."""
    read_time: float = 120.0
    """Seconds in which a peer has to take something of an answer; about 64 KiB are on their way then."""
    other_body: int = 64 * 1024
    """Bytes of a body that is no XML-RPC call: nothing here reads one, and anybody may send it."""
