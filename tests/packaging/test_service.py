"""The systemd units: systemd itself finds nothing wrong with them, and the programs are what they say."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from unittest import SkipTest

import click
from twisted.trial.unittest import SynchronousTestCase

from pfserver.client.cli import cli
from tests.support.process import BIN, ROOT

UNIT = ROOT / "packaging" / "pfserver.service"
FACTORY_UNIT = ROOT / "packaging" / "pfserver-factory@.service"


def service(unit: Path) -> configparser.SectionProxy:
    """What a unit says of its service."""
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(unit, encoding="utf-8")
    return parser["Service"]


class UnitCase(SynchronousTestCase):
    def accepted(self, unit: Path, program: str, name: str) -> None:
        """Ask systemd what is wrong with a unit; its program is not here."""
        if shutil.which("systemd-analyze") is None:
            text = "systemd-analyze is missing: apt-get install systemd"
            if os.environ.get("CI"):
                self.fail(text)
            raise SkipTest(text)
        folder = Path(self.mktemp())
        folder.mkdir()
        text = unit.read_text(encoding="utf-8")
        self.assertIn(program, text)
        (folder / name).write_text(text.replace(program, "/bin/true"), encoding="utf-8")
        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", str(folder.absolute() / name)],
            capture_output=True,
            text=True,
            timeout=60,
        )
        self.assertEqual([line for line in done.stderr.splitlines() if name in line], [])


class ServerTests(UnitCase):
    """``pfserver.service``."""

    def test_its_command_is_one_that_works(self) -> None:
        unit = service(UNIT)
        self.assertEqual(unit["Type"], "notify")
        program, *options = unit["ExecStart"].split()
        config = Path(self.mktemp())
        config.write_text("")
        options[options.index("/etc/pfserver.toml")] = str(config.absolute())
        command = [str(BIN / Path(program).name), *options, "--help"]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("--projects", done.stdout)

    def test_systemd_accepts_it(self) -> None:
        self.accepted(UNIT, "/opt/pfserver/bin/twistd", "pfserver.service")


class FactoryTests(UnitCase):
    """``pfserver-factory@.service``, for the factory that its comment describes."""

    def test_its_command_is_one_that_works(self) -> None:
        unit = service(FACTORY_UNIT)
        self.assertEqual(unit["Type"], "notify")
        comment = FACTORY_UNIT.read_text(encoding="utf-8").partition("[Unit]")[0]
        values = dict(re.findall(r"(?m)^#   ([A-Z]+)=(.*)$", comment))
        program, *words = unit["ExecStart"].replace("%i", "ann").split()
        self.assertEqual(Path(program).name, "pfserver")
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        for name in ("ca.pem", "ann.pem", "ann.key"):
            (folder / name).touch()
        values["OPTIONS"] = values["OPTIONS"].replace("/etc/pfserver-factory", str(folder))
        arguments: list[str] = []
        for word in words:
            # systemd.service(5): ${NAME} is one argument, $NAME as many as it has words.
            if word.startswith("$") and not word.startswith("${"):
                arguments += shlex.split(values[word[1:]])
            else:
                arguments.append(re.sub(r"\$\{(\w+)\}", lambda found: values[found[1]], word))
        command = cli.get_command(click.Context(cli), arguments.pop(0))
        assert command is not None
        params = command.make_context("factory", arguments).params
        self.assertEqual((params["url"], params["name"]), ("https://press.example.org:8443", "Ann's machine"))
        for name in ("ca.pem", "ann.pem", "ann.key"):
            self.assertIn(folder / name, params.values())
        # It may write where its state is, and has more time to stop than its jobs get.
        self.assertEqual(str(params["state"]), unit["ReadWritePaths"].replace("%i", "ann"))
        self.assertEqual(str(params["state"]), "/var/lib/" + unit["StateDirectory"].replace("%i", "ann"))
        self.assertGreater(int(unit["TimeoutStopSec"]), params["grace"])

    def test_systemd_accepts_it(self) -> None:
        self.accepted(FACTORY_UNIT, "/opt/pfserver/bin/pfserver", "pfserver-factory@ann.service")
