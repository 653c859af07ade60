"""The seven commands as values (Pageflex: replies), and how a packet becomes one."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from attrs import field, frozen

from pfserver.errors import BadVariable, MissingVariable, NotSupported, UnknownCommand
from pfserver.model import DEFAULT_QUEUE, job_id_of
from pfserver.wire.pageflex.packet import Packet

#: The encoding of replies unless the packet asks for UTF-8.
DEFAULT_ENCODING = "cp1252"

#: The most urgent and the least urgent priority.
PRIORITIES = range(-1_000_000, 1_000_001)

#: ``_sys_`` variables that backends understand; they go on with the job.
PASSED_ON = frozenset(
    {
        "_sys_JobDataSourceFile",
        "_sys_JobSQLQuery",
        # What a document is converted to, and by whom; see pfserver.documents.request.
        "_sys_OutputFormat",
        "_sys_Pages",
        "_sys_PdfStandard",
        "_sys_Resolution",
        "_sys_Password",
        "_sys_Application",
        "_sys_Version",
        "_sys_OwnFactories",
    }
)

#: Job variables that the command itself takes.
_TAKEN = frozenset(
    {
        "ProjectName",
        "JobName",
        "HTMLFilePath",
        "_sys_ClientJobMonitor",
        "_sys_QueueName",
        "_sys_Priority",
        "_sys_ResponseEncoding",
        "_sys_FinalOutputDir",
        "_sys_DownloadFonts",
        "_sys_TransactionID",
    }
)


@frozen(kw_only=True)
class SubmitJob:
    """Produce a project's job."""

    project: str
    job: str
    variables: Mapping[str, str] = field(factory=dict)
    """What rules, templates and backends see, without what the command itself takes."""
    document_variables: Mapping[str, str] = field(factory=dict)
    monitor: bool = False
    queue: str = DEFAULT_QUEUE
    priority: int = 0
    final_output_folder: str = ""
    unknown_variables: tuple[str, ...] = ()
    """``_sys_`` names that have no meaning here."""


@frozen
class CancelJob:
    """Stop a job."""

    job_id: int


@frozen
class GetJobStatus:
    """How far a job is."""

    job_id: int


@frozen
class GetTaskLog:
    """What a job has told so far."""

    job_id: int


@frozen
class GetJobQueueLen:
    """How many jobs wait, in one queue or, for "", in all."""

    queue: str = ""


@frozen
class GetBuildString:
    """What the server is."""


@frozen
class RestartServer:
    """Restart executors and backends."""


Command = SubmitJob | CancelJob | GetJobStatus | GetTaskLog | GetJobQueueLen | GetBuildString | RestartServer


def command_of(packet: Packet) -> Command:
    """What a packet asks for.

    Raises ``UnknownCommand``, ``MissingVariable``, ``BadVariable``, ``NotSupported``.
    """
    reader = _READERS.get(packet.command)
    if reader is None:
        known = ", ".join(_READERS)
        raise UnknownCommand(f"there is no command {packet.command[:80]!r}; the commands are: {known}")
    return reader(packet)


def response_encoding(packet: Packet) -> str:
    """The encoding in which a packet wants its reply: ``utf-8`` or ``cp1252``."""
    asked = packet.job_variables.get("_sys_ResponseEncoding", "").strip().lower()
    return "utf-8" if asked in ("utf-8", "utf8") else DEFAULT_ENCODING


def _submit(packet: Packet) -> SubmitJob:
    variables = packet.job_variables
    if variables.get("HTMLFilePath", "").strip():
        raise NotSupported("HTMLFilePath: no backend of this server takes HTML files")
    project = _required(variables, "ProjectName")
    # A project has jobs to choose from; a document that is to be converted has none.
    job = _required(variables, "JobName") if project.lower().endswith(".pf") else _optional(variables, "JobName")
    return SubmitJob(
        project=project,
        job=job,
        variables={
            name: value
            for name, value in variables.items()
            if name in PASSED_ON or (name not in _TAKEN and not name.startswith("_sys_"))
        },
        document_variables=packet.document_variables,
        monitor=_truth(variables, "_sys_ClientJobMonitor"),
        queue=_optional(variables, "_sys_QueueName") or DEFAULT_QUEUE,
        priority=_priority(variables),
        final_output_folder=_optional(variables, "_sys_FinalOutputDir"),
        unknown_variables=tuple(
            name for name in variables if name.startswith("_sys_") and name not in _TAKEN and name not in PASSED_ON
        ),
    )


def _job_id(packet: Packet) -> int:
    return job_id_of(_required(packet.job_variables, "_sys_TransactionID"))


_READERS: Mapping[str, Callable[[Packet], Command]] = {
    "SubmitJob": _submit,
    "CancelJob": lambda packet: CancelJob(_job_id(packet)),
    "GetJobStatus": lambda packet: GetJobStatus(_job_id(packet)),
    "GetJobQueueLen": lambda packet: GetJobQueueLen(_optional(packet.job_variables, "_sys_QueueName")),
    "GetTaskLog": lambda packet: GetTaskLog(_job_id(packet)),
    "GetBuildString": lambda packet: GetBuildString(),
    "RestartServer": lambda packet: RestartServer(),
}


def _optional(variables: Mapping[str, str], name: str) -> str:
    return variables.get(name, "").strip()


def _required(variables: Mapping[str, str], name: str) -> str:
    value = _optional(variables, name)
    if not value:
        raise MissingVariable(f"the job variable {name} is missing")
    return value


def _truth(variables: Mapping[str, str], name: str) -> bool:
    value = _optional(variables, name).lower()
    if value not in ("", "true", "false"):
        raise BadVariable(f"{name} is neither TRUE nor FALSE")
    return value == "true"


def _priority(variables: Mapping[str, str]) -> int:
    text = _optional(variables, "_sys_Priority") or "0"
    try:
        priority = int(text) if len(text) < 10 else None
    except ValueError:
        priority = None
    if priority is None or priority not in PRIORITIES:
        raise BadVariable(f"_sys_Priority is not a whole number from {PRIORITIES[0]} to {PRIORITIES[-1]}")
    return priority
