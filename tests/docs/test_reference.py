"""The reference is complete: what it says by hand is compared with the code, what is made from it is built."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from pfserver.errors import ConfigurationError
from pfserver.host.config import load
from pfserver.host.plugins import discover
from pfserver.numbers import Number
from tests.support.process import ROOT

REFERENCE = ROOT / "docs" / "reference"


class OptionTests(SynchronousTestCase):
    def test_every_key_is_explained(self) -> None:
        error = self.assertRaises(ConfigurationError, load, None, {"nonsense": 1}, [])
        text = (REFERENCE / "options.md").read_text(encoding="utf-8")
        for key in str(error).partition("the keys are: ")[2].split(", "):
            self.assertRegex(text, rf"\| `\[?{key}(\.NAME)?\]?`|, `\[?{key}\.NAME\]`", key)

    def test_the_options_of_every_plugin_are_explained(self) -> None:
        text = (REFERENCE / "options.md").read_text(encoding="utf-8")
        for plugin in discover().frontends:
            self.assertIn(f"`[frontends.{plugin.name}]`", text)
        for plugin in discover().backends:
            if type(plugin).__module__.startswith("pfserver."):
                self.assertIn(f"`[backends.{plugin.name}]`", text)


class PacketTests(SynchronousTestCase):
    def test_every_command_is_explained(self) -> None:
        text = (REFERENCE / "packets.md").read_text(encoding="utf-8")
        for name in ("SubmitJob", "CancelJob", "GetJobStatus", "GetJobQueueLen", "GetTaskLog", "GetBuildString"):
            self.assertIn(f"| `{name}` |", text)
        self.assertIn("| `RestartServer` |", text)


class BuildTests(SynchronousTestCase):
    """``make docs``, into another folder."""

    def test_sphinx_has_nothing_to_say(self) -> None:
        if find_spec("furo") is None or find_spec("myst_parser") is None:
            text = "Sphinx is missing: pip install '.[docs]', as make check does"
            if os.environ.get("CI"):
                self.fail(text)
            raise SkipTest(text)
        folder = Path(self.mktemp())
        command = [
            sys.executable,
            "-m",
            "sphinx",
            "-q",
            "-W",
            "--keep-going",
            "-b",
            "html",
            "docs",
            str(folder.absolute()),
        ]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
        self.assertEqual(done.returncode, 0, done.stderr)
        numbers = (folder / "reference" / "numbers.html").read_text(encoding="utf-8")
        for number in Number:
            self.assertIn(f"{number:07d}", numbers)
        interfaces = (folder / "reference" / "interfaces.html").read_text(encoding="utf-8")
        for name in ("IEngine", "IBackend", "IDataSourcePlugin", "when_cancelled", "finish_lease"):
            self.assertIn('id="pfserver.interfaces.', interfaces)
            self.assertIn(name, interfaces)
        commands = (folder / "reference" / "command-line.html").read_text(encoding="utf-8")
        self.assertGreater(len(re.findall("Usage: pfserver ", commands)), 12)
