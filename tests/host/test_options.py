"""The command line of ``twistd pfserver``, where not every front end is installed."""

from __future__ import annotations

from attrs import evolve
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from pfserver.host.plugins import discover
from pfserver.tap import _options


class AbsentFrontEndTests(SynchronousTestCase):
    def test_its_option_says_so(self) -> None:
        plugins = discover()
        frontends = [plugin for plugin in plugins.frontends if plugin.name != "omi"]
        self.assertEqual(len(frontends), len(plugins.frontends) - 1)
        options = _options(evolve(plugins, frontends=frontends))
        with self.assertRaisesRegex(UsageError, "the front end omi is not installed; say --omi off"):
            options().parseOptions(["--omi", "tcp:8009"])
        for arguments in (["--omi", "off"], ["--pageflex", "tcp:8008"]):
            options().parseOptions(arguments)
        self.assertIn("--omi=", options().getUsage())
