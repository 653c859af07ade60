"""The example of a third party's package: its README is followed word by word, in a fresh virtual environment."""

from __future__ import annotations

import shutil
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.docs.pages import read
from tests.docs.reader import Reader
from tests.support.distribution import distribution
from tests.support.process import ROOT

PACKAGE = ROOT / "examples" / "pfserver-mailing"


class MailingTests(SynchronousTestCase):
    """Installs the package and pfserver's wheel by the README's own commands, and runs jobs with both parts of it."""

    def test_its_readme(self) -> None:
        folder = Path(self.mktemp()).absolute()
        reader = Reader(
            read(PACKAGE / "README.md"),
            folder,
            programs=None,
            environment={"PIP_FIND_LINKS": str(distribution().folder)},
        )
        shutil.copytree(PACKAGE, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", "build"))
        reader.follow()
        first = folder / "pfserver-state" / "output" / "T0000001"
        self.assertEqual(sorted(path.name for path in first.iterdir()), ["001.eml", "002.eml"])
        self.assertFalse((folder / "pfserver").exists())
