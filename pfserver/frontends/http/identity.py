"""Who calls: by a TLS client certificate, an access token, or because the call comes from this machine."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Collection
from ipaddress import IPv6Address, ip_address
from typing import Any
from urllib.parse import urlsplit

from attrs import field, frozen
from cryptography import x509
from cryptography.x509.oid import NameOID
from twisted.internet.address import UNIXAddress
from twisted.web.http import Request

from pfserver.errors import NotAllowed
from pfserver.interfaces import IFactories
from pfserver.remote import ADMIN, RIGHTS, SUBMIT, WORK, words

_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})

#: A proxy on this machine adds these to what it passes on from elsewhere.
_FORWARDED = (b"Forwarded", b"X-Forwarded-For", b"X-Real-IP")


@frozen(kw_only=True)
class Caller:
    """Somebody who calls. ``account`` is empty for a call from this machine."""

    account: str = ""
    rights: frozenset[str] = field(default=frozenset(), converter=words)

    def expect(self, right: str) -> None:
        """Raises ``NotAllowed`` without this right."""
        if right not in self.rights:
            raise NotAllowed(f"{self.account or 'an unknown caller'} has no right to {right}")

    def owns(self, account: str) -> bool:
        """Whether what belongs to this account is the caller's to use."""
        return ADMIN in self.rights or account == self.account


@frozen(kw_only=True)
class Trust:
    """What callers may do of whom the registry says nothing."""

    loopback: frozenset[str] = RIGHTS
    """Rights of a call from this machine."""
    certificate: frozenset[str] = frozenset({SUBMIT, WORK})
    """Rights of a certificate whose account is not registered."""
    hosts: Collection[str] = frozenset()
    """This machine's names, in lower case: calls from it may use them."""
    plain_tokens: bool = False
    """Whether a token from elsewhere is taken without TLS: behind a proxy that ends TLS, or in a private network."""


class Doorkeeper:
    """Tells who calls."""

    def __init__(self, factories: IFactories, trust: Trust) -> None:
        self._factories = factories
        self._trust = trust

    async def identify(self, request: Request) -> Caller:
        """Who sent a request, known before its body is read. Raises ``NotAllowed``."""
        certificate = _peer_certificate(request.transport)
        if certificate is not None:
            return await self._known(account_of_certificate(certificate), self._trust.certificate)
        near = _is_near(request)
        if not request.isSecure() and not near and not self._trust.plain_tokens:
            # A token that came this way is as good as published: it is not even looked up.
            raise NotAllowed("calls from other machines need TLS; use https://")
        token = _token(request)
        if token:
            account = await self._factories.account_of_token(token)
            if account is None:
                raise NotAllowed("the access token is not known")
            return await self._known(account, frozenset())
        if request.isSecure() or not near or not self._trust.loopback:
            raise NotAllowed("a client certificate or an access token is needed")
        self._expect_local(request)
        return Caller(rights=self._trust.loopback)

    def _expect_local(self, request: Request) -> None:
        """Raises ``NotAllowed`` where a foreign page in a browser of this machine may be what calls.

        Browsers send Origin with each POST that a page makes. A page that reads needs none, where a foreign name was
        made to mean this machine: the name that it calls us by is foreign then.
        """
        try:
            host = urlsplit(f"//{request.getHeader('host') or ''}")
            called = (host.hostname or "").removesuffix(".")
            origin = request.getHeader("origin")
            page = urlsplit(origin).netloc if origin is not None else None
        except ValueError:
            raise NotAllowed("the headers Host and Origin cannot be read") from None
        if page is not None and (called not in _LOCAL_NAMES or page != host.netloc):
            raise NotAllowed("a client certificate or an access token is needed: a page of another site calls")
        near = isinstance(request.getClientAddress(), UNIXAddress)
        if not near and _is_dns_name(called) and called not in self._trust.hosts:
            raise NotAllowed("a client certificate or an access token is needed; or call this machine localhost")

    async def _known(self, account: str, otherwise: frozenset[str]) -> Caller:
        known = await self._factories.account(account)
        return Caller(account=account, rights=otherwise if known is None else known.rights)


def account_of_certificate(certificate: x509.Certificate) -> str:
    """The e-mail address in a certificate: alternative name, then emailAddress, then common name, in lower case.

    Raises ``NotAllowed`` where there is none.
    """
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        found = list(names.get_values_for_type(x509.RFC822Name))
    except (x509.ExtensionNotFound, ValueError):
        found = []
    for oid in (NameOID.EMAIL_ADDRESS, NameOID.COMMON_NAME):
        found += [str(attribute.value) for attribute in certificate.subject.get_attributes_for_oid(oid)]
    account = next((name.strip().lower() for name in found if "@" in name), "")
    if not account:
        raise NotAllowed("the client certificate holds no e-mail address")
    return account


def _peer_certificate(transport: Any) -> x509.Certificate | None:
    get: Callable[[], Any] | None = getattr(transport, "getPeerCertificate", None)
    certificate = get() if get is not None else None
    if certificate is None:
        return None
    found: x509.Certificate = certificate.to_cryptography()
    return found


def _token(request: Request) -> str:
    """The access token: ``Authorization: Bearer …``, or the password of Basic, as XML-RPC clients send it.

    Raises ``NotAllowed`` for what nobody can read.
    """
    try:
        scheme, _, rest = (request.getHeader("authorization") or "").strip().partition(" ")
        if scheme.lower() == "bearer":
            return rest.strip()
        if scheme.lower() == "basic":
            return b64decode(rest.strip(), validate=True).decode("utf-8").partition(":")[2]
    except ValueError:
        raise NotAllowed("an access token is needed that can be read") from None
    return ""


def _is_near(request: Request) -> bool:
    """Whether a call comes from this machine, and not through a proxy."""
    if any(request.requestHeaders.hasHeader(name) for name in _FORWARDED):
        return False
    peer = request.getClientAddress()
    if isinstance(peer, UNIXAddress):
        return True
    try:
        address = ip_address(getattr(peer, "host", ""))
    except ValueError:
        return False
    # A port for both families tells of 127.0.0.1 as ::ffff:127.0.0.1.
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


def _is_dns_name(host: str) -> bool:
    """Whether a host's name could be anybody's: no address, none without a dot, none that is always this machine."""
    if "." not in host or host.endswith((".localhost", "localhost.localdomain")):
        return False
    try:
        ip_address(host)
    except ValueError:
        return True
    return False
