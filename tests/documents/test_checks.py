"""Documents that are what they say, and all that are not."""

from __future__ import annotations

import io
import os
import random
import zipfile
from pathlib import Path

import pikepdf
from twisted.trial.unittest import SynchronousTestCase

from pfserver.documents.checks import check_document, check_result, format_of, odf_suffix, page_count
from pfserver.documents.request import DOCTYPES
from pfserver.errors import BadProject
from tests.backends.office import samples

#: More of them for a longer look: ``FUZZ=100000``.
MUTATIONS = int(os.environ.get("FUZZ", "3000"))


class CheckTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def write(self, name: str, data: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(data)
        return path

    def refused(self, path: Path, doctype: str, words: str, *, password: bool = False) -> None:
        for thorough in (False, True):
            try:
                check_document(path, doctype, password=password, thorough=thorough)
            except BadProject as error:
                self.assertIn(words, str(error))
                self.assertNotIn(str(self.folder), str(error))
                return
        self.fail(f"{path.name} was taken for {doctype}")

    def test_good_ones(self) -> None:
        samples.odt(self.folder / "a.odt")
        samples.ods(self.folder / "a.ods")
        samples.odp(self.folder / "a.odp")
        samples.odg(self.folder / "a.odg")
        samples.office_open(self.folder)
        samples.plain(self.folder)
        for path in self.folder.iterdir():
            doctype = path.suffix[1:]
            self.assertEqual(check_document(path, doctype, thorough=True), doctype)
        self.assertEqual(check_document(self.folder / "a.rtf", "doc"), "rtf")
        utf16 = self.write("u.txt", "Grüße".encode("utf-16"))
        self.assertEqual(check_document(utf16, "txt"), "txt")

    def test_each_as_each_other(self) -> None:
        """A renamed document is refused; only what is text may pass for another kind of text."""
        samples.odt(self.folder / "a.odt")
        samples.ods(self.folder / "a.ods")
        samples.office_open(self.folder)
        for path in list(self.folder.iterdir()):
            for doctype in DOCTYPES - {path.suffix[1:]}:
                self.assertRaises(BadProject, check_document, path, doctype, thorough=True)

    def test_damage(self) -> None:
        good = samples.odt(self.folder / "a.odt", pages=3).read_bytes()
        self.refused(self.write("cut.odt", good[:-30]), "odt", "damaged")
        self.refused(self.write("empty.odt", b""), "odt", "empty")
        self.refused(self.folder / "none.odt", "odt", "cannot be read")
        self.refused(self.folder, "odt", "cannot be read")
        # A bit in the middle of a compressed part: only who unpacks it sees it.
        with zipfile.ZipFile(io.BytesIO(good)) as archive:
            info = archive.getinfo("content.xml")
        position = info.header_offset + 30 + len("content.xml") + info.compress_size // 2
        flipped = bytearray(good)
        flipped[position] ^= 0x10
        path = self.write("flipped.odt", bytes(flipped))
        self.assertEqual(check_document(path, "odt"), "odt")
        self.refused(path, "odt", "damaged")

    def test_zips_with_odd_parts(self) -> None:
        def make(name: str, parts: dict[str, bytes]) -> Path:
            path = self.folder / name
            with zipfile.ZipFile(path, "w") as archive:
                for part, content in parts.items():
                    archive.writestr(part, content)
            return path

        kind = b"application/vnd.oasis.opendocument.text"
        manifest = {"META-INF/manifest.xml": b"<manifest/>"}
        self.refused(make("a.odt", {"x": b""}), "odt", "no part mimetype")
        self.refused(make("b.odt", {"mimetype": kind}), "odt", "META-INF/manifest.xml")
        self.refused(make("c.odt", {"mimetype": kind, **manifest}), "odt", "content.xml")
        self.refused(make("d.odt", {"mimetype": b"\xff\xfe", **manifest}), "odt", "not odt inside")
        locked = {"mimetype": kind, "META-INF/manifest.xml": b"<encryption-data/>", "content.xml": b"?"}
        self.refused(make("e.odt", locked), "odt", "encrypted")
        self.assertEqual(check_document(self.folder / "e.odt", "odt", password=True, thorough=True), "odt")
        self.refused(make("many.odt", {str(n): b"" for n in range(20_001)}), "odt", "parts")

    def test_parts_that_cannot_be_unpacked(self) -> None:
        kind = b"application/vnd.oasis.opendocument.text" * 20
        for method in (zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
            path = self.folder / f"{method}.odt"
            with zipfile.ZipFile(path, "w", method) as archive:
                archive.writestr("mimetype", kind)
            data = bytearray(path.read_bytes())
            if method == zipfile.ZIP_STORED:
                # Said to be encrypted.
                data[6] |= 1
                data[data.index(b"PK\x01\x02") + 8] |= 1
            else:
                for position in range(40, 70):
                    data[position] ^= 0x5A
            path.write_bytes(data)
            self.assertEqual(odf_suffix(path), "")
            self.refused(path, "odt", "encrypted" if method == zipfile.ZIP_STORED else "damaged")

    def test_bombs(self) -> None:
        self.refused(samples.bomb(self.folder / "a.odt", 1025 * 1024 * 1024), "odt", "unpacks to more than")
        # One that says it is small.
        data = bytearray(samples.bomb(self.folder / "b.odt", 3 * 1024 * 1024).read_bytes())
        size = (3 * 1024 * 1024).to_bytes(4, "little")
        while (found := data.find(size)) >= 0:
            data[found : found + 4] = (100).to_bytes(4, "little")
        self.refused(self.write("liar.odt", bytes(data)), "odt", "damaged")

    def test_results(self) -> None:
        pdf = pikepdf.new()
        for _ in range(3):
            pdf.add_blank_page()
        pdf.save(self.folder / "a.pdf")
        self.assertEqual(page_count(self.folder / "a.pdf"), 3)
        odt = samples.odt(self.folder / "a.odt")
        ods = samples.ods(self.folder / "a.ods")
        png = self.write("a.png", b"\x89PNG\r\n\x1a\n")
        broken = self.write("b.pdf", b"%PDF-1.4\nnothing")
        nothing = self.write("c.pdf", b"")
        locked = self.folder / "locked.pdf"
        pdf.save(locked, encryption=pikepdf.Encryption(user="secret", owner="secret"))
        tree = b"%PDF-1.4\n1 0 obj<</Pages 2 0 R/Type/Catalog>>\n2 0 obj<</Kids[R 5 0 R]>>\n5 0 obj<</Type/Page>>e>"
        no_tree = self.write("tree.pdf", tree)
        self.assertEqual([page_count(locked), page_count(no_tree)], [0, 0])
        formats = {path: format_of(path) for path in (self.folder / "a.pdf", odt, png, broken, nothing)}
        self.assertEqual(list(formats.values()), ["pdf", "odf", "png", "pdf", ""])
        self.assertEqual([page_count(path) for path in (png, broken, odt)], [1, 0, 0])
        self.assertEqual([odf_suffix(path) for path in (odt, ods, broken)], [".odt", ".ods", ""])
        self.assertRaises(BadProject, check_result, nothing, "pdf")

    def test_any_damage_gives_an_answer_or_a_refusal(self) -> None:
        seed = random.SystemRandom().getrandbits(32)
        rng = random.Random(seed)
        samples.office_open(self.folder)
        originals = [
            samples.odt(self.folder / "a.odt"),
            *(self.folder / f"a.{one}" for one in ("docx", "xlsx", "pptx")),
        ]
        contents = [path.read_bytes() for path in originals] + [
            bytes.fromhex("d0cf11e0a1b11ae1") + bytes(2000),
            b"{\\rtf1",
        ]
        taken = 0
        path = self.folder / "damaged"
        for number in range(MUTATIONS):
            data = bytearray(rng.choice(contents))
            for _ in range(rng.randint(0, 3)):
                # Most of what matters in a zip stands at its end.
                position = rng.choice((rng.randint(0, len(data)), max(0, len(data) - rng.randint(1, 300))))
                data[position : position + rng.randint(0, 4)] = rng.randbytes(rng.randint(0, 4))
            path.write_bytes(data)
            try:
                check_document(path, rng.choice(sorted(DOCTYPES)), password=rng.random() < 0.5, thorough=True)
                taken += 1
            except BadProject as error:
                self.assertLess(len(str(error)), 200)
            except Exception as error:
                raise AssertionError(f"seed {seed}, document {number}: {bytes(data)!r}") from error
        self.assertTrue(MUTATIONS * 0.01 < taken < MUTATIONS * 0.9, f"seed {seed}: {taken}")
