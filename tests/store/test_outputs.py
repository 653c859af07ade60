"""Where output may go: folders below the roots, none of another job, none that cannot be."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pfserver.errors import JobFailed, OutsideRoot
from pfserver.model import Job, JobRequest
from pfserver.store.outputs import Outputs


class OutputsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = Path(self.mktemp()).resolve()
        self.other = Path(self.mktemp()).resolve()
        for root in (self.root, self.other):
            root.mkdir()
        self.outputs = Outputs(self.root, [self.other])

    def test_folders_that_may_be_named(self) -> None:
        for name, folder in {
            "": self.root,
            "a/b": self.root / "a/b",
            "a\\b": self.root / "a/b",
            "a/../b": self.root / "b",
            str(self.other / "Letters 2026"): self.other / "Letters 2026",
            "T-shirts": self.root / "T-shirts",
        }.items():
            self.assertEqual(self.outputs.resolve(name), folder)

    def test_folders_that_may_not(self) -> None:
        (self.root / "T0000001").mkdir()
        (self.root / "file").touch()
        for name in (
            *("..", "/etc", "a/../../b", "//server/share", "\\\\server\\share", "a\0b"),
            # A storefront's own drive, which would be a folder's name here.
            *("C:\\Output", "c:/Output", "C:"),
            # Another job's output, finished or not.
            *("T0000001", "T0000001/sub", ".T0000001.partial", "a/.hidden"),
            # What no file system takes, or what a file is in the way of.
            *("a" * 256, "\u20ac" * 86, "x/" * 1500, "file", "file/sub"),
        ):
            self.assertRaises(OutsideRoot, self.outputs.resolve, name)

    def test_what_comes_into_the_way_later_fails_the_job(self) -> None:
        job = Job(id=1, request=JobRequest(project="a.pf", output_folder=str(self.outputs.resolve("a/b"))))
        (self.root / "a").touch()
        self.assertRaises(JobFailed, self.outputs.begin, job)
        self.outputs.discard(job)
        self.outputs.remove(job)

    def test_an_output_whose_folder_cannot_be_is_removed(self) -> None:
        request = JobRequest(project="a.pf", output_folder=str(self.root / ("a" * 300)))
        self.outputs.remove(Job(id=1, request=request))
