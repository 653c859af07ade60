"""Source archive and wheel hold all they should, and what they install runs outside of this checkout."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.docs.pages import read
from tests.docs.reader import Reader
from tests.support.distribution import command, distribution
from tests.support.process import ROOT

IGNORED = ("__pycache__", "dropin.cache")


def files(*folders: str) -> set[str]:
    """All files below these folders of the checkout."""
    return {
        path.relative_to(ROOT).as_posix()
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and not any(name in path.parts for name in IGNORED)
    }


class DistributionTests(SynchronousTestCase):
    """What was built."""

    def test_the_wheel_holds_every_file_of_the_package(self) -> None:
        with zipfile.ZipFile(distribution().wheel) as wheel:
            names = set(wheel.namelist())
        self.assertEqual(files("pfserver", "twisted") - names, set())
        self.assertEqual({name.split("/")[0] for name in names if ".dist-info/" not in name}, {"pfserver", "twisted"})

    def test_the_source_archive_holds_tests_and_documentation(self) -> None:
        with tarfile.open(distribution().sdist) as archive:
            names = {name.partition("/")[2] for name in archive.getnames()}
        wanted = {"README.md", "LICENSE", "CHANGELOG.md", "Makefile", "setup.py", "pyproject.toml", ".ci/run"}
        wanted |= {"docs/index.md", "docs/images/pages.png", "packaging/pfserver.service", "tools/demo.py"}
        self.assertEqual((wanted | files("tests", "examples")) - names, set())

    def test_its_description_is_the_readme(self) -> None:
        with zipfile.ZipFile(distribution().wheel) as wheel:
            name = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
            metadata = wheel.read(name).decode()
        self.assertIn((ROOT / "README.md").read_text(encoding="utf-8")[:500], metadata)
        self.assertIn("License: MIT", metadata.replace("License-Expression", "License"))


class InstalledTests(SynchronousTestCase):
    """The wheel in a fresh virtual environment, far from this checkout."""

    def test_the_tutorial(self) -> None:
        """A newcomer who installs the wheel can follow the tutorial."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        command(sys.executable, "-m", "venv", "venv", cwd=folder)
        binaries = folder / "venv" / "bin"
        command(str(binaries / "pip"), "install", "--quiet", str(distribution().wheel), cwd=folder)
        place = command(str(binaries / "python"), "-c", "import pfserver; print(pfserver.__file__)", cwd=folder)
        self.assertTrue(Path(place.strip()).is_relative_to(folder), place)
        Reader(read(ROOT / "docs" / "tutorial.md"), folder / "page", programs=binaries).follow()


class CleanTests(SynchronousTestCase):
    """``make clean``, in a copy that looks used."""

    def test_it_removes_what_was_made_and_nothing_else(self) -> None:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        command("tar", "-xf", str(distribution().sdist), cwd=folder)
        (checkout,) = folder.iterdir()
        before = set(checkout.rglob("*"))
        made = (".venv/bin/python", "dist/x.whl", "docs/_build/html/index.html", "pfserver/__pycache__/x.pyc")
        made += ("twisted/plugins/dropin.cache", "pfserver.egg-info/x", "_trial_temp/x", ".ruff_cache/x")
        for name in made:
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            (checkout / name).touch()
        subprocess.run(["make", "clean"], cwd=checkout, check=True, capture_output=True)
        after = set(checkout.rglob("*"))
        self.assertEqual([name for name in made if (checkout / name).exists()], [])
        lost = {path for path in before - after if ".egg-info" not in str(path)}
        self.assertEqual(lost, set())
