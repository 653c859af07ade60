"""What the tools wrote into the sample projects is what they write today."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.process import ROOT

PROJECTS = ROOT / "examples" / "projects"


class ToolTests(SynchronousTestCase):
    def run_tool(self, name: str, target: Path) -> None:
        subprocess.run([sys.executable, str(ROOT / "tools" / name), str(target)], check=True, timeout=60)

    def test_pictures(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        self.run_tool("make_pictures.py", folder)
        made = {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}
        kept = {path.name: path.read_text(encoding="utf-8") for path in (PROJECTS / "Postcard" / "pictures").iterdir()}
        self.assertEqual(made, kept)

    def test_products(self) -> None:
        path = Path(self.mktemp())
        self.run_tool("make_products.py", path)
        made, kept = rows(path), rows(PROJECTS / "Price List" / "products.sqlite")
        self.assertEqual((len(kept), made), (5000, kept))


def rows(path: Path) -> list[Any]:
    """All products of a database."""
    with closing(sqlite3.connect(f"file:{path.absolute()}?mode=ro", uri=True)) as connection:
        return list(connection.execute("SELECT * FROM products ORDER BY number"))
