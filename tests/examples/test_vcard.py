"""The example's address books: any text gives records or a named error."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pfserver.errors import JobFailed
from tests.support.process import ROOT


def load() -> ModuleType:
    """The module, which is not installed here."""
    path = ROOT / "examples" / "pfserver-mailing" / "pfserver_mailing" / "vcard.py"
    spec = importlib.util.spec_from_file_location("example_vcard", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


vcard = load()
LINES = st.sampled_from(
    ["BEGIN:VCARD", "END:VCARD", "FN:A", "ADR;X=1:;;a\\;b;c", "item1.EMAIL:x@y", " folded", "", "x"]
)


class VCardTests(SynchronousTestCase):
    def test_a_card(self) -> None:
        path = ROOT / "examples" / "pfserver-mailing" / "projects" / "customers.vcf"
        with vcard.VCardSource().open(str(path), path.parent, {}) as records:
            first, second = records
        self.assertEqual(
            (first["name"], first["city"], first["country"]), ("Adaeze Okafor", "Bristol", "United Kingdom")
        )
        self.assertEqual(second["organization"], "Ammann & Töchter, Baumschule")
        self.assertEqual(second["note"], "Asked for a catalogue in the autumn.")
        self.assertEqual(second["email"], "regula@ammann.example")
        self.assertEqual(vcard.VCardSource().count(str(path), path.parent, {}), 2)

    @given(st.lists(LINES | st.text(max_size=20), max_size=30))
    def test_any_text(self, lines: list[str]) -> None:
        try:
            records = list(vcard.records(lines, "book.vcf"))
        except JobFailed as error:
            self.assertTrue(error.text.startswith("book.vcf, line "), error.text)
        else:
            self.assertTrue(all(set(record) == set(vcard.COLUMNS) for record in records))

    def test_not_text(self) -> None:
        path = Path(self.mktemp())
        path.write_bytes(b"BEGIN:VCARD\nFN:\xff\nEND:VCARD\n")
        with self.assertRaises(JobFailed), vcard.VCardSource().open(str(path), path.parent, {}) as records:
            list(records)
