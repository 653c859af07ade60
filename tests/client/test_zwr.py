"""Importing globals: where it stops, what is set then, and what it says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from twisted.internet.threads import deferToThread

from pfserver.client import zwr
from pfserver.client.errors import ServerRefused
from pfserver.client.omi_blocking import BlockingOMIClient
from pfserver.errors import PFServerError
from pfserver.wire.omi import OMIError
from pfserver.wire.zwr import Node, ZWRError, read_nodes
from tests.frontends.omi.support import OMICase

HEADER = [b"label\n", b"27-NOV-2026  02:49:53 ZWR\n"]

#: More than one message, and a part of the next.
MANY = [b'^X(%d)="v"\n' % n for n in range(1, 701)]


class LoadTests(OMICase):
    def work(self, lines: list[bytes]) -> Any:
        """What loading raises, and how many nodes are set then."""

        def work() -> tuple[BaseException | None, int]:
            with BlockingOMIClient("127.0.0.1", self.port.getHost().port) as client:
                client.kill("X")
                try:
                    zwr.load(client, read_nodes([*HEADER, *lines]))
                except PFServerError as error:
                    return error, sum(1 for _ in zwr.export(client, b"X"))
                return None, sum(1 for _ in zwr.export(client, b"X"))

        return deferToThread(work)

    async def test_all_is_set(self) -> None:
        self.assertEqual(await self.work(MANY), (None, 700))

    async def test_what_is_before_a_line_that_is_wrong_is_set(self) -> None:
        for line, kind, text in (
            (b"^X(oops\n", ZWRError, "line 703, byte 4: 'o' instead of"),
            (b'^X("' + b"s" * 300 + b'")="1"\n', OMIError, 'line 703: 300 bytes do not fit .* at \\^X\\("sss'),
            (b'^X(9)="' + b"v" * 70_000 + b'"\n', OMIError, r'line 703: 70000 bytes do not fit .* at \^X\(9\)="vvv'),
            (b'^X(9)="' + b"v" * 65_530 + b'"\n', OMIError, r"line 703: the fields of a request .* at \^X\(9\)"),
            (b'^X(9)="' + b"v" * 40_000 + b'"\n', ServerRefused, r"line 703: value too long.* at \^X\(9\).*\(5\)$"),
        ):
            error, count = await self.work([*MANY, line, b'^Y="1"\n'])
            self.assertIsInstance(error, kind)
            self.assertRegex(str(error), "^" + text)
            self.assertEqual(count, 700)

    async def test_the_first_that_is_wrong_is_told(self) -> None:
        error, count = await self.work([b"^X=1\n", b'^X(1)="' + b"v" * 40_000 + b'"\n', b"^X(2\n"])
        self.assertRegex(str(error), "^line 4: value too long")
        self.assertEqual(count, 1)

    async def test_a_source_that_breaks_off(self) -> None:
        def nodes() -> Iterator[Node]:
            yield Node(b"X", (), b"v")
            raise OSError("the disk is gone")

        def work() -> bytes | None:
            with BlockingOMIClient("127.0.0.1", self.port.getHost().port) as client:
                with self.assertRaises(OSError):
                    zwr.load(client, nodes())
                return client.get("X")

        self.assertEqual(await deferToThread(work), b"v")
