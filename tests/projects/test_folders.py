"""Projects on disk and in zips: found, or refused with what is wrong, and nothing is written outside."""

from __future__ import annotations

import io
import stat
import zipfile
from pathlib import Path
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pfserver.errors import BadProject, NoSuchProject, OutsideRoot, PFServerError
from pfserver.projects import folders
from pfserver.projects.folders import ProjectFolders

PROJECT = b'[jobs.A]\ntemplate = "a.typ"\n'


class FolderCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.base = Path(self.mktemp())
        self.root = self.base / "projects"
        self.root.mkdir(parents=True)
        self.cache = self.base / "cache"
        self.folders = ProjectFolders(self.root, self.cache)

    def zip(self, entries: dict[str, bytes], name: str = "a.pf") -> Path:
        with zipfile.ZipFile(self.root / name, "w", zipfile.ZIP_DEFLATED) as archive:
            for entry, data in entries.items():
                archive.writestr(entry, data)
        return self.root / name

    def assertRefused(self, part: str, name: str = "a.pf", error: type[PFServerError] = BadProject) -> None:
        raised = self.assertRaises(error, self.folders.find, name)
        self.assertIn(part, str(raised))
        self.assertNotIn(str(self.root.resolve()), str(raised))
        # Nothing that was unpacked of it may stay.
        left = [path for path in self.cache.rglob("*") if path.is_file()]
        self.assertEqual(left, [])
        self.assertEqual([path.name for path in self.base.iterdir() if path.name not in ("projects", "cache")], [])


class PlainTests(FolderCase):
    def test_a_file_beside_its_resources(self) -> None:
        (self.root / "Letters").mkdir()
        (self.root / "Letters" / "a.pf").write_bytes(PROJECT)
        place = self.folders.find("Letters\\a.pf")
        self.assertEqual(place.file, self.root.resolve() / "Letters" / "a.pf")
        self.assertEqual(place.folder, self.root.resolve() / "Letters")

    def test_a_folder_of_its_own(self) -> None:
        for name in ("a.pf", "b.pf"):
            (self.root / name).write_bytes(PROJECT)
        (self.root / "a").mkdir()
        self.assertEqual(self.folders.find("a.pf").folder, self.root.resolve() / "a")
        self.assertEqual(self.folders.find("b.pf").folder, self.root.resolve())
        # What others have in the root is nothing to a project with a folder of its own.
        (self.root / "elsewhere").symlink_to("/etc")
        self.folders.find("a.pf")
        (self.root / "a" / "elsewhere").symlink_to("/etc")
        self.assertRefused("a link that leads out")

    def test_what_is_not_there(self) -> None:
        (self.root / "folder").mkdir()
        for name in ("b.pf", "folder", "", ".", "folder/..", "x" * 5000, "a.pf/b.pf"):
            self.assertRefused("no project", name, NoSuchProject)

    def test_outside(self) -> None:
        (self.base / "projects-b").mkdir()
        self.assertRaises(OutsideRoot, self.folders.find, "../projects-b/a.pf")

    def test_a_link_out_of_the_project(self) -> None:
        (self.root / "a.pf").write_bytes(PROJECT)
        (self.root / "image.png").symlink_to("/etc/passwd")
        self.assertRefused("a link that leads out")

    def test_data_files(self) -> None:
        (self.root / "a.csv").write_bytes(b"x\n")
        self.assertEqual(self.folders.data_file("a.csv"), self.root.resolve() / "a.csv")
        self.assertRaises(NoSuchProject, self.folders.data_file, "b.csv")
        self.assertRaises(OutsideRoot, self.folders.data_file, "..\\b.csv")


