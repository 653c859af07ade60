"""Who may connect, and what each agent may do in which environment (OMI: connect; twisted.cred)."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Mapping, Sequence
from ipaddress import ip_address, ip_network
from typing import Any

from attrs import field, frozen
from twisted.cred.checkers import AllowAnonymousAccess, ICredentialsChecker
from twisted.cred.credentials import Anonymous, IUsernamePassword, UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import Attribute, Interface, implementer

from pfserver.errors import ConfigurationError, NotAllowed

#: What an agent may be allowed in an environment.
READ, WRITE, JOB = "read", "write", "job"
ALL_RIGHTS = frozenset({READ, WRITE, JOB})

#: The name that stands for every environment that is not named.
ANY = "*"


class IAgent(Interface):
    """What a login gives: an agent's rights."""

    name = Attribute("str: empty for anonymous")

    def may(right: str, environment: bytes) -> bool:
        """Whether the agent has a right in an environment."""


@implementer(IAgent)
@frozen(eq=False)
class Agent:
    """An agent and its rights by environment."""

    name: str
    environments: Mapping[str, frozenset[str]] = field(factory=lambda: {ANY: ALL_RIGHTS})
    password: str = field(default="", repr=False)

    def may(self, right: str, environment: bytes) -> bool:
        """See ``IAgent``."""
        rights = self.environments.get(environment.decode("utf-8", "replace"))
        return right in (self.environments.get(ANY, frozenset()) if rights is None else rights)


ANONYMOUS = Agent("")


def read_agents(table: Mapping[str, Any]) -> Mapping[str, Agent]:
    """The agents of ``[frontends.omi.agents.<name>]``: each a password and rights by environment, ``*`` for all others.

    Raises ``ConfigurationError``.
    """
    agents = {}
    for name, options in table.items():
        place = f"[frontends.omi.agents.{name}]"
        if not isinstance(options, dict) or set(options) - {"password", "environments"}:
            raise ConfigurationError(f"{place} must be a table of password and environments")
        password = options.get("password")
        if not isinstance(password, str) or not password:
            raise ConfigurationError(f"{place}: password must be a text that is not empty")
        environments = options.get("environments", {ANY: sorted(ALL_RIGHTS)})
        if not isinstance(environments, dict):
            raise ConfigurationError(f"{place}: environments must be a table of lists of rights")
        for environment, rights in environments.items():
            if not isinstance(rights, list) or not set(map(str, rights)) <= ALL_RIGHTS:
                raise ConfigurationError(f"{place}: the rights in {environment!r} are some of read, write, job")
        agents[name] = Agent(name, {one: frozenset(rights) for one, rights in environments.items()}, password)
    return agents


@implementer(ICredentialsChecker)
class AgentChecker:
    """Compares names and passwords with those of the configuration."""

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self, agents: Mapping[str, Agent]) -> None:
        self._agents = agents

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes | tuple[()]]:
        """The agent's name; fails with ``UnauthorizedLogin``."""
        name = credentials.username.decode("utf-8", "replace")
        agent = self._agents.get(name)
        expected = agent.password if agent is not None else ""
        # Compared in any case: how long it takes tells nobody which names there are.
        same = hmac.compare_digest(expected.encode(), credentials.password)
        if agent is None or not same:
            return fail(UnauthorizedLogin())
        return succeed(name.encode())


@implementer(IRealm)
class AgentRealm:
    """Gives an agent its rights."""

    def __init__(self, agents: Mapping[str, Agent]) -> None:
        self._agents = agents

    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: type[Interface]) -> tuple[Any, Agent, Any]:
        """See ``IRealm``."""
        if IAgent not in interfaces:
            raise NotImplementedError("an OMI agent is all there is")
        agent = ANONYMOUS if not avatarId else self._agents[avatarId.decode()]
        return IAgent, agent, lambda: None


class Doorkeeper:
    """Lets agents in.

    :param agents: by name.
    :param open_to: networks whose agents need no password unless they use a known name; None for the rule: loopback as
        long as no agent is configured, else nobody.
    """

    def __init__(self, agents: Mapping[str, Agent], open_to: Sequence[str] | None) -> None:
        if open_to is None:
            open_to = [] if agents else ["127.0.0.0/8", "::1/128"]
        try:
            self._open_to = [ip_network(network) for network in open_to]
        except ValueError as error:
            raise ConfigurationError(f"[frontends.omi]: open_to: {error}") from error
        self._names = {name.encode() for name in agents}
        self._portal = Portal(AgentRealm(agents), [AgentChecker(agents), AllowAnonymousAccess()])

    async def admit(self, name: bytes, password: bytes, host: str) -> Agent:
        """The agent that connects from ``host`` ("" for a local socket). Raises ``NotAllowed``."""
        anonymous = name not in self._names and self._is_open_to(host)
        credentials = Anonymous() if anonymous else UsernamePassword(name, password)
        login: Callable[..., Awaitable[Any]] = self._portal.login
        try:
            _, agent, _ = await login(credentials, None, IAgent)
        except UnauthorizedLogin:
            raise NotAllowed("no such agent, or not its password") from None
        found: Agent = agent
        return found

    def _is_open_to(self, host: str) -> bool:
        if not host:
            return bool(self._open_to)
        try:
            address = ip_address(host.partition("%")[0])
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None) or address
        return any(mapped in network for network in self._open_to)
