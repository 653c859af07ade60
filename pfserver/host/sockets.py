"""What a connection is made of, for those who write to its socket themselves."""

from __future__ import annotations

from twisted.internet.interfaces import ITransport
from twisted.internet.tcp import Connection


def plain_socket(transport: ITransport | None) -> Connection | None:
    """A transport that is a socket and nothing else; None where something wraps it, TLS above all.

    What wraps a socket hands its methods through, and must not be passed by. What is written to a plain one with
    ``writeSomeData`` is on its way at once: the reactor would send it in its next turn, after four more system calls.
    """
    return transport if isinstance(transport, Connection) and not transport.TLS else None
