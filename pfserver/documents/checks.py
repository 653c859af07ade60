"""Whether a file is the document that its name says. LibreOffice makes a PDF of random bytes named ``.odt``; we do not.

All functions block on the disk.
"""

from __future__ import annotations

import errno
import lzma
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

import pikepdf

from pfserver.errors import BadProject

MIB = 1024 * 1024

#: Bytes of all that a zipped document unpacks to. Far above what LibreOffice opens in a minute.
UNPACKED_LIMIT = 1024 * MIB

#: Entries of a zipped document; a presentation of 1,000 slides has about 5,000.
ENTRIES_LIMIT = 20_000

#: The entry ``mimetype`` of an OpenDocument file.
ODF_TYPES: Mapping[str, str] = {
    "odt": "application/vnd.oasis.opendocument.text",
    "ods": "application/vnd.oasis.opendocument.spreadsheet",
    "odp": "application/vnd.oasis.opendocument.presentation",
    "odg": "application/vnd.oasis.opendocument.graphics",
}

#: The main part of an Office Open XML file.
_OOXML_PARTS: Mapping[str, str] = {
    "docx": "word/document.xml",
    "xlsx": "xl/workbook.xml",
    "pptx": "ppt/presentation.xml",
}

#: A stream that a binary Office file has.
_OLE_STREAMS: Mapping[str, tuple[str, ...]] = {
    "doc": ("WordDocument",),
    "xls": ("Workbook", "Book"),
    "ppt": ("PowerPoint Document",),
}

#: What results are, by suffix.
MEDIA_TYPES: Mapping[str, str] = {
    ".pdf": "application/pdf",
    ".png": "image/png",
    **{f".{doctype}": media_type for doctype, media_type in ODF_TYPES.items()},
}

_OLE_MAGIC = bytes.fromhex("d0cf11e0a1b11ae1")
_ENCRYPTED_STREAM = "EncryptedPackage"

#: What ``zipfile`` and its decompressors raise of a damaged archive: bzip2 an ``OSError``, too (see ``_is_damage``).
_DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, RuntimeError, EOFError, ValueError)

_MAGIC: Mapping[str, bytes] = {"pdf": b"%PDF-", "png": b"\x89PNG\r\n\x1a\n", "odf": b"PK\x03\x04"}


def check_document(path: Path, doctype: str, *, password: bool = False, thorough: bool = False) -> str:
    """Check that ``path`` holds a document of this type.

    :param password: whether a password was given: an encrypted document is refused without one.
    :param thorough: unpack everything: finds damage, and zip bombs that lie about their size.
    :return: the type to load it as: a ``.doc`` that is RTF inside is ``rtf``.
    :raise BadProject: what is wrong with it.
    """
    try:
        with path.open("rb") as file:
            head = file.read(8)
            file.seek(0)
            if not head:
                raise BadProject("the document is empty")
            if doctype in ODF_TYPES:
                _check_zip(file, doctype, _check_odf, password, thorough)
            elif doctype in _OOXML_PARTS:
                if head == _OLE_MAGIC and _has_stream(file, (_ENCRYPTED_STREAM,)):
                    _needs_password(password)
                else:
                    _check_zip(file, doctype, _check_ooxml, password, thorough)
            elif doctype in _OLE_STREAMS:
                if doctype == "doc" and head.startswith(b"{\\rtf"):
                    return "rtf"
                if head != _OLE_MAGIC or not _has_stream(file, _OLE_STREAMS[doctype]):
                    raise BadProject(f"the document is not {doctype} inside")
            else:
                _check_text(file, doctype)
    except OSError as error:
        raise BadProject(f"the document cannot be read: {error.strerror or type(error).__name__}") from error
    return doctype


def check_result(path: Path, output_format: str) -> None:
    """Check that a result begins as what it should be. Raises ``BadProject``."""
    with path.open("rb") as file:
        if not file.read(8).startswith(_MAGIC[output_format]):
            raise BadProject(f"the result is not {output_format}")


def format_of(path: Path) -> str:
    """The format that a result begins as: pdf, png or odf; "" for anything else."""
    with path.open("rb") as file:
        head = file.read(8)
    return next((name for name, magic in _MAGIC.items() if head.startswith(magic)), "")


def page_count(path: Path, suffix: str = "") -> int:
    """The pages of a result: of a PDF that can be read, one for a PNG, else 0. ``suffix``: where the name has none."""
    suffix = suffix or path.suffix
    if suffix == ".png":
        return 1
    if suffix != ".pdf":
        return 0
    try:
        with pikepdf.open(path) as pdf:
            return len(pdf.pages)
    except (pikepdf.PdfError, pikepdf.PasswordError, RuntimeError, ValueError):
        # Not all of what pikepdf raises of a file has one base: of one with a password, or a page tree that is none.
        return 0


