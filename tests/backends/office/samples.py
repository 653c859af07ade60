"""Documents for the tests, made by other programs' libraries."""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path

import docx
import openpyxl
import pptx
from odf import opendocument, style, table, text
from odf.draw import Frame, Image, Page, TextBox


def odt(path: Path, pages: int = 1, body: str = "Hello from page") -> Path:
    """A text document of so many pages, each with ``<body> <number>``."""
    document = opendocument.OpenDocumentText()
    breaking = style.Style(name="breaking", family="paragraph")
    breaking.addElement(style.ParagraphProperties(breakbefore="page"))
    document.automaticstyles.addElement(breaking)
    for number in range(1, pages + 1):
        attributes = {"stylename": breaking} if number > 1 else {}
        document.text.addElement(text.P(text=f"{body} {number}", **attributes))
    document.save(str(path))
    return path


def ods(path: Path, rows: int = 5) -> Path:
    """A spreadsheet with a column of texts."""
    document = opendocument.OpenDocumentSpreadsheet()
    sheet = table.Table(name="Sheet")
    for number in range(1, rows + 1):
        row = table.TableRow()
        cell = table.TableCell(valuetype="string")
        cell.addElement(text.P(text=f"Cell {number}"))
        row.addElement(cell)
        sheet.addElement(row)
    document.spreadsheet.addElement(sheet)
    document.save(str(path))
    return path


def odp(path: Path, slides: int = 2) -> Path:
    """A presentation."""
    document = opendocument.OpenDocumentPresentation()
    layout = style.PageLayout(name="layout")
    layout.addElement(style.PageLayoutProperties(pagewidth="28cm", pageheight="21cm"))
    document.automaticstyles.addElement(layout)
    master = style.MasterPage(name="master", pagelayoutname=layout)
    document.masterstyles.addElement(master)
    for number in range(1, slides + 1):
        slide = Page(masterpagename=master)
        frame = Frame(width="20cm", height="3cm", x="2cm", y="2cm")
        box = TextBox()
        box.addElement(text.P(text=f"Slide {number}"))
        frame.addElement(box)
        slide.addElement(frame)
        document.presentation.addElement(slide)
    document.save(str(path))
    return path


def odg(path: Path) -> Path:
    """A drawing."""
    document = opendocument.OpenDocumentDrawing()
    layout = style.PageLayout(name="layout")
    layout.addElement(style.PageLayoutProperties(pagewidth="21cm", pageheight="29.7cm"))
    document.automaticstyles.addElement(layout)
    master = style.MasterPage(name="master", pagelayoutname=layout)
    document.masterstyles.addElement(master)
    page = Page(masterpagename=master)
    frame = Frame(width="10cm", height="3cm", x="2cm", y="2cm")
    box = TextBox()
    box.addElement(text.P(text="A drawing"))
    frame.addElement(box)
    page.addElement(frame)
    document.drawing.addElement(page)
    document.save(str(path))
    return path


def office_open(folder: Path) -> None:
    """``a.docx``, ``a.xlsx`` and ``a.pptx``."""
    document = docx.Document()
    document.add_heading("Letter", 1)
    document.add_paragraph("Written by python-docx")
    document.save(str(folder / "a.docx"))
    book = openpyxl.Workbook()
    book.active["A1"] = "Written by openpyxl"
    book.save(folder / "a.xlsx")
    slides = pptx.Presentation()
    slide = slides.slides.add_slide(slides.slide_layouts[5])
    slide.shapes.title.text = "Written by python-pptx"
    slides.save(str(folder / "a.pptx"))


def plain(folder: Path) -> None:
    """``a.rtf``, ``a.html``, ``a.csv`` and ``a.txt``."""
    (folder / "a.rtf").write_text(r"{\rtf1\ansi Rich text \'e4}", encoding="ascii")
    (folder / "a.html").write_text("<html><body><p>Hyper text ä</p></body></html>", encoding="utf-8")
    (folder / "a.csv").write_text('name,city\n"Müller, A.",Köln\n', encoding="utf-8")
    (folder / "a.txt").write_text("Plain text ä\n", encoding="utf-8")


