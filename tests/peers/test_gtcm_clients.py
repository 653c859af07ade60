"""Our clients and ``pfserver globals`` against fis-gtm's OMI server, whose protocol is not ours to change."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from twisted.internet.defer import gatherResults
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from pfserver.client.errors import ServerRefused
from pfserver.client.omi import OMIClient
from pfserver.client.omi_blocking import BlockingOMIClient
from pfserver.client.omi_calls import Login
from pfserver.wire.omi import Reference, Set
from tests.peers.gtcm import GtcmServer
from tests.support.process import BIN, PATIENCE


class GtcmClientTests(TestCase):
    timeout = 3 * PATIENCE

    def setUp(self) -> None:
        # Not in the folder of the tests: its path is too long for M.
        folder = Path(tempfile.mkdtemp(prefix="gtcm"))
        self.addCleanup(shutil.rmtree, folder)
        self.server = GtcmServer(folder / "m")
        self.addCleanup(self.server.stop)
        self.environment = self.server.environment.decode()

    async def client(self, job: int) -> OMIClient:
        login = Login(environment=self.environment, client=job)
        client = await OMIClient.at("127.0.0.1", self.server.port, login)
        self.addCleanup(client.disconnect)
        return client

    async def test_twisted_client(self) -> None:
        client = await self.client(4711)
        self.assertEqual(client.version, 1)
        # What is asked at once travels in bunches, which is gtcm_server's extension 1.
        await gatherResults([client.set(n * n, "X", n) for n in range(1_000)])
        values = await gatherResults([client.get("X", n) for n in range(1_001)])
        self.assertEqual(values, [*(b"%d" % (n * n) for n in range(1_000)), None])
        self.assertEqual(await client.define("X"), 10)
        self.assertEqual([await client.order("X", ""), await client.order("X", 9)], [b"0", b"10"])
        self.assertEqual([await client.reverse_order("X", ""), await client.order("X", 999)], [b"999", b""])
        self.assertEqual(await client.query("X", 5), Reference(self.server.environment, b"X", (b"6",)))
        other = await self.client(4712)
        self.assertEqual([await client.lock("X", 1), await other.lock("X", 1)], [True, False])
        await client.unlock("X", 1)
        self.assertIs(await other.lock("X", 1), True)
        await client.kill("X")
        self.assertEqual(await client.define("X"), 0)
        with self.assertRaises(ServerRefused) as caught:
            await client.increment(1, "X", "it has none")
        self.assertEqual(caught.exception.number, 12)
        self.assertIs(self.server.is_alive, True)

    async def test_blocking_client(self) -> None:
        def work() -> None:
            with BlockingOMIClient("127.0.0.1", self.server.port, Login(environment=self.environment)) as client:
                self.assertEqual(client.version, 1)
                client.ask_all([Set(Reference(self.server.environment, b"X", (b"%d" % n,)), b"v") for n in range(500)])
                self.assertEqual([client.get("X", 499), client.order("X", 498), client.define("X")], [b"v", b"499", 10])
                self.assertTrue(client.lock("X", 1))

        await deferToThread(work)

    async def test_command_line(self) -> None:
        def run(command: str, *arguments: str) -> tuple[int, str]:
            program = (BIN / "pfserver", "--omi", f"127.0.0.1:{self.server.port}", "globals", command)
            done = subprocess.run(
                [*program, "--environment", self.environment, *arguments],
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
            return done.returncode, done.stdout + done.stderr

        def work() -> None:
            for subscript, value in (("1", "one"), ("10", "ten"), ("2", "two"), ('"a"', "Zo\u00eb")):
                self.assertEqual(run("set", f"^X({subscript})", value), (0, ""))
            self.assertEqual(run("get", '^X("a")'), (0, "Zo\u00eb\n"))
            self.assertEqual(run("get", "^X(3)"), (1, "^X(3) is undefined\n"))
            self.assertEqual(run("order", "-n", "9", '^X("")'), (0, "1\n2\n10\na\n"))
            self.assertEqual(run("order", "-r", '^X("")'), (0, "a\n"))
            self.assertEqual(run("query", "-n", "2", "^X"), (0, "^X(1)=one\n^X(2)=two\n"))
            self.assertEqual(run("kill", "^X(2)"), (0, ""))
            self.assertEqual(run("order", "^X(1)"), (0, "10\n"))

        await deferToThread(work)
        # What the command line wrote, an M program reads.
        source = 'read\t;\n\tw $g(^X(1)),$g(^X(2),"gone"),$g(^X(10)) q\n'
        self.assertEqual(self.server.system.run("read", source).strip(), "onegoneten")
