"""Names that file systems take."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pfserver.documents.names import fitting_name


class FittingTests(SynchronousTestCase):
    def test_what_fits_stays(self) -> None:
        self.assertEqual(fitting_name("letter", ".pdf"), "letter.pdf")
        self.assertEqual(fitting_name("a" * 251, ".pdf"), "a" * 251 + ".pdf")
        self.assertEqual(fitting_name("\udcff", ".pdf"), "\udcff.pdf")

    def test_what_does_not_is_cut_between_characters(self) -> None:
        self.assertEqual(fitting_name("a" * 252, ".pdf"), "a" * 251 + ".pdf")
        self.assertEqual(fitting_name("é" * 200, ".pdf"), "é" * 125 + ".pdf")
        self.assertEqual(fitting_name("€€", "-1.png", 10), "€-1.png")
        self.assertEqual(fitting_name("\udcff" * 300, ".pdf").count("\udcff"), 0)
