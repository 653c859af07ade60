"""What a session has agreed on when it connected (OMI: connect)."""

from __future__ import annotations

from attrs import fields, frozen

from pfserver.wire.omi import Connect, Connected, ErrorType, Extension, OMIError, Reference

#: What we know of extensions, in the order of their numbers.
EXTENSIONS = (Extension.BUNCHING, Extension.WIDE_REPLIES)

MAJOR_VERSIONS = (1, 2)


@frozen(kw_only=True)
class Limits:
    """Lengths in bytes; these are the most that we offer."""

    value: int = 32_767
    subscript: int = 255
    reference: int = 1_024
    """Of a name and all subscripts, each with its length byte; the environment does not count."""
    message: int = 65_535
    outstanding: int = 1

    def check(self, reference: Reference) -> None:
        """Raises ``OMIError`` for a reference that is too long, or a subscript of it."""
        subscripts = reference.subscripts
        length = 2 + len(reference.name) + sum(map(len, subscripts)) + len(subscripts)
        if length > self.reference or max(map(len, subscripts), default=0) > self.subscript:
            raise OMIError(ErrorType.REFERENCE_TOO_LONG)


#: The least that an agent may ask for; a message of so many bytes holds every header and most references.
LEAST = Limits(value=1, subscript=1, reference=8, message=128, outstanding=1)

#: Version 1 has shorter references.
REFERENCE_BYTES_1 = 255


@frozen(kw_only=True)
class Agreement:
    """The outcome of a negotiation."""

    major: int
    limits: Limits
    extensions: tuple[int, ...] = ()

    @property
    def is_bunched(self) -> bool:
        """Whether messages carry a count."""
        return self.major >= 2 or Extension.BUNCHING in self.extensions

    @property
    def is_wide(self) -> bool:
        """Whether get, define and order tell more."""
        return self.major == 1 and Extension.WIDE_REPLIES in self.extensions

    def reply(self, connect: Connect, implementation: bytes, server: bytes) -> Connected:
        """The reply that tells it."""
        return Connected(
            major=self.major,
            value=self.limits.value,
            subscript=self.limits.subscript,
            reference=self.limits.reference,
            message=self.limits.message,
            outstanding=self.limits.outstanding,
            eight_bit=connect.eight_bit & 1,
            translation=0,
            implementation=implementation,
            server=server,
            extensions=self.extensions,
        )


def negotiate(connect: Connect, offered: Limits) -> Agreement:
    """What both sides can do. Raises ``OMIError``: version, a minimum too large, a maximum too small."""
    if connect.major not in MAJOR_VERSIONS:
        raise OMIError(ErrorType.VERSION)
    agreed: dict[str, int] = {}
    for name in [attribute.name for attribute in fields(Limits)]:
        most: int = getattr(offered, name)
        if name == "reference" and connect.major == 1:
            most = min(most, REFERENCE_BYTES_1)
        asked = getattr(connect, name)
        agreed[name] = min(asked.maximum, most)
        if asked.maximum < getattr(LEAST, name):
            raise OMIError(ErrorType.MAXIMUM_TOO_SMALL)
        if asked.minimum > agreed[name]:
            raise OMIError(ErrorType.MINIMUM_TOO_LARGE)
    known = tuple([int(one) for one in EXTENSIONS if one in connect.extensions])
    return Agreement(major=connect.major, limits=Limits(**agreed), extensions=known)
