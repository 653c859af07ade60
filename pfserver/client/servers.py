"""Where the servers are that the command talks to."""

from __future__ import annotations

from attrs import frozen


@frozen
class Servers:
    """Addresses as ``HOST:PORT``, and for HTTP a URL."""

    pageflex: str = "127.0.0.1:8008"
    omi: str = "127.0.0.1:8009"
    http: str = "http://127.0.0.1:8010"


def host_and_port(address: str, port: int) -> tuple[str, int]:
    """``HOST``, ``HOST:PORT`` or ``[V6]:PORT`` as a pair. Raises ``ValueError`` for anything else."""
    host, separator, number = address.rpartition(":")
    if not separator or "]" in number or (":" in host and not host.startswith("[")):
        return address.strip("[]"), port
    if not number.isdecimal() or not 0 < int(number) < 65536 or not host:
        raise ValueError(f"{address!r} is not HOST:PORT")
    return host.strip("[]"), int(number)
