"""The routine table: what a routine that an M system starts means here (OMI 5.4.31)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import field, frozen

from pfserver.errors import ConfigurationError
from pfserver.model import DEFAULT_QUEUE, JobRequest
from pfserver.wire.omi import ErrorType, OMIError, StartJob

#: A routine of this name stands for all that are not in the table.
ANY = "*"

#: The routine that is always there: ``^SUBMIT(project,job,name=value,…)``.
SUBMIT = "SUBMIT"


@frozen(kw_only=True)
class Routine:
    """One line of the table."""

    project: str = ""
    job: str = ""
    variables: Sequence[str] = field(default=())
    """The names of the variables that the arguments become, by position; later ones are argument1, argument2, …."""
    queue: str = DEFAULT_QUEUE
    priority: int = 0
    backend: str = ""
    """``mumps`` for M code: the routine itself is run."""


def read_routines(table: Mapping[str, Any]) -> Mapping[str, Routine]:
    """The table of ``[frontends.omi.routines.<name>]``. Raises ``ConfigurationError``."""
    kinds = {"project": str, "job": str, "variables": list, "queue": str, "priority": int, "backend": str}
    routines = {}
    for name, options in table.items():
        place = f"[frontends.omi.routines.{name}]"
        if not isinstance(options, dict):
            raise ConfigurationError(f"{place} must be a table")
        for key, value in options.items():
            if key not in kinds:
                raise ConfigurationError(f"{place}: unknown key {key!r}; the keys are: {', '.join(kinds)}")
            if not isinstance(value, kinds[key]) or isinstance(value, bool):
                raise ConfigurationError(f"{place}: {key} must be of type {kinds[key].__name__}")
        if not all(isinstance(one, str) and one for one in options.get("variables", ())):
            raise ConfigurationError(f"{place}: variables must be a list of names")
        routine = Routine(**options)
        if bool(routine.project) == bool(routine.backend):
            raise ConfigurationError(f"{place} needs either a project or a backend")
        routines[name.removeprefix("^")] = routine
    return routines


class RoutineTable:
    """Makes a job of what an M client starts."""

    def __init__(self, routines: Mapping[str, Routine]) -> None:
        self._routines = routines

    def request(self, start: StartJob, account: str) -> JobRequest:
        """The job request. Raises ``OMIError``: reference content for a routine or argument that means nothing here."""
        name = start.routine.name.decode("ascii")
        arguments = [as_text(argument) for argument in start.routine.arguments or ()]
        routine = self._routines.get(name)
        if routine is None and name == SUBMIT:
            return _submission(arguments, _parameters(start, account))
        routine = routine or self._routines.get(ANY)
        if routine is None:
            raise OMIError(ErrorType.REFERENCE_CONTENT, f"no routine ^{name} in the routine table")
        if routine.backend:
            return _program(routine, start, name, arguments, account)
        names = [*routine.variables, *[f"argument{n}" for n in range(len(routine.variables) + 1, len(arguments) + 1)]]
        values = dict(zip(names, arguments, strict=False))
        common = {"queue": routine.queue, "priority": routine.priority, **_parameters(start, account)}
        return JobRequest(project=routine.project, job=routine.job, document_variables=values, **common)


def _submission(arguments: Sequence[str], common: Mapping[str, Any]) -> JobRequest:
    if not arguments:
        raise OMIError(ErrorType.REFERENCE_CONTENT, "^SUBMIT(project,job,name=value,…) needs a project")
    project, job, *assignments = [*arguments, ""] if len(arguments) == 1 else arguments
    steering: dict[str, str] = {}
    values: dict[str, str] = {}
    for assignment in assignments:
        name, separator, value = assignment.partition("=")
        if not separator or not name:
            raise OMIError(ErrorType.REFERENCE_CONTENT, "an argument of ^SUBMIT is not name=value")
        (steering if name.startswith("_sys_") else values)[name] = value
    return JobRequest(project=project, job=job, variables=steering, document_variables=values, **common)


def _program(routine: Routine, start: StartJob, name: str, arguments: Sequence[str], account: str) -> JobRequest:
    """M code. The backend gets the entry point as the job's name, and each argument as a variable."""
    label = as_text(start.label)
    entry = f"{label}+{start.offset}" if start.offset else label
    variables = {f"_mumps_argument{n}": one for n, one in enumerate(arguments, 1)}
    if start.routine.arguments is not None:
        variables["_mumps_arguments"] = str(len(arguments))
    environment = as_text(start.routine.environment or start.environment)
    variables |= {"_mumps_environment": environment, "_mumps_parameters": as_text(start.parameters)}
    return JobRequest(
        project=f"^{name}",
        job=entry,
        variables=variables,
        queue=routine.queue,
        priority=routine.priority,
        backend=routine.backend,
        account=account,
    )


def _parameters(start: StartJob, account: str) -> dict[str, Any]:
    """Process parameters of a job of ours: ``queue=NAME:priority=N``, each once at most."""
    values: dict[str, Any] = {"account": account}
    for parameter in filter(None, as_text(start.parameters).split(":")):
        name, _, value = parameter.partition("=")
        if name == "queue" and value:
            values["queue"] = value
        elif name == "priority" and value.removeprefix("-").isdecimal() and len(value) < 10:
            values["priority"] = int(value)
        else:
            raise OMIError(ErrorType.REFERENCE_CONTENT, "process parameters are queue=NAME:priority=N")
    return values


def as_text(data: bytes) -> str:
    """Text of an M system: UTF-8, or where it is none, Latin-1."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")
