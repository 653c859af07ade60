"""What a job runs: ``do label+offset^ROUTINE(arguments)``, as an M routine that is written for it.

A front end names the routine as the request's project (``^ROUTINE``) and the entry as its job (``label+offset``); the
arguments are variables, since they may hold anything: ``_mumps_arguments`` is how many there are (absent where there is
no list at all, which M tells from an empty one), ``_mumps_argument1`` and so on are they, ``_mumps_environment`` the
OMI environment whose globals the routine sees.
"""

from __future__ import annotations

import re

from attrs import frozen

from pfserver.errors import BadVariable, NoSuchProject
from pfserver.model import JobRequest

COUNT, ARGUMENT, ENVIRONMENT = "_mumps_arguments", "_mumps_argument", "_mumps_environment"

#: The name of the routine that is written.
DRIVER = "pfserverjob"

#: M takes so many arguments; longer ones than this make lines of several pieces.
MAX_ARGUMENTS = 32
_PIECE = 200
#: M's longest string.
_LONGEST = 1024 * 1024

_ROUTINE = re.compile(r"\^([A-Za-z%][A-Za-z0-9]{0,30})")
_ENTRY = re.compile(r"([A-Za-z%][A-Za-z0-9]{0,30}|[0-9]{1,31})?(?:\+([0-9]{1,6}))?")
_RUNS = re.compile(rb"([ -~]+)|([^ -~]+)")


@frozen(kw_only=True)
class Program:
    """A checked entry point. ``arguments`` is None where there is no list."""

    routine: str
    label: str = ""
    offset: int = 0
    arguments: tuple[str, ...] | None = None
    environment: str = ""

    def driver(self) -> bytes:
        """The source of the routine that runs it.

        An error that the program does not handle is told on a line of its own and ends the process with code 1.
        """
        lines = [
            f"{DRIVER} ; runs {self.entry}".encode(),
            b' set $etrap="use $principal write !,$zstatus,! zhalt 1"',
        ]
        names = []
        for number, argument in enumerate(self.arguments or (), 1):
            names.append(f"%pfserver({number})")
            lines += _assignments(names[-1].encode(), argument.encode("utf-8", "surrogateescape"))
        call = self.entry if self.arguments is None else f"{self.entry}({','.join(names)})"
        lines += [b" do " + call.encode(), b" quit", b""]
        return b"\n".join(lines)

    @property
    def entry(self) -> str:
        """``label+offset^ROUTINE``."""
        offset = f"+{self.offset}" if self.offset else ""
        return f"{self.label}{offset}^{self.routine}"


def program_of(request: JobRequest) -> Program:
    """What a request runs. Raises ``NoSuchProject`` for no routine's name, ``BadVariable`` for all else."""
    routine = _ROUTINE.fullmatch(request.project)
    if routine is None:
        raise NoSuchProject(f"{request.project[:40]!r} is not a routine: ^NAME is expected")
    entry = _ENTRY.fullmatch(request.job)
    if entry is None:
        raise BadVariable(f"{request.job[:40]!r} is not label+offset")
    arguments = _arguments(request)
    offset = int(entry[2] or 0)
    if offset and arguments is not None:
        raise BadVariable("M takes no arguments where an offset is given: leave one of them away")
    environment = request.variables.get(ENVIRONMENT, "")
    return Program(
        routine=routine[1], label=entry[1] or "", offset=offset, arguments=arguments, environment=environment
    )


def _arguments(request: JobRequest) -> tuple[str, ...] | None:
    count = request.variables.get(COUNT)
    if count is None:
        return None
    if not count.isdecimal() or int(count) > MAX_ARGUMENTS:
        raise BadVariable(f"a routine takes at most {MAX_ARGUMENTS} arguments")
    arguments = tuple(request.variables.get(f"{ARGUMENT}{number}", "") for number in range(1, int(count) + 1))
    if sum(map(len, arguments)) > _LONGEST:
        raise BadVariable(f"the arguments are longer than {_LONGEST} characters")
    return arguments


def _assignments(name: bytes, value: bytes) -> list[bytes]:
    """Lines that give a variable its value, in pieces: M's source lines may not be long."""
    lines = [b" set " + name + b'=""']
    for start in range(0, len(value), _PIECE):
        lines.append(b" set " + name + b"=" + name + b"_" + _literal(value[start : start + _PIECE]))
    return lines


def _literal(value: bytes) -> bytes:
    parts = []
    for text, others in _RUNS.findall(value):
        if text:
            parts.append(b'"' + text.replace(b'"', b'""') + b'"')
        else:
            parts.append(b"$zchar(" + b",".join([b"%d" % code for code in others]) + b")")
    return b"_".join(parts)
