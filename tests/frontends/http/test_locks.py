"""``pfserver.locks``."""

from __future__ import annotations

import xmlrpc.client
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pfserver.client.omi_blocking import BlockingOMIClient
from pfserver.client.omi_calls import Login
from pfserver.frontends.http.locks import LOCKS
from pfserver.model import HeldLock
from tests.frontends.http.support import HttpCase
from tests.support.process import ServerProcess


class LockTests(HttpCase):
    async def test_a_call_tells_some(self) -> None:
        for number in range(LOCKS + 2):
            lock = HeldLock(b"", b"X", (b"%06d" % number,), session=1, client=b"7", agent="", count=1)
            self.assertTrue(self.locks.take(lock))
        first = await self.call("pfserver.locks", 0)
        rest = await self.call("pfserver.locks", len(first))
        self.assertEqual((len(first), len(rest)), (LOCKS, 2))
        self.assertEqual([one["reference"] for one in (first[0], rest[-1])], ['^X("000000")', f'^X("{LOCKS + 1:06d}")'])
        self.assertEqual(await self.call("pfserver.locks", LOCKS + 2), [])
        await self.fault(-32602, "pfserver.locks", -1)


class LimitedTests(HttpCase):
    options: Mapping[str, Any] = {"loopback_rights": ["submit", "work"]}

    async def test_names_of_globals_are_for_administrators(self) -> None:
        await self.fault(2, "pfserver.locks", 0)


class AcrossDialectsTests(SynchronousTestCase):
    def test_what_an_m_client_holds(self) -> None:
        server = ServerProcess(Path(self.mktemp()).absolute(), frontends=("omi", "http")).wait()
        self.addCleanup(server.close)
        host, port = server.addresses["http"]
        with xmlrpc.client.ServerProxy(f"http://{host}:{port}/xmlrpc") as proxy:
            with BlockingOMIClient(*server.addresses["omi"], Login(environment="wards", client=4711)) as agent:
                for _ in range(2):
                    self.assertTrue(agent.lock("PAT", 17, "a\nb"))
                self.assertTrue(agent.lock("%Z"))
                z, patient = proxy.pfserver.locks(0)
            self.assertEqual(proxy.pfserver.locks(0), [])
        shown = {"environment": "wards", "client": "4711", "session": 1, "agent": ""}
        self.assertEqual(z, {**shown, "reference": "^%Z", "count": 1})
        self.assertEqual(patient, {**shown, "reference": '^PAT(17,"a"_$C(10)_"b")', "count": 2})