def binary_office(folder: Path, profile: Path) -> None:
    """``b.doc``, ``b.xls`` and ``b.ppt``: made by LibreOffice itself of what :func:`office_open` has made."""
    for source, suffix in (("a.docx", "doc"), ("a.xlsx", "xls"), ("a.pptx", "ppt")):
        subprocess.run(
            [
                "soffice",
                f"-env:UserInstallation={profile.as_uri()}",
                "--headless",
                "--convert-to",
                suffix,
                "--outdir",
                str(folder),
                str(folder / source),
            ],
            check=True,
            capture_output=True,
            timeout=60,
        )
        (folder / f"a.{suffix}").rename(folder / f"b.{suffix}")


def bomb(path: Path, size: int) -> Path:
    """An ``odt`` whose content unpacks to ``size`` bytes of spaces."""
    odt(path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            if name != "content.xml":
                archive.writestr(name, content)
        with archive.open("content.xml", "w", force_zip64=True) as content_part:
            for _ in range(size // (1024 * 1024)):
                content_part.write(b" " * 1024 * 1024)
    return path


def linking(folder: Path, url: str, secret: Path) -> None:
    """``links.*``: documents that want something of a server, the text of another file, and the picture beside it."""
    picture = secret.with_suffix(".png")
    (folder / "links.html").write_text(
        f'<html><head><link rel="stylesheet" href="{url}/style.css"></head><body><p>Before</p><img src="{url}/a.png">'
        f'<img src="{secret.as_uri()}"><img src="{picture.as_uri()}"><iframe src="{secret.as_uri()}"></iframe>'
        f'<object data="{url}/o"></object><sdfield type=file src="{secret.as_uri()}"></body></html>'
    )
    (folder / "links.csv").write_text(f'Before\n"=WEBSERVICE(""{url}/w"")"\n"=\'{secret.as_uri()}\'#$Sheet1.A1"\n')
    (folder / "links.rtf").write_text(
        rf'{{\rtf1 Before {{\field{{\*\fldinst INCLUDEPICTURE "{url}/p.png" \\d}}}}'
        rf'{{\field{{\*\fldinst INCLUDEPICTURE "{picture}" \\d}}}}{{\field{{\*\fldinst INCLUDETEXT "{secret}"}}}}}}'
    )
    document = opendocument.OpenDocumentText()
    document.text.addElement(text.P(text="Before"))
    holder = text.P()
    for address in (f"{url}/i.png", picture.as_uri()):
        frame = Frame(width="2cm", height="2cm", anchortype="as-char")
        frame.addElement(Image(href=address, type="simple", show="embed", actuate="onLoad"))
        holder.addElement(frame)
    document.text.addElement(holder)
    section = text.Section(name="linked")
    section.addElement(text.SectionSource(href=secret.as_uri(), type="simple"))
    section.addElement(text.P(text="Inside"))
    document.text.addElement(section)
    document.save(str(folder / "links.odt"))
    document = opendocument.OpenDocumentSpreadsheet()
    sheet = table.Table(name="Sheet")
    formulas = (
        f'of:=WEBSERVICE("{url}/w")',
        f"of:=['{secret.as_uri()}'#$Sheet1.A1]",
        f'of:=DDE("soffice";"{secret}";"1")',
    )
    for formula in ("", *formulas):
        row = table.TableRow()
        cell = table.TableCell(formula=formula) if formula else table.TableCell(valuetype="string")
        if not formula:
            cell.addElement(text.P(text="Before"))
        row.addElement(cell)
        sheet.addElement(row)
    document.spreadsheet.addElement(sheet)
    document.save(str(folder / "links.ods"))


def pdf_text(path: Path) -> str:
    """What pdftotext reads."""
    return subprocess.run(["pdftotext", str(path), "-"], check=True, capture_output=True, text=True).stdout


def encrypt(source: Path, profile: Path, *targets: Path) -> None:
    """Encrypt a document with LibreOffice; the password is ``open sesame``."""
    script = Path(__file__).with_name("encrypt.py")
    command = ["/usr/bin/python3", str(script), str(source), str(profile), *map(str, targets)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
