"""Where documents and passwords are kept."""

from __future__ import annotations

import stat
from pathlib import Path

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from pfserver.documents.request import PASSWORD, SECRET, UPLOAD
from pfserver.documents.sources import Sources
from pfserver.documents.uploads import Uploads
from pfserver.errors import BadProject, BadVariable, NoSuchProject, OutsideRoot
from pfserver.model import JobRequest


class SourcesTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = Path(self.mktemp()).absolute()
        self.projects = folder / "projects"
        self.projects.mkdir(parents=True)
        self.uploads = Uploads(folder / "state")
        self.sources = Sources(self.projects, self.uploads)

    def test_documents_below_the_root(self) -> None:
        (self.projects / "sub").mkdir()
        document = self.projects / "sub" / "a.odt"
        document.write_bytes(b"x")
        for name in ("sub/a.odt", "sub\\a.odt", "./sub/../sub/a.odt"):
            self.assertEqual(self.sources.path(JobRequest(project=name)), document)
        (self.projects / "out").symlink_to(self.projects.parent)
        (self.projects / "loop").symlink_to("loop")
        for name, error in (
            ("sub", NoSuchProject),
            ("none.odt", NoSuchProject),
            ("a\0.odt", NoSuchProject),
            ("a" * 5000, NoSuchProject),
            ("loop/a.odt", NoSuchProject),
            ("../a.odt", OutsideRoot),
            ("/etc/passwd", OutsideRoot),
            ("out/state/a.odt", OutsideRoot),
        ):
            self.assertRaises(error, self.sources.path, JobRequest(project=name))

    def test_uploads(self) -> None:
        name, path = self.uploads.create()
        path.write_bytes(b"x")
        request = JobRequest(project="my.odt", variables={UPLOAD: name})
        # It may still arrive.
        self.assertRaises(BadProject, self.sources.path, request)
        path = self.uploads.settle(name)
        self.assertEqual(self.sources.path(request), path)
        for wrong in ("../" + name, name[:-1], name.upper() + "A", "0" * 32):
            self.assertRaises(BadVariable, self.uploads.path, wrong)
            self.assertRaises(BadProject, self.sources.path, JobRequest(project="a.odt", variables={UPLOAD: wrong}))
        self.uploads.remove("../jobs.sqlite")
        self.uploads.remove(name)
        self.assertFalse(path.exists())

    def test_passwords(self) -> None:
        asked = JobRequest(project="a.odt", variables={PASSWORD: "open sésame", "other": "x"})
        hidden = self.sources.hide_password(asked)
        self.assertEqual(set(hidden.variables), {SECRET, "other"})
        self.assertEqual(self.sources.password(hidden), "open sésame")
        kept = self.uploads.path(hidden.variables[SECRET])
        self.assertEqual(stat.S_IMODE(kept.stat().st_mode), 0o600)
        self.assertEqual(self.sources.hide_password(hidden), hidden)
        self.uploads.remove(kept.name)
        self.assertRaises(BadProject, self.sources.password, hidden)

    def test_what_was_sent_here_is_for_this_server_alone(self) -> None:
        here = Sources(self.projects, self.uploads, "node-1")
        anywhere = JobRequest(project="a.odt", variables={"other": "x"})
        for name in (UPLOAD, SECRET):
            sent = JobRequest(project="a.odt", variables={name: "0" * 32})
            self.assertEqual(here.bound(sent), evolve(sent, home="node-1"))
            # A server that has its jobs alone, and may be copied to another machine.
            self.assertEqual(self.sources.bound(sent), sent)
            self.assertEqual(here.bound(evolve(sent, variables={name: ""})).home, "")
        self.assertEqual(here.bound(anywhere), anywhere)

    def test_sweep(self) -> None:
        names = [self.uploads.keep(str(number)) for number in range(3)]
        self.assertEqual(sorted(self.uploads.names()), sorted(names))
        self.assertEqual(self.uploads.sweep(names[:2], {names[0]}), 1)
        self.assertEqual([self.uploads.text(names[0]), self.uploads.text(names[2])], ["0", "2"])
        self.assertRaises(BadVariable, self.uploads.text, names[1])
        self.assertEqual(Uploads(self.projects / "fresh").names(), [])
