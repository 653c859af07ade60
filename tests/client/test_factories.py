"""``pfserver factories`` against a real server: factories, accounts, access tokens."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.client.test_convert import run
from tests.support.process import ServerProcess


class FactoriesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.start("")

    def start(self, config: str) -> None:
        self.server = ServerProcess(self.folder / "server", frontends=("http",), config=config)
        self.addCleanup(self.server.close)
        self.server.wait()

    def run_here(self, *arguments: str, token: str = "") -> subprocess.CompletedProcess[str]:
        url = "http://{}:{}".format(*self.server.addresses["http"])
        return run("factories", *arguments, server=url, cwd=self.folder, PFSERVER_TOKEN=token)

    def good(self, *arguments: str, token: str = "") -> str:
        done = self.run_here(*arguments, token=token)
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)
        return done.stdout

    def test_a_factory(self) -> None:
        self.assertIn("no factory is registered", self.good("list"))
        self.assertIn("--name 'My factory'", self.good("add", "My factory"))
        self.assertEqual(
            self.good("list"),
            "My factory  this machine, never seen, 0 taken, 0 finished\n  LibreOffice: all to all\n",
        )
        self.good(
            *("add", "My factory", "--account", "Ann@example.org", "--own-only"),
            *("--worker", "LibreOffice Writer:7.4:odt,docx:pdf", "--worker", "Calligra"),
        )
        (found,) = json.loads(self.good("list", "--json"))
        self.assertEqual((found["account"], found["own_only"]), ("ann@example.org", True))
        calligra, writer = found["workers"]
        self.assertEqual(calligra, {"application": "Calligra", "version": "", "doctypes": [], "formats": []})
        self.assertEqual((writer["application"], writer["version"]), ("LibreOffice Writer", "7.4"))
        self.assertEqual((writer["doctypes"], writer["formats"]), (["docx", "odt"], ["pdf"]))
        self.assertEqual(self.good("remove", "My factory"), "My factory is removed\n")
        gone = self.run_here("remove", "My factory")
        self.assertEqual((gone.returncode, gone.stderr), (65, "pfserver: there is no factory 'My factory' (1)\n"))

    def test_workers_that_are_none(self) -> None:
        self.assertEqual(self.run_here("add", "x", "--worker", ":7").returncode, 64)
        self.assertEqual(self.run_here("add", "x", "--worker", "a:b:odt:pdf:more").returncode, 64)
        done = self.run_here("add", "x", "--worker", "a:b:nope")
        self.assertEqual(done.returncode, 65)
        self.assertIn("doctypes are", done.stderr)

    def test_accounts_and_tokens(self) -> None:
        self.good("account", "ann@example.org", "work")
        self.good("account", "boss@example.org", "admin", "work")
        self.assertIn("ann@example.org  work\n", self.good("accounts"))
        ann = self.good("token", "ann@example.org", "laptop").strip()
        boss = self.good("token", "boss@example.org", "laptop").strip()
        self.assertEqual(self.server.terminate(), 0)
        self.start("[frontends.http]\nloopback_rights = []\n")
        self.assertEqual(self.run_here("list").returncode, 65)
        self.assertEqual(self.run_here("list", token="wrong").returncode, 65)
        self.good("add", "Ann's", token=ann)
        self.assertIn("Ann's  ann@example.org", self.good("list", token=ann))
        self.assertEqual(self.run_here("accounts", token=ann).returncode, 65)
        self.good("add", "Boss's", token=boss)
        self.assertEqual(len(json.loads(self.good("list", "--json", token=boss))), 2)
        self.assertEqual(len(json.loads(self.good("list", "--json", token=ann))), 1)
        self.good("revoke", "ann@example.org", "laptop", token=boss)
        self.assertEqual(self.run_here("list", token=ann).returncode, 65)
        self.assertEqual(
            [one["name"] for one in json.loads(self.good("accounts", "--json", token=boss))],
            ["ann@example.org", "boss@example.org"],
        )
