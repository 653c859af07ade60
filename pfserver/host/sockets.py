"""What a connection is made of, for those who write to its socket themselves."""

from __future__ import annotations

import socket

from twisted.internet.interfaces import ITransport
from twisted.internet.tcp import Connection

#: Seconds of silence after which the kernel asks a peer whether it is there, between two such questions, and how many
#: of them stay unanswered before it gives up.
KEEP_IDLE, KEEP_INTERVAL, KEEP_COUNT = 60, 30, 4

#: The first byte of ``struct tcp_info``, and what it says of a connection that is over (Linux: TCP_CLOSE).
_TCP_CLOSE = 7


def keep_alive(connection: Connection) -> None:
    """Have the kernel find out that a silent peer is gone, within minutes and not hours."""
    handle = connection.socket
    handle.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEP_IDLE)
    handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEP_INTERVAL)
    handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEP_COUNT)


def is_over(connection: Connection) -> bool:
    """Whether the kernel knows that a connection is over: nobody hears it of one that is neither read nor written."""
    return connection.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _TCP_CLOSE


def plain_socket(transport: ITransport | None) -> Connection | None:
    """A transport that is a socket and nothing else; None where something wraps it, TLS above all.

    What wraps a socket hands its methods through, and must not be passed by.
    """
    return transport if isinstance(transport, Connection) and not transport.TLS else None


def send_now(transport: ITransport) -> None:
    """Send what was written, not in the reactor's next turn: as much as a plain socket takes."""
    plain = plain_socket(transport)
    if plain is None or not plain.connected or not (plain.dataBuffer or plain._tempDataBuffer):
        return
    # Of one that is to be closed the reactor has to hear when all is sent.
    if not plain.disconnecting:
        # What fails stays written: the reactor tries it again, and finds out that the connection is lost.
        plain.doWrite()


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
