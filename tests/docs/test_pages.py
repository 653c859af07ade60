"""Every command that the documentation shows does what the documentation says."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from tests.docs.pages import UNTESTED_SHELLS, Command, Page, WriteFile, blocks, pages, pattern, read
from tests.docs.reader import Reader, WrongPage
from tests.support.process import ROOT


class PageTests(SynchronousTestCase):
    """One test a page, added below."""

    def follow(self, page: Page) -> None:
        missing = [program for program in page.needs if shutil.which(program) is None]
        if missing:
            text = f"{page.name} needs {', '.join(missing)}: tools/system-packages test"
            if os.environ.get("CI"):
                self.fail(text)
            raise SkipTest(text)
        Reader(page, Path(self.mktemp()) / "page").follow()


def _test_of(page: Page) -> Callable[[PageTests], None]:
    return lambda case: case.follow(page)


for _path in pages():
    if (_path.parent / "pyproject.toml").exists() and _path.parent != ROOT:
        continue  # A package of its own, which is installed by a test in tests/examples.
    _page = read(_path)
    if any(isinstance(step, Command) for step in _page.steps):
        _name = "test_" + "".join(c if c.isalnum() else "_" for c in _page.name.removesuffix(".md")).lower()
        setattr(PageTests, _name, _test_of(_page))


class HonestyTests(SynchronousTestCase):
    """Commands are in console blocks, where they are run."""

    def test_no_command_hides(self) -> None:
        for path in pages():
            for block in blocks(path.read_text(encoding="utf-8")):
                place = f"{path.relative_to(ROOT)}, line {block.line}"
                self.assertNotIn(block.language, UNTESTED_SHELLS, f"{place}: use a console block")
                if block.language != "console":
                    self.assertFalse(any(line.startswith("$ ") for line in block.text.splitlines()), place)

    def test_links_lead_somewhere(self) -> None:
        for path in pages():
            for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text(encoding="utf-8")):
                if "://" not in target:
                    self.assertTrue((path.parent / target).exists(), f"{path.relative_to(ROOT)}: {target}")


class ReaderTests(SynchronousTestCase):
    """The reader itself notices what is wrong."""

    def follow(self, text: str) -> Path:
        folder = Path(self.mktemp())
        folder.mkdir()
        path = folder / "page.md"
        path.write_text(text, encoding="utf-8")
        page = read(path.absolute())
        work = folder / "work"
        Reader(Page(ROOT / "docs" / "page.md", page.steps), work).follow()
        return work

    def test_files_and_commands(self) -> None:
        work = self.follow(
            "`a/b.txt`:\n\n```text\nport 8008\n```\n\n"
            "```console\n$ cat a/b.txt\nport …\n$ cat <<END\n> x\n> END\nx\n```\n"
        )
        self.assertNotEqual((work / "a" / "b.txt").read_text(), "port 8008\n")

    def test_exit_codes(self) -> None:
        self.follow("```console\n$ (exit 3)\n$ echo $?\n3\n```\n")
        error = self.assertRaises(WrongPage, self.follow, "```console\n$ (exit 3)\n```\n")
        self.assertIn("exit code 3", str(error))

    def test_other_output(self) -> None:
        for shown in ("b", "a\nb", "a\n…\nb"):
            self.assertRaises(WrongPage, self.follow, f"```console\n$ echo a\n{shown}\n```\n")

    def test_what_keeps_running_is_stopped(self) -> None:
        text = "```console\n$ twistd --nodaemon pfserver\n…\n… pageflex listening on 127.0.0.1:8008\n…\n^C\n```\n"
        work = self.follow(text)
        self.assertFalse((work / "twistd.pid").exists())
        error = self.assertRaises(WrongPage, self.follow, text.replace("pfserver\n", "pfserver --store nowhere\n"))
        self.assertIn("not what the page shows", str(error))

    def test_pattern(self) -> None:
        self.assertTrue(pattern(["a …", "…", "z"]).fullmatch("a b\nc\nd\nz\n"))
        self.assertTrue(pattern(["…", "z"]).fullmatch("z\n"))
        self.assertFalse(pattern(["a"]).fullmatch("ab\n"))

    def test_reading(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        path = folder / "page.md"
        path.write_text("`x`:\n````toml\n```\n````\n```console\n$ a\n> b\nc\n^C\n```\n")
        self.assertEqual(list(read(path).steps), [WriteFile(3, "x", "```\n"), Command(6, "a\nb", ["c"], True)])
        for bad in ("```console\nno prompt\n```\n", "```text\n"):
            path.write_text(bad)
            self.assertRaises(ValueError, read, path)
