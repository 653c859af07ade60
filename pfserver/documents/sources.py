"""Where the document of a job is, and its password. What looks at the disk blocks."""

from __future__ import annotations

from pathlib import Path

from attrs import evolve, frozen

from pfserver.documents.request import PASSWORD, SECRET, UPLOAD
from pfserver.documents.uploads import Uploads
from pfserver.errors import BadProject, BadVariable, NoSuchProject, OutsideRoot
from pfserver.model import JobRequest


@frozen
class Sources:
    """Finds documents.

    :param projects_root: the folder that documents named by a path lie in.
    :param home: see ``IBackendServices``.
    """

    projects_root: Path
    uploads: Uploads
    home: str = ""

    def path(self, request: JobRequest) -> Path:
        """The document's file. Raises ``NoSuchProject``, ``OutsideRoot``, ``BadProject`` where an upload is gone."""
        upload = request.variables.get(UPLOAD, "")
        if upload:
            try:
                return self.uploads.path(upload)
            except BadVariable as error:
                raise BadProject(str(error)) from error
        root = self.projects_root.resolve()
        relative = request.project.replace("\\", "/")
        try:
            path = (root / relative).resolve()
            exists = path.is_file()
        except (OSError, ValueError, RuntimeError) as error:
            raise NoSuchProject(f"there is no document {request.project[:200]!r}") from error
        if not path.is_relative_to(root):
            raise OutsideRoot(f"{request.project[:200]!r} leaves the projects folder")
        if not exists:
            raise NoSuchProject(f"there is no document {request.project[:200]!r}")
        return path

    @staticmethod
    def is_upload(request: JobRequest) -> bool:
        """Whether a job's document was uploaded."""
        return bool(request.variables.get(UPLOAD))

    def bound(self, request: JobRequest) -> JobRequest:
        """The request, for this server alone where its document or its password was sent here."""
        is_sent = self.is_upload(request) or request.variables.get(SECRET)
        return evolve(request, home=self.home) if is_sent and self.home else request

    def password(self, request: JobRequest) -> str:
        """The document's password, "" for none. Raises ``BadProject`` where it is gone."""
        secret = request.variables.get(SECRET, "")
        if not secret:
            return request.variables.get(PASSWORD, "")
        try:
            return self.uploads.text(secret)
        except BadVariable as error:
            raise BadProject("the document's password is gone") from error

    def hide_password(self, request: JobRequest) -> JobRequest:
        """The request with a name in the place of the password, which is kept in a file of its own."""
        password = request.variables.get(PASSWORD, "")
        if not password:
            return request
        variables = {name: value for name, value in request.variables.items() if name != PASSWORD}
        return evolve(request, variables={**variables, SECRET: self.uploads.keep(password)})