class ZipTests(FolderCase):
    def test_unpacked_once_and_again_when_changed(self) -> None:
        self.zip({"a.pf": PROJECT, "images/a.txt": b"one"})
        place = self.folders.find("a.pf")
        self.assertEqual((place.folder / "images" / "a.txt").read_bytes(), b"one")
        self.assertEqual(self.folders.find("a.pf"), place)
        self.zip({"a.pf": PROJECT, "images/a.txt": b"another"})
        changed = self.folders.find("a.pf")
        self.assertEqual((changed.folder / "images" / "a.txt").read_bytes(), b"another")

    def test_what_nobody_asked_for_since_long_is_removed(self) -> None:
        now, used = [0.0], list[Path]()
        self.folders = ProjectFolders(self.root, self.cache, in_use=lambda: used, seconds=lambda: now[0])
        self.patch(folders, "KEPT", 2)

        def unpacked(name: str) -> Path:
            self.zip({"x/a.pf": PROJECT, "x/n": name.encode()}, name)
            return self.folders.find(name).folder

        places = [unpacked(f"{number}.pf") for number in range(4)]
        # All of them were found just now: their jobs may not have come to using them.
        self.assertEqual([place.is_dir() for place in places], [True] * 4)
        used.append(self.cache / places[1].relative_to(self.cache.resolve()) / "n")
        now[0] += folders.FRESH + 1
        self.folders.find("0.pf")
        places.append(unpacked("4.pf"))
        self.assertEqual([place.is_dir() for place in places], [True, True, False, False, True])
        used.clear()
        now[0] += folders.FRESH + 1
        places += [unpacked(f"{number}.pf") for number in (5, 6)]
        self.assertEqual([place.is_dir() for place in places], [False, False, False, False, False, True, True])
        self.assertEqual(len(list(self.cache.iterdir())), 2)
        # Whoever comes back gets it again.
        self.assertTrue(self.folders.find("2.pf").file.is_file())

    def test_a_project_in_a_folder_of_its_zip(self) -> None:
        self.zip({"Letters/a.pf": PROJECT, "Letters/a.typ": b""})
        self.assertEqual(self.folders.find("a.pf").folder.name, "Letters")

    def test_no_project_or_two(self) -> None:
        self.zip({"a.txt": b""})
        self.assertRaises(BadProject, self.folders.find, "a.pf")
        self.zip({"a.pf": PROJECT, "b.pf": PROJECT})
        self.assertRaises(BadProject, self.folders.find, "a.pf")

    def test_names_that_lead_out(self) -> None:
        for name in ("../b.txt", "/tmp/pfserver-b.txt", "x/../../b.txt", "..\\b.txt", "C:\\b.txt", "a\\..\\..\\b.txt"):
            self.zip({"a.pf": PROJECT, name: b"out"})
            self.assertRefused("leads out of it")

    def test_a_symbolic_link(self) -> None:
        with zipfile.ZipFile(self.root / "a.pf", "w") as archive:
            archive.writestr("a.pf", PROJECT)
            link = zipfile.ZipInfo("images")
            link.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(link, "/etc")
        self.assertRefused("leads out of it")

    def test_a_bomb_that_tells(self) -> None:
        self.zip({"a.pf": PROJECT, "zeros": bytes(20 << 20)})
        self.assertRefused("more than it may")

    def test_a_bomb_that_lies_about_its_size(self) -> None:
        path = self.zip({"a.pf": PROJECT, "zeros": bytes(2 << 20)})
        data = path.read_bytes()
        # In both headers of the entry: it claims to hold ten bytes.
        path.write_bytes(data.replace((2 << 20).to_bytes(4, "little"), (10).to_bytes(4, "little")))
        self.assertRefused("")

    def test_too_much_at_last(self) -> None:
        self.zip({"a.pf": PROJECT, "one": b"1" * 600, "two": b"2" * 600})
        with patch.object(folders, "UNPACKED_BYTES", 1000):
            self.assertRefused("more than it may")

    def test_too_many_files(self) -> None:
        self.zip({"a.pf": PROJECT, **{str(n): b"" for n in range(10)}})
        with patch.object(folders, "ENTRIES", 10):
            self.assertRefused("more than 10 files")

    def test_damaged(self) -> None:
        path = self.zip({"a.pf": PROJECT, "b": b"some text that is long enough to be hurt"})
        data = bytearray(path.read_bytes())
        data[60:70] = b"0123456789"
        path.write_bytes(data)
        self.assertRefused("damaged")

    def test_a_file_where_a_folder_is_needed(self) -> None:
        self.zip({"a.pf": PROJECT, "x": b"", "x/y": b""})
        self.assertRefused("")

    def test_a_file_without_a_name(self) -> None:
        self.zip({"a.pf": PROJECT, "q": b""})
        data = bytearray((self.root / "a.pf").read_bytes())
        for mark, at in ((b"PK\x03\x04", 26), (b"PK\x01\x02", 28)):
            # The one byte of the name becomes one of an extra field.
            header = data.rindex(mark)
            data[header + at : header + at + 4] = b"\0\0\1\0"
        (self.root / "a.pf").write_bytes(data)
        self.assertRefused("without a name")

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 400), st.binary(min_size=1, max_size=4)), max_size=4))
    def test_any_damage(self, changes: list[tuple[int, bytes]]) -> None:
        sink = io.BytesIO()
        with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.pf", PROJECT)
            archive.writestr("folder/b.txt", b"text " * 40)
        data = bytearray(sink.getvalue())
        for at, new in changes:
            data[at : at + len(new)] = new
        (self.root / "any.pf").write_bytes(data)
        try:
            place = self.folders.find("any.pf")
        except PFServerError:
            return
        self.assertTrue(place.file.is_file())
