"""A packet that names a project outside of the projects folder, before a real server with real files to be had."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import TestCase

from tests.frontends.pageflex.support import packet, vector
from tests.support.process import ServerProcess
from tests.support.projects import put_project


class OutsideTests(TestCase):
    timeout = 120

    def test_nothing_outside_can_be_named(self) -> None:
        folder = Path(self.mktemp())
        put_project(folder / "secret", 3)
        put_project(folder / "projects" / "inside", 3)
        (folder / "projects" / "link.pf").symlink_to(folder.absolute() / "secret" / "a.pf")
        (folder / "projects" / "linked").symlink_to(folder.absolute() / "secret")
        with ServerProcess(folder) as server:
            self.assertRegex(server.talk(vector("86")), rb"\AR0005117: [^\r\n]+\r\n\Z")
            for name in (
                *("../secret/a.pf", "x/../../secret/a.pf", "..\\secret\\a.pf", "link.pf", "linked/a.pf"),
                str((folder / "secret" / "a.pf").absolute()),
            ):
                reply = server.talk(packet("SubmitJob", ProjectName=name, JobName="A"))
                self.assertRegex(reply, rb"\AR0005117: [^\r\n]+\r\n\Z", name)
                self.assertNotIn(str(folder.absolute()).encode(), reply.replace(name.encode(), b""))
            # Nothing was stored: what may be named is the first job.
            reply = server.talk(packet("SubmitJob", ProjectName="inside/a.pf", JobName="A"))
            self.assertEqual(reply, b"R0000000: T0000001\r\n")
