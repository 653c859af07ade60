"""Names that peers send: whatever they are, the path stays inside the root or the name is refused."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pfserver.errors import NoSuchProject, OutsideRoot
from pfserver.projects.folders import ProjectFolders
from pfserver.projects.paths import has_links_out, inside

DRIVES = {"P:": "printing", "\\\\files\\jobs": "jobs"}


class InsideTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = Path(self.mktemp())
        (self.root / "printing").mkdir(parents=True)
        self.real = self.root.resolve()

    def test_names_inside(self) -> None:
        for name, path in (
            ("a.pf", "a.pf"),
            ("folder/a.pf", "folder/a.pf"),
            ("folder\\sub\\a.pf", "folder/sub/a.pf"),
            ("folder/../a.pf", "a.pf"),
            ("P:\\card\\a.pf", "printing/card/a.pf"),
            ("p:/a.pf", "printing/a.pf"),
            ("\\\\FILES\\jobs\\a.pf", "jobs/a.pf"),
            ("Größe ß.pf", "Größe ß.pf"),
        ):
            self.assertEqual(inside(self.root, name, DRIVES), self.real / path, name)

    def test_names_outside(self) -> None:
        for name in (
            "../a.pf",
            "..\\..\\etc\\passwd",
            "folder/../../a.pf",
            "/etc/passwd",
            "\\etc\\passwd",
            "C:\\a.pf",
            "c:/a.pf",
            "P:\\..\\..\\a.pf",
            "\\\\other\\share\\a.pf",
            "\\\\?\\C:\\a.pf",
            "a\0.pf",
            "broken \ud800.pf",
        ):
            with self.assertRaises(OutsideRoot, msg=name):
                inside(self.root, name, DRIVES)

    def test_a_link_out(self) -> None:
        (self.root / "out").symlink_to("/etc")
        with self.assertRaises(OutsideRoot):
            inside(self.root, "out/passwd")
        (self.root / "loop").symlink_to("loop")
        folders = ProjectFolders(self.root, self.root / "cache")
        for name in ("loop", "loop/a.pf"):
            with self.assertRaises((OutsideRoot, NoSuchProject)):
                folders.find(name)

    @settings(max_examples=300, deadline=None)
    @given(st.text(alphabet=st.sampled_from("ab./\\:CP~%\0 ?"), max_size=30) | st.text(max_size=30))
    def test_any_name(self, name: str) -> None:
        try:
            path = inside(self.root, name, DRIVES)
        except OutsideRoot as error:
            self.assertNotIn(str(self.real), str(error))
        else:
            self.assertTrue(path.is_relative_to(self.real))


class LinkTests(SynchronousTestCase):
    def test_links_in_a_folder(self) -> None:
        folder = Path(self.mktemp())
        (folder / "images").mkdir(parents=True)
        (folder / "images" / "a.png").write_bytes(b"")
        (folder / "same.png").symlink_to("images/a.png")
        self.assertFalse(has_links_out(folder))
        (folder / "images" / "secret").symlink_to("/etc/passwd")
        self.assertTrue(has_links_out(folder))

    def test_too_many_files_to_look_at(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        for number in range(5):
            (folder / str(number)).write_bytes(b"")
        self.assertTrue(has_links_out(folder, limit=4))
        self.assertFalse(has_links_out(folder, limit=5))
