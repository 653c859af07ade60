"""The systemd unit: systemd itself finds nothing wrong with it, and the server is what it says."""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
from pathlib import Path
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from tests.support.process import BIN, ROOT

UNIT = ROOT / "packaging" / "pfserver.service"


class UnitTests(SynchronousTestCase):
    def test_its_command_is_one_that_works(self) -> None:
        unit = configparser.ConfigParser(strict=False, interpolation=None)
        unit.optionxform = str  # type: ignore[assignment,method-assign]
        unit.read(UNIT, encoding="utf-8")
        self.assertEqual(unit["Service"]["Type"], "notify")
        program, *options = unit["Service"]["ExecStart"].split()
        config = Path(self.mktemp())
        config.write_text("")
        options[options.index("/etc/pfserver.toml")] = str(config.absolute())
        command = [str(BIN / Path(program).name), *options, "--help"]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("--projects", done.stdout)

    def test_systemd_accepts_it(self) -> None:
        if shutil.which("systemd-analyze") is None:
            text = "systemd-analyze is missing: apt-get install systemd"
            if os.environ.get("CI"):
                self.fail(text)
            raise SkipTest(text)
        folder = Path(self.mktemp())
        folder.mkdir()
        # The programs of a deployed server are not here.
        text = UNIT.read_text(encoding="utf-8").replace("/opt/pfserver/bin/twistd", "/bin/true")
        (folder / "pfserver.service").write_text(text, encoding="utf-8")
        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", str(folder.absolute() / "pfserver.service")],
            capture_output=True,
            text=True,
            timeout=60,
        )
        wrong = [line for line in done.stderr.splitlines() if "pfserver.service" in line]
        self.assertEqual(wrong, [])
