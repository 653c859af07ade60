"""Power cuts: what the globals have of the pages that a disk was asked to write, at each moment."""

from __future__ import annotations

import os
import random
import shutil
import threading
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.internet.defer import gatherResults

from pfserver.store.globals import journal
from pfserver.store.globals.file import GlobalsFile
from pfserver.store.globals.service import Globals
from tests.store.globals_support import GlobalsCase, setter, value_of

PAGE = 4096


class Disk:
    """What a power cut would leave at each moment: what was flushed, and any of the pages that were written later."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cuts: list[tuple[dict[str, tuple[bytes, bytes]], int]] = []
        self.told = 0
        self.flushed: dict[str, bytes] = {}
        self._lock = threading.Lock()
        self.real = {name: getattr(os, name) for name in ("pwrite", "fdatasync", "fsync", "ftruncate", "unlink")}

    def watch(self, case: GlobalsCase) -> None:
        """From now on."""
        for name in ("pwrite", "ftruncate", "unlink"):
            case.patch(os, name, self._watched(self.real[name]))
        for name in ("fdatasync", "fsync"):
            case.patch(os, name, self._flush)

    def _watched(self, function: Any) -> Any:
        def watched(*arguments: Any) -> Any:
            with self._lock:
                self._cut()
                return function(*arguments)

        return watched

    def _flush(self, descriptor: int) -> None:
        with self._lock:
            self._cut()
            path = Path(f"/proc/self/fd/{descriptor}").readlink()
            if path.parent == self.folder:
                self.flushed[path.name] = path.read_bytes()
            if path == self.folder:
                self.flushed = {name: data for name, data in self.flushed.items() if (path / name).exists()}

    def _cut(self) -> None:
        files = {path.name: path.read_bytes() for path in self.folder.iterdir()}
        names = files.keys() | self.flushed.keys()
        self.cuts.append(({name: (self.flushed.get(name, b""), files.get(name, b"")) for name in names}, self.told))


def left(cut: dict[str, tuple[bytes, bytes]], chance: random.Random, folder: Path) -> None:
    """Make what one cut leaves."""
    folder.mkdir()
    for name, (flushed, now) in cut.items():
        if flushed and not now and chance.random() < 0.5:
            continue
        length = max(len(flushed), len(now))
        pages = []
        for place in range(0, length, PAGE):
            page = (flushed if chance.random() < 0.5 or not now else now)[place : place + PAGE]
            pages.append(page.ljust(PAGE, b"\0"))
        (folder / name).write_bytes(b"".join(pages))


class EveryCutTests(GlobalsCase):
    """A power cut before each write, flush and removal, by the server, at its start and at its end."""

    async def test_what_was_told_is_there_as_a_whole(self) -> None:
        self.patch(journal, "_START", 4 * PAGE)
        self.patch(journal, "GROWTH", 4 * PAGE)
        chance = random.Random(20261127)
        folder = Path(self.mktemp()).absolute()
        made = self.make(folder)
        await made.close()
        disk = Disk(folder)
        disk.flushed = {path.name: path.read_bytes() for path in folder.iterdir()}
        disk.watch(self)
        number = 0
        for _ in range(3):
            globals_ = self.make(folder, interval=3600)
            for _ in range(4):
                for _ in range(3):
                    number += 1
                    await globals_.write(self._both(globals_, number))
                    disk.told = number
                globals_._commit()
                # While it settles, too.
                number += 1
                await globals_.write(self._both(globals_, number))
                disk.told = number
                await self.settled(globals_)
            await globals_.close()
        cuts, disk.cuts = disk.cuts, []
        self.assertGreater(len(cuts), 100)
        for name, function in disk.real.items():
            self.patch(os, name, function)
        for cut, told in cuts:
            found = Path(self.mktemp())
            left(cut, chance, found)
            again = self.make(found)
            values = [value_of(again, b"1"), value_of(again, b"2")]
            await again.close()
            self.assertEqual(values[0], values[1], "a message is there in part")
            self.assertGreaterEqual(int((values[0] or b"0").split()[0]), told)

    def _both(self, globals_: Globals, number: int) -> Any:
        def change(update: Any) -> None:
            for place in (b"1", b"2"):
                update.set(globals_.key(b"", b"X", [place]), b"%d %s" % (number, b"v" * 6000))
            # What moves pages about.
            update.kill(globals_.key(b"", b"Y", [b"%d" % (number % 7)]))
            update.set(globals_.key(b"", b"Y", [b"%d" % (number % 5)]), b"y" * 1500)

        return change


class PowerCutTests(GlobalsCase):
    """Each page of the file is as it was at the last flush or as it was written later, as the system chose."""

    async def test_every_acknowledged_update_is_there(self) -> None:
        chance = random.Random(20261127)
        folder, held = Path(self.mktemp()), threading.Event()
        globals_ = self.make(folder, interval=3600)
        model: dict[bytes, bytes | None] = {}
        settle = GlobalsFile.settle

        def settle_late(file: GlobalsFile) -> None:
            held.wait(60)
            settle(file)

        self.patch(GlobalsFile, "settle", settle_late)
        self.addCleanup(held.set)
        for _ in range(12):
            flushed = (folder / "data.mdb").read_bytes()
            held.clear()
            # Before the commit, while it settles, and both of one message that comes meanwhile.
            await self._update(globals_, chance, model)
            globals_._commit()
            await self._update(globals_, chance, model)
            self.assertTrue(globals_._is_settling)
            for _ in range(4):
                self._check(self._cut(folder, flushed, chance), model)
            held.set()
            await self.settled(globals_)
            self._check(self.crashed(folder), model)

    async def _update(self, globals_: Globals, chance: random.Random, model: dict[bytes, bytes | None]) -> None:
        """Some messages that set and kill, told."""
        told = []
        for _ in range(5):
            changes: dict[bytes, bytes | None] = {}
            for _ in range(20):
                # Values that fit into a page, and such as need some for themselves.
                value = None if chance.random() < 0.2 else chance.randbytes(chance.choice([5, 300, 9000]))
                changes[b"%d" % chance.randint(1, 60)] = value

            def change(update: Any, changes: dict[bytes, bytes | None] = changes) -> None:
                for name, value in changes.items():
                    key = globals_.key(b"", b"X", [name])
                    update.kill(key) if value is None else update.set(key, value)

            model.update(changes)
            told.append(globals_.write(change))
        await gatherResults(told)

    def _cut(self, folder: Path, flushed: bytes, chance: random.Random) -> Globals:
        copy = Path(self.mktemp())
        shutil.copytree(folder, copy)
        now = (copy / "data.mdb").read_bytes()
        pages = []
        for place in range(0, len(now), PAGE):
            pages.append((flushed if chance.random() < 0.5 else now)[place : place + PAGE].ljust(PAGE, b"\0"))
        self.assertNotEqual(b"".join(pages), now)
        (copy / "data.mdb").write_bytes(b"".join(pages))
        return self.make(copy)

    def _check(self, globals_: Globals, model: dict[bytes, bytes | None]) -> None:
        self.assertEqual({name: value_of(globals_, name) for name in model}, model)

    async def test_an_interval_leaves_what_had_settled(self) -> None:
        chance, folder = random.Random(1), Path(self.mktemp())
        globals_ = self.make(folder, durability="interval", interval=3600)
        for number in range(200):
            await globals_.write(setter(globals_, b"first" * 100, b"%d" % number))
        globals_._commit()
        await self.settled(globals_)
        flushed = (folder / "data.mdb").read_bytes()
        with mock.patch.object(GlobalsFile, "settle", lambda file: None):
            for number in range(200):
                await globals_.write(setter(globals_, b"later" * 100, b"%d" % number))
            globals_._commit()
            await self.settled(globals_)
            cut = self._cut(folder, flushed, chance)
        self.assertEqual({value_of(cut, b"%d" % number) for number in range(200)}, {b"first" * 100})
