"""Who a client is to the HTTP side of a server, and whom it trusts."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen


@frozen(kw_only=True)
class Identity:
    """A client certificate or an access token. Files are PEM."""

    ca: Path | None = None
    """Authorities to trust; None for those of this machine."""
    certificate: Path | None = None
    key: Path | None = None
    """None where it is in the certificate's file."""
    token: str = ""
