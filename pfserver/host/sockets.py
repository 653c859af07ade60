"""What a connection is made of, for those who write to its socket themselves."""

from __future__ import annotations

from twisted.internet.interfaces import ITransport
from twisted.internet.tcp import Connection


def plain_socket(transport: ITransport | None) -> Connection | None:
    """A transport that is a socket and nothing else; None where something wraps it, TLS above all.

    What wraps a socket hands its methods through, and must not be passed by.
    """
    return transport if isinstance(transport, Connection) and not transport.TLS else None


def write_at_once(plain: Connection, data: bytes) -> bool:
    """Write now, not in the reactor's next turn, which takes four more system calls; whether all of it is written.

    What the socket does not take is written by the transport, which also finds out that a connection is lost. What it
    has to write already goes first.
    """
    if plain.dataBuffer or plain._tempDataBuffer:
        plain.write(data)
        return False
    sent = plain.writeSomeData(data)
    rest = data[sent:] if isinstance(sent, int) else data
    if rest:
        plain.write(rest)
    return not rest