def odf_suffix(path: Path) -> str:
    """The suffix that fits an OpenDocument result; ``.odt`` for its rarer types, "" for what is no OpenDocument."""
    try:
        with zipfile.ZipFile(path) as archive:
            found = _small_part(archive, "mimetype").decode("ascii", "replace").strip()
    except (BadProject, *_DAMAGE):
        return ""
    except OSError as error:
        if _is_damage(error):
            return ""
        raise
    if not found.startswith("application/vnd.oasis.opendocument."):
        return ""
    return next((f".{doctype}" for doctype, media_type in ODF_TYPES.items() if media_type == found), ".odt")


# -- zipped documents --------


def _check_zip(
    file: BinaryIO,
    doctype: str,
    check: Callable[[zipfile.ZipFile, str, bool], None],
    password: bool,
    thorough: bool,
) -> None:
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            if len(entries) > ENTRIES_LIMIT:
                raise BadProject(f"the document has more than {ENTRIES_LIMIT} parts")
            if sum(entry.file_size for entry in entries) > UNPACKED_LIMIT:
                raise BadProject(f"the document unpacks to more than {UNPACKED_LIMIT // MIB} MiB")
            if any(entry.flag_bits & 1 for entry in entries):
                raise BadProject("the document is an encrypted zip, which no office program writes")
            check(archive, doctype, password)
            if thorough:
                _unpack(archive, entries)
    except (OSError, *_DAMAGE) as error:
        if isinstance(error, OSError) and not _is_damage(error):
            raise
        raise BadProject("the document is damaged or cut off, or no office document at all") from error


def _is_damage(error: OSError) -> bool:
    """Whether an error is one of the archive and none of the disk: of bad data, or of a place that is none."""
    return error.errno in (None, errno.EINVAL)


def _unpack(archive: zipfile.ZipFile, entries: list[zipfile.ZipInfo]) -> None:
    """Unpack everything to nowhere; the sizes that the entries claim are not believed, their checksums are."""
    left = UNPACKED_LIMIT
    for entry in entries:
        with archive.open(entry) as part:
            while chunk := part.read(256 * 1024):
                left -= len(chunk)
                if left < 0:
                    raise BadProject(f"the document unpacks to more than {UNPACKED_LIMIT // MIB} MiB")


def _check_odf(archive: zipfile.ZipFile, doctype: str, password: bool) -> None:
    found = _small_part(archive, "mimetype").decode("ascii", "replace").strip()
    if found != ODF_TYPES[doctype]:
        other = next((name for name, media_type in ODF_TYPES.items() if media_type == found), "")
        raise BadProject(f"the document is not {doctype} inside" + (f" but {other}" if other else ""))
    manifest = _small_part(archive, "META-INF/manifest.xml", 16 * MIB)
    if b"encryption-data" in manifest:
        _needs_password(password)
    elif "content.xml" not in archive.namelist():
        raise BadProject("the document has no content.xml")


def _check_ooxml(archive: zipfile.ZipFile, doctype: str, _password: bool) -> None:
    names = set(archive.namelist())
    if "[Content_Types].xml" not in names or _OOXML_PARTS[doctype] not in names:
        raise BadProject(f"the document is not {doctype} inside")


def _small_part(archive: zipfile.ZipFile, name: str, limit: int = 1024) -> bytes:
    try:
        with archive.open(name) as part:
            return part.read(limit)
    except KeyError:
        raise BadProject(f"the document has no part {name}: it is no OpenDocument file") from None


def _needs_password(password: bool) -> None:
    if not password:
        raise BadProject("the document is encrypted; give its password")


# -- other documents --------


def _has_stream(file: BinaryIO, names: tuple[str, ...]) -> bool:
    """Whether a compound file names one of these streams. Its directory may lie anywhere, so all of it is searched."""
    wanted = [name.encode("utf-16-le") for name in names]
    overlap = max(map(len, wanted))
    file.seek(0)
    tail = b""
    while chunk := file.read(MIB):
        window = tail + chunk
        if any(name in window for name in wanted):
            return True
        tail = window[-overlap:]
    return False


def _check_text(file: BinaryIO, doctype: str) -> None:
    head = file.read(64 * 1024)
    if doctype == "rtf":
        if not head.startswith(b"{\\rtf"):
            raise BadProject("the document is not rtf inside")
    elif not head.startswith((b"\xff\xfe", b"\xfe\xff")) and b"\x00" in head:
        raise BadProject(f"the document is not {doctype} inside: it holds binary data")
