"""Every contract between the rooms of pfserver, and nothing else. Read this first.

A *front end* speaks a protocol and calls :class:`IEngine`. The *engine* decides what happens to a job; it keeps them in
an :class:`IJobStore`, has them produced by an :class:`IBackend` and listens to it through an :class:`IReporter`.
Backends, front ends and data sources are added as Twisted plugins (:class:`IBackendPlugin`, :class:`IFrontEndPlugin`,
:class:`IDataSourcePlugin`): a third party's package ships a module in ``twisted/plugins`` that provides one of these.

Methods that may take time return an awaitable (a coroutine or a Deferred); all are called in the reactor's thread
unless said otherwise. What they raise is one of :mod:`pfserver.errors`.
"""

from pfserver.interfaces.backends import (
    IBackend,
    IBackendPlugin,
    IBackendServices,
    IDataSourcePlugin,
    IReporter,
    IWorkers,
)
from pfserver.interfaces.engine import IEngine, IFollower
from pfserver.interfaces.frontends import IFrontEnd, IFrontEndPlugin, IFrontEndServices
from pfserver.interfaces.globals import ENVIRONMENT_BYTES, IGlobals, IGlobalsUpdate, IGlobalsView, ILocks
from pfserver.interfaces.store import IFactories, IJobStore, IOutputs

__all__ = [
    "ENVIRONMENT_BYTES",
    "IBackend",
    "IBackendPlugin",
    "IBackendServices",
    "IDataSourcePlugin",
    "IEngine",
    "IFactories",
    "IFollower",
    "IFrontEnd",
    "IFrontEndPlugin",
    "IFrontEndServices",
    "IGlobals",
    "IGlobalsUpdate",
    "IGlobalsView",
    "IJobStore",
    "ILocks",
    "IOutputs",
    "IReporter",
    "IWorkers",
]
