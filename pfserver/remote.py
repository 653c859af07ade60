"""Who works for us elsewhere: accounts with rights, factories and their workers. Values only, see ``IFactories``."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import evolve, field, frozen

from pfserver.errors import PFServerError

SUBMIT = "submit"
WORK = "work"
ADMIN = "admin"

#: What an account may do: ask for conversions; run factories of its own; manage everybody's.
RIGHTS = frozenset({SUBMIT, WORK, ADMIN})


def words(values: Iterable[str]) -> frozenset[str]:
    """A set of words, of whatever holds them."""
    return frozenset(values)


class NoSuchFactory(PFServerError):
    """There is no factory of that name."""


class NoSuchAccount(PFServerError):
    """There is no account or token of that name."""


@frozen(kw_only=True)
class Account:
    """Somebody, known by an e-mail address."""

    name: str
    rights: frozenset[str] = field(default=frozenset({SUBMIT, WORK}), converter=words)


@frozen(kw_only=True)
class Token:
    """A secret that stands for an account; only its digest is kept."""

    account: str
    label: str
    created_at: float = 0.0


@frozen(kw_only=True)
class Worker:
    """A program that a factory has."""

    application: str
    version: str = ""
    doctypes: frozenset[str] = field(default=frozenset(), converter=words)
    """What it reads; all types where empty."""
    formats: frozenset[str] = field(default=frozenset(), converter=words)
    """What it writes; all formats where empty."""

    def can(self, application: str, version: str, doctype: str, output_format: str) -> bool:
        """Whether it can do this; "" asks for any application, version or format. Case does not count."""
        return (
            application.casefold() in ("", self.application.casefold())
            and version.casefold() in ("", self.version.casefold())
            and (not self.doctypes or doctype in self.doctypes)
            and (not self.formats or not output_format or output_format in self.formats)
        )


@frozen(kw_only=True)
class Factory:
    """A machine that polls for work. Times are seconds since the epoch."""

    name: str
    account: str
    """Its owner."""
    workers: tuple[Worker, ...] = ()
    own_only: bool = False
    """Whether it takes only jobs of its owner."""
    created_at: float = 0.0
    active: bool = False
    """Whether it has ever polled."""
    last_seen: float | None = None
    polls: int = 0
    leased: int = 0
    finished: int = 0

    def seen(self, now: float, *, leased: int = 0, finished: int = 0, polls: int = 0) -> Factory:
        """The factory after it has called."""
        return evolve(
            self,
            active=True,
            last_seen=now,
            polls=self.polls + polls,
            leased=self.leased + leased,
            finished=self.finished + finished,
        )
