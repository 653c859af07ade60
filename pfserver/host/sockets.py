"""What a connection is made of, for those who write to its socket themselves."""

from __future__ import annotations

from twisted.internet.interfaces import ITransport
from twisted.internet.tcp import Connection


def plain_socket(transport: ITransport | None) -> Connection | None:
    """A transport that is a socket and nothing else; None where something wraps it, TLS above all.

    What wraps a socket hands its methods through, and must not be passed by.
    """
    return transport if isinstance(transport, Connection) and not transport.TLS else None


def write_at_once(transport: ITransport, data: bytes) -> bool:
    """Write now, not in the reactor's next turn, which takes four more system calls; whether all of it is written.

    What a plain socket does not take is written by its transport, which also finds out that a connection is lost. What
    it has to write already goes first.
    """
    plain = plain_socket(transport)
    if plain is None or plain.dataBuffer or plain._tempDataBuffer:
        transport.write(data)
        return False
    try:
        sent = plain.socket.send(data)
    except OSError:
        sent = 0
    if sent < len(data):
        plain.write(data[sent:])
        return False
    return True
