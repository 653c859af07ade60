"""What a server says, as names."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pfserver.factory.names import LONGEST_NAME, safe_name, safe_suffix


class NameTests(SynchronousTestCase):
    @given(st.one_of(st.text(), st.text(alphabet="-./ a\u6587\U0001f333\ud800", min_size=60)))
    def test_any_text(self, text: str) -> None:
        name = safe_name(text)
        self.assertNotIn("/", name)
        self.assertNotIn(name[:1], (".", "-", " "))
        self.assertTrue(name.isprintable(), name)
        self.assertLessEqual(len(name.encode("utf-8")), LONGEST_NAME)
        self.assertEqual(safe_name(name), name)

    def test_what_is_harmless_stays(self) -> None:
        for text in ("LibreOffice Writer", "7.4", "4975c9c6-79a0-43a1-8134-0ba5c0a80105", "Br\u00fccke (2)", "\u6587"):
            self.assertEqual(safe_name(text), text)

    def test_what_could_harm_goes(self) -> None:
        for text, name in (("--help", "help"), ("../../etc/x", "_.._etc_x"), ("a\0b", "a_b"), ("-", ""), ("..", "")):
            self.assertEqual(safe_name(text), name)

    def test_a_long_name_ends_between_two_characters(self) -> None:
        self.assertEqual(safe_name("\u6587" * 90), "\u6587" * (LONGEST_NAME // 3))

    def test_suffixes(self) -> None:
        for text, suffix in (("odt", "odt"), ("", "bin"), ("../x", "bin"), ("\u6587", "bin"), ("x" * 300, "bin")):
            self.assertEqual(safe_suffix(text), suffix)
