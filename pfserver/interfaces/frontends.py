"""What speaks a protocol, and what it is given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.application.service import IService
from zope.interface import Attribute, Interface


class IFrontEndPlugin(Interface):
    """A Twisted plugin that adds a protocol by which jobs come in."""

    name = Attribute("str: the command line's option, and its table in the configuration, [frontends.<name>]")
    default_endpoint = Attribute("str: the Twisted endpoint it listens on where nothing is configured")

    def build(services: IFrontEndServices, options: Mapping[str, Any]) -> IFrontEnd:
        """Make the front end from its table in the configuration. Raises ``ConfigurationError``."""


class IFrontEnd(IService):
    """A running front end: started before its ports listen, stopped after they are closed."""

    factory = Attribute("IProtocolFactory: what answers connections")


class IFrontEndServices(Interface):
    """What a front end may use; handed to :meth:`IFrontEndPlugin.build`."""

    engine = Attribute("IEngine")
    reactor = Attribute("the reactor")
    clock = Attribute("IReactorTime: time for time-outs")
    state = Attribute("pathlib.Path: the state folder")
    store = Attribute("the database, for front ends that keep tables of their own (see pfserver.store.database)")
    factories = Attribute("IFactories: accounts, tokens and remote factories")
    globals = Attribute("IGlobals")
    locks = Attribute("ILocks: shared by all front ends")
    projects_root = Attribute("pathlib.Path")
    build_string = Attribute("str: the server's name and versions, for those who ask")
