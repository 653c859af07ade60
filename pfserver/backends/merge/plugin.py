"""The backend as the engine sees it: which jobs it takes, what it checks before, and its options."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import field, frozen, validators
from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from twisted.plugin import IPlugin
from zope.interface import implementer

from pfserver.backends.merge.production import Production
from pfserver.errors import BadProject, BadVariable
from pfserver.interfaces import IBackend, IBackendPlugin, IBackendServices, IReporter
from pfserver.model import JobRequest, Outcome
from pfserver.options import read_table
from pfserver.projects.folders import ProjectFolders
from pfserver.projects.project import Project, load
from pfserver.projects.records import Records, RecordSource
from pfserver.projects.sources.sql import is_select

#: Job variables that this backend understands (Pageflex: job variables with a meaning).
DATA_SOURCE = "_sys_JobDataSourceFile"
QUERY = "_sys_JobSQLQuery"


def _number(kind: Any) -> Any:
    return [validators.instance_of(kind), validators.gt(0)]


@frozen(kw_only=True)
class MergeOptions:
    """The table ``[backends.merge]``."""

    chunk: int = field(default=50, validator=_number(int))
    """Records that are set together: more is hardly quicker and needs more memory."""
    chunk_seconds: float = field(default=120.0, validator=_number(int | float))
    """Seconds that a worker may take for a chunk, before it is ended."""
    listed_failures: int = field(default=1000, validator=_number(int))
    """Failures that the monitor lists; further ones are counted."""
    fetch_bytes: int = field(default=256 << 20, validator=_number(int))
    """The largest data source that is fetched from the web."""
    fetch_seconds: float = field(default=300.0, validator=_number(int | float))
    """Seconds for fetching it."""
    drives: Mapping[str, str] = field(factory=dict, validator=validators.instance_of(dict))
    """From a drive letter or UNC prefix, as storefronts send them, to a folder under the projects root."""


@implementer(IBackend)
class MergeBackend:
    """Produces the jobs of projects."""

    log = Logger()
    name = "merge"
    local = True

    def __init__(self, services: IBackendServices, options: MergeOptions) -> None:
        self.services = services
        self.options = options
        self.scratch = Path(services.state) / "backends" / self.name
        self.records = Records(services.data_sources, self.scratch)
        # What an earlier life left behind is of no use: folders of links, and zips that are unpacked again.
        shutil.rmtree(self.scratch, ignore_errors=True)
        self._unpacked = self.scratch / "unpacked"
        self.folders = ProjectFolders(
            services.projects_root, self._unpacked, options.drives, in_use=self._linked, seconds=services.clock.seconds
        )

    def takes(self, request: JobRequest) -> bool:
        """See ``IBackend``: whatever is named as a project."""
        return request.project.lower().endswith(".pf")

    async def check(self, request: JobRequest) -> JobRequest:
        """See ``IBackend``."""
        await deferToThread(self._check, request)
        return request

    async def run(self, reporter: IReporter) -> Outcome:
        """See ``IBackend``."""
        return await Production(self, reporter).produce()

    async def restart(self) -> None:
        """See ``IBackend``: the workers are restarted by the engine."""

    async def stop(self) -> None:
        """See ``IBackend``: nothing is kept between jobs."""

    def load(self, request: JobRequest) -> tuple[Project, RecordSource]:
        """A job's project and where its records come from. Blocks. Raises what ``check`` raises."""
        project = load(self.folders.find(request.project))
        project.job(request.job)
        return project, self._record_source(request, project)

    def _linked(self) -> Sequence[Path]:
        """What jobs that are at work have links to, below the unpacked projects."""
        cache = self._unpacked.resolve()
        links = [link.readlink() for link in self.scratch.glob("*/project/*") if link.is_symlink()]
        return [self._unpacked / target.relative_to(cache) for target in links if target.is_relative_to(cache)]

    def _check(self, request: JobRequest) -> None:
        _, origin = self.load(request)
        if origin.source and not self.records.takes(origin.source) and "://" not in origin.source:
            raise BadProject(f"no data source of this server reads {Path(origin.source).name!r}")

    def _record_source(self, request: JobRequest, project: Project) -> RecordSource:
        options = {key: value for key, value in project.data.items() if key != "source"}
        root = project.place.folder
        source = project.source if not project.source or "://" in project.source else str(root / project.source)
        other = request.variables.get(DATA_SOURCE, "").strip()
        if other:
            if "://" in other:
                raise BadVariable(f"{DATA_SOURCE} must name a file below the projects folder")
            path = self.folders.data_file(other)
            # The project's options belong to its own kind of source.
            same = path.suffix.lower() == Path(project.source).suffix.lower()
            source, options = str(path), options if same else {}
        query = request.variables.get(QUERY, "").strip()
        if query and not source:
            raise BadVariable(f"{QUERY}: the project has no data source")
        if query and not is_select(query):
            raise BadVariable(f"{QUERY} is not one SELECT")
        return RecordSource(source=source, root=root, options=options, query=query)


@implementer(IPlugin, IBackendPlugin)
class MergeBackendPlugin:
    """Adds the merge backend."""

    name = "merge"

    def build(self, services: IBackendServices, options: Mapping[str, Any]) -> MergeBackend:
        """See ``IBackendPlugin``."""
        return MergeBackend(services, read_table(MergeOptions, options, "backends.merge"))
