"""Globals between pfserver and a real M system, as ZWR text."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from twisted.trial.unittest import TestCase

from pfserver.client.omi_blocking import BlockingOMIClient
from pfserver.wire.omi import Reference, Set
from tests.peers.mumps import MSystem, distribution
from tests.support.process import BIN, ServerProcess

#: All that is hard to write: numbers at their limits, what only looks like one, every byte, quotes, long values.
NODES: dict[tuple[bytes, ...], bytes] = {
    (): b"the global itself",
    (b"1",): b"1",
    (b"-1.5",): b'quo"ted',
    (b".00000000000000000000000000000000000000001",): b"small",
    (b"123456789012345678",): b"exact",
    (b"1234567890123456789",): b"a string, since M has 18 digits",
    (b"01",): b"01",
    (b"1E5",): b"+1",
    (b"a", b"b", b"3", b"d"): b"",
    (b'q"r', b"\x00\x01"): bytes(range(256)),
    (b"\xff\xfe",): b"\r\n",
    ("ä€".encode(),): "grüß".encode(),
    (b"long",): bytes(range(256)) * 100,
    (b"longest",): b"a\x00" * 16_000,
}

#: Prints each node of ^X: its subscripts' and its value's lengths and sums, which no encoding hides.
READER = """reader ;
 new node,part
 set node="^X"
 do show("^X")
 for  set node=$query(@node) quit:node=""  do show(node)
 quit
show(node) ;
 new part
 for part=1:1:$qlength(node) write $$sum($qsubscript(node,part)),";"
 write "=",$$sum(@node),!
 quit
sum(text) ;
 new sum,at
 set sum=0
 for at=1:1:$zlength(text) set sum=sum*31+$zascii(text,at)#1000003
 quit $zlength(text)_":"_sum
"""

WRITER = """writer ;
 set ^X="root",^X(1)="x""y",^X(-1.5)="a"_$char(0)_"b"_$char(10,13)_"c",^X("str",2)=""
 set ^X($char(1))="hi"_$zchar(200)_"e"_$zchar(255),^X($char(0,1)_"q""r"_$char(127))=$char(9)
 set ^X("1234567890123456789")=12.50,^X(1E18)=.5,^X("z")=$justify("",30000)
 set ^Y("other")=1
 quit
"""


def sum_of(text: bytes) -> str:
    """What ``$$sum`` of :data:`READER` gives."""
    total = 0
    for byte in text:
        total = (total * 31 + byte) % 1_000_003
    return f"{len(text)}:{total}"


class ZWRTests(TestCase):
    def setUp(self) -> None:
        distribution()
        self.folder = Path(self.mktemp())
        self.m = MSystem(self.folder / "m")
        self.server = ServerProcess(self.folder / "server", frontends=("omi",))
        self.addCleanup(self.server.close)
        self.server.wait()

    def _pfserver(self, *arguments: str) -> str:
        host, port = self.server.addresses["omi"]
        ended = subprocess.run(
            [str(BIN / "pfserver"), "--omi", f"{host}:{port}", "globals", *arguments],
            capture_output=True,
            env=dict(os.environ),
            timeout=120,
            check=False,
        )
        self.assertEqual(ended.returncode, 0, ended.stderr)
        return ended.stderr.decode()

    def test_an_m_program_reads_what_we_export(self) -> None:
        with BlockingOMIClient(*self.server.addresses["omi"]) as client:
            requests = [Set(Reference(b"", b"X", subscripts), value) for subscripts, value in NODES.items()]
            self.assertEqual([answer.error for answer in client.ask_all(requests)], [None] * len(NODES))
        file = self.folder.absolute() / "out.zwr"
        self.assertIn(f"{len(NODES)} nodes exported", self._pfserver("export", "X", "-o", str(file)))
        self.m.call("mupip", "load", str(file))
        expected = {
            "".join(sum_of(one) + ";" for one in subscripts) + "=" + sum_of(value)
            for subscripts, value in NODES.items()
        }
        self.assertEqual(set(self.m.run("reader", READER).split()), expected)

    def test_we_import_what_an_m_program_wrote_and_give_it_back_unchanged(self) -> None:
        self.m.run("writer", WRITER)
        before = self.m.run("reader", READER)
        self.m.call("mupip", "extract", "-format=zwr", "-nolog", "m.zwr")
        file = self.m.folder / "m.zwr"
        self.assertIn("10 nodes imported", self._pfserver("import", str(file)))
        with BlockingOMIClient(*self.server.addresses["omi"]) as client:
            self.assertEqual(client.get("X", "-1.5"), b"a\0b\n\rc")
            self.assertEqual(client.get("X", b"\1"), b"hi\xc8e\xff")
            self.assertEqual(client.get("X", b'\0\1q"r\x7f'), b"\t")
            self.assertEqual(client.get("X", b"1" + b"0" * 18), b".5")
            self.assertEqual(client.get("Y", "other"), b"1")
        back = self.folder.absolute() / "back.zwr"
        self._pfserver("export", "-o", str(back))
        other = MSystem(self.folder / "other")
        other.call("mupip", "load", str(back))
        self.assertEqual(other.run("reader", READER), before)
