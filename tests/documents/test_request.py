"""What is asked of a conversion: every variable, good and bad."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pfserver.documents import request as names
from pfserver.documents.request import Conversion, conversion_of, doctype_of
from pfserver.errors import BadVariable, NotSupported
from pfserver.model import JobRequest
from pfserver.wire.pageflex.commands import PASSED_ON


def conversion(project: str = "a.odt", **variables: str) -> Conversion:
    return conversion_of(JobRequest(project=project, variables={f"_sys_{name}": v for name, v in variables.items()}))


class RequestTests(SynchronousTestCase):
    def test_nothing_said(self) -> None:
        self.assertEqual(conversion(), Conversion(doctype="odt"))
        self.assertEqual(conversion(Pages=" ", OutputFormat="", Resolution=" "), Conversion(doctype="odt"))

    def test_everything_said(self) -> None:
        asked = conversion(
            "Folder\\A.DOCX",
            OutputFormat=" PNG ",
            Pages="2 - 4",
            PdfStandard="A-2B",
            Resolution="300",
            Application=" Word ",
            Version="2003 SP2",
            OwnFactories="True",
        )
        expected = Conversion(
            doctype="docx",
            format="png",
            first=2,
            last=4,
            pdf_standard="a-2b",
            resolution=300,
            application="Word",
            version="2003 SP2",
            own_factories=True,
        )
        self.assertEqual(asked, expected)

    def test_pages(self) -> None:
        for text, pages, export in (
            ("3", (3, 3), "3-3"),
            ("2-", (2, 0), "2-"),
            ("1-", (1, 0), ""),
            ("1-1", (1, 1), "1-1"),
        ):
            asked = conversion(Pages=text)
            self.assertEqual(((asked.first, asked.last), asked.pages), (pages, export))

    def test_bad_values(self) -> None:
        for name, value in (
            ("OutputFormat", "exe"),
            ("Pages", "0"),
            ("Pages", "4-2"),
            ("Pages", "-3"),
            ("Pages", "1,2"),
            ("Pages", "9" * 100),
            ("PdfStandard", "a-9"),
            ("Resolution", "9"),
            ("Resolution", "601"),
            ("Resolution", "1e2"),
            ("Resolution", "\N{SUPERSCRIPT TWO}0"),
            ("Resolution", "9" * 5000),
            ("OwnFactories", "yes"),
        ):
            error = self.assertRaises(BadVariable, conversion, **{name: value})
            self.assertIn(f"_sys_{name}", str(error))
            self.assertLess(len(str(error)), 200)

    def test_types(self) -> None:
        for name, doctype in (
            ("a.HTM", "html"),
            ("x/b.c.odp", "odp"),
            ("a.pf", ""),
            ("odt", ""),
            (".odt", ""),
            ("", ""),
        ):
            self.assertEqual(doctype_of(name), doctype)
        self.assertRaises(NotSupported, conversion, "a.exe")

    def test_a_packet_may_say_what_a_submitter_may_say(self) -> None:
        self.assertEqual(names.VARIABLES - PASSED_ON, {names.UPLOAD, names.SECRET})

    @given(st.dictionaries(st.sampled_from(sorted(names.VARIABLES)), st.text(max_size=12)), st.text(max_size=20))
    def test_anything_gives_a_conversion_or_an_error(self, variables: dict[str, str], project: str) -> None:
        try:
            conversion_of(JobRequest(project=project + ".odt", variables=variables))
        except (BadVariable, NotSupported):
            return
