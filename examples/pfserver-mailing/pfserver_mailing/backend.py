"""A backend that makes a message for each record: a packet names an .eml file as its project."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from itertools import islice
from pathlib import Path
from string import Template
from typing import Any

from attrs import frozen
from twisted.internet.threads import deferToThread
from twisted.plugin import IPlugin
from zope.interface import implementer

from pfserver.errors import (
    BadProject,
    BadVariable,
    ConfigurationError,
    MissingVariable,
    NoSuchProject,
    OutputUnavailable,
)
from pfserver.interfaces import IBackend, IBackendPlugin, IBackendServices, IDataSourcePlugin, IReporter
from pfserver.model import Artifact, JobRequest, Outcome, Progress
from pfserver.numbers import Number
from pfserver.projects.paths import inside

#: The job variable that names the address book, or any other data source of this server.
DATA_SOURCE = "_sys_JobDataSourceFile"

#: Headers in which names of columns are replaced, besides the body.
HEADERS = ("To", "Cc", "Subject")

#: Records between two looks at whether the job was cancelled, and the largest message.
BATCH, MESSAGE_BYTES = 100, 1 << 20


@frozen
class Mailing:
    """What a job needs, checked."""

    message: Path
    source: str
    plugin: IDataSourcePlugin


@implementer(IBackend)
class MailingBackend:
    """Takes requests whose project is an ``.eml`` file."""

    name = "mailing"
    local = True

    def __init__(self, services: IBackendServices, sender: str) -> None:
        self._root = services.projects_root
        self._sources = services.data_sources
        self._sender = sender

    def takes(self, request: JobRequest) -> bool:
        """See ``IBackend``."""
        return request.project.lower().endswith(".eml")

    async def check(self, request: JobRequest) -> JobRequest:
        """See ``IBackend``: what is wrong is said before the job is accepted."""
        await deferToThread(self._mailing, request)
        return request

    async def run(self, reporter: IReporter) -> Outcome:
        """See ``IBackend``. Threads read and write files; what they did is reported here, in the reactor's thread."""
        mailing = await deferToThread(self._mailing, reporter.job.request)
        total = await deferToThread(mailing.plugin.count, mailing.source, self._root, {})
        template = read_template(mailing.message)
        records = self._records(mailing, reporter.job.request.document_variables)
        progress = Progress(total=total)
        while not reporter.cancelled:
            batch = await deferToThread(list, islice(records, BATCH))
            if not batch:
                break
            made, failures = await deferToThread(self._write, reporter.folder, template, batch, progress)
            for text in failures:
                reporter.message(Number.RECORD_DATA, text)
            for artifact in made:
                reporter.artifact(artifact)
            documents = progress.documents + len(made)
            failed = progress.failures + len(failures)
            progress = Progress(documents=documents, pages=documents, failures=failed, total=total)
            reporter.progress(progress)
            # Waits until all of it is stored: that is what keeps memory flat.
            await reporter.flush()
        await deferToThread(records.close)
        if reporter.cancelled:
            return Outcome.CANCELLED
        return Outcome.PARTIAL if progress.failures else Outcome.COMPLETED

    async def restart(self) -> None:
        """See ``IBackend``: nothing is kept between jobs."""

    async def stop(self) -> None:
        """See ``IBackend``."""

    def _mailing(self, request: JobRequest) -> Mailing:
        message = inside(self._root, request.project)
        if not message.is_file():
            raise NoSuchProject("there is no such message")
        read_template(message)
        name = request.variables.get(DATA_SOURCE, "").strip()
        if not name:
            raise MissingVariable(f"{DATA_SOURCE} must name the records, such as an address book")
        source = inside(self._root, name)
        plugin = next((one for one in self._sources if one.takes(str(source))), None)
        if plugin is None or not source.is_file():
            raise BadVariable(f"{DATA_SOURCE}: there is no such file, or no data source of this server reads it")
        return Mailing(message, str(source), plugin)

    def _records(self, mailing: Mailing, variables: Mapping[str, str]) -> Generator[Mapping[str, Any], None, None]:
        with mailing.plugin.open(mailing.source, self._root, {}) as records:
            for record in records:
                yield {**record, **variables}

    def _write(
        self, folder: Path, template: EmailMessage, records: Sequence[Mapping[str, Any]], before: Progress
    ) -> tuple[Sequence[Artifact], Sequence[str]]:
        """Write a batch of messages, in a thread; gives them, and what is wrong with the records that failed."""
        made: list[Artifact] = []
        failures: list[str] = []
        for number, record in enumerate(records, before.documents + before.failures + 1):
            try:
                data = filled(template, record, self._sender).as_bytes()
            except KeyError as error:
                failures.append(f"Record {number}: there is no column {error.args[0]!r}")
                continue
            name = f"{number:03d}.eml"
            try:
                (folder / name).write_bytes(data)
            except OSError as error:
                raise OutputUnavailable(f"{name} cannot be written: {error.strerror}") from error
            made.append(Artifact(name=name, media_type="message/rfc822", size=len(data), pages=1))
        return made, failures


def read_template(path: Path) -> EmailMessage:
    """The message with the names of columns in it. Raises ``BadProject``."""
    if path.stat().st_size > MESSAGE_BYTES:
        raise BadProject(f"{path.name} is larger than {MESSAGE_BYTES} bytes")
    message = BytesParser(policy=policy.default).parsebytes(path.read_bytes())
    if not isinstance(message, EmailMessage) or message.get_content_type() != "text/plain" or not message["To"]:
        raise BadProject(f"{path.name} is not a message of plain text with a To header")
    return message


def filled(template: EmailMessage, record: Mapping[str, Any], sender: str) -> EmailMessage:
    """The message for one record. Raises ``KeyError`` for a column that the record does not have."""
    message = EmailMessage(policy=policy.SMTP)
    for header in HEADERS:
        if template[header]:
            # A value with a line break in it must not become a header of its own.
            message[header] = " ".join(Template(template[header]).substitute(record).split())
    message["From"] = sender or template["From"] or "nobody@localhost"
    message.set_content(Template(template.get_content()).substitute(record), cte="8bit")
    return message


@implementer(IPlugin, IBackendPlugin)
class MailingPlugin:
    """Adds the backend. The table ``[backends.mailing]`` has one key, ``sender``: who all messages are from."""

    name = "mailing"

    def build(self, services: IBackendServices, options: Mapping[str, Any]) -> MailingBackend:
        """See ``IBackendPlugin``."""
        sender = options.get("sender", "")
        if set(options) - {"sender"} or not isinstance(sender, str):
            raise ConfigurationError("[backends.mailing] has one key: sender, an address")
        return MailingBackend(services, sender)
