"""What LibreOffice may see of the machine: a document is a stranger's, and may name any file as a picture."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import zipfile
from pathlib import Path
from unittest import SkipTest

import pikepdf
import PIL.Image
from twisted.trial.unittest import SynchronousTestCase

from pfserver.backends.office import confinement
from tests.backends.office import samples
from tests.backends.office.test_backend import Office

#: Confines itself, then tells which of the paths it can read and write, and whether it can connect.
PROGRAM = """
import json, socket, sys
sys.path.insert(0, sys.argv[1])
import confinement
readable, writable, paths, port = json.loads(sys.argv[2])
found = {"confined": confinement.confine(readable, writable)}
for path in paths:
    for mode in ("r", "w"):
        try:
            open(path, mode).close()
            found[path] = found.get(path, "") + mode
        except PermissionError:
            found.setdefault(path, "")
try:
    socket.create_connection(("127.0.0.1", port)).close()
    found["connected"] = True
except PermissionError:
    found["connected"] = False
print(json.dumps(found))
"""

_SPACES = {
    **{name: f"urn:oasis:names:tc:opendocument:xmlns:{name}:1.0" for name in ("office", "style", "text", "table")},
    "draw": "urn:oasis:names:tc:opendocument:xmlns:drawing:1.0",
    "xlink": "http://www.w3.org/1999/xlink",
    "fo": "urn:oasis:names:tc:opendocument:xmlns:xsl-fo-compatible:1.0",
    "svg": "urn:oasis:names:tc:opendocument:xmlns:svg-compatible:1.0",
}
_KINDS = {"odt": "text", "ods": "spreadsheet", "odp": "presentation", "odg": "drawing"}


def expect_landlock() -> None:
    """Skip where the kernel has none."""
    if not confinement.version():
        raise SkipTest("this kernel has no Landlock: boot one with lsm=landlock,...")


class ProgramTests(SynchronousTestCase):
    def test_what_is_left(self) -> None:
        expect_landlock()
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        paths = {name: folder / name / "file" for name in ("work", "fonts", "secret")}
        for path in paths.values():
            path.parent.mkdir()
            path.touch()
        link = paths["work"].with_name("link")
        link.symlink_to(paths["secret"])
        there = f"/proc/self/root{paths['secret']}"
        with socket.create_server(("127.0.0.1", 0)) as server:
            asked = [str(path) for path in (*paths.values(), link)] + [there, "/etc/passwd", "/dev/null"]
            what = [
                [str(paths["fonts"].parent), "/nowhere"],
                [str(paths["work"].parent)],
                asked,
                server.getsockname()[1],
            ]
            done = subprocess.run(
                [sys.executable, "-c", PROGRAM, str(Path(confinement.__file__).parent), json.dumps(what)],
                capture_output=True,
                text=True,
                check=True,
            )
        expected = dict(zip(asked, ["rw", "r", "", "", "", "r", "rw"], strict=True))
        connected = confinement.version() < 4
        self.assertEqual(json.loads(done.stdout), {**expected, "confined": True, "connected": connected})


class DocumentTests(Office):
    """Every way to name a file that was seen to work with LibreOffice's own settings alone."""

    def document(self, name: str, body: str, automatic: str = "", styles: str = "", **pictures: str) -> None:
        spaces = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in _SPACES.items())
        kind = _KINDS[name.rpartition(".")[2]]
        doctype = "application/vnd.oasis.opendocument." + kind.replace("drawing", "graphics")
        layout = (
            '<style:page-layout style:name="pl"><style:page-layout-properties fo:page-width="20cm" '
            'fo:page-height="20cm"/></style:page-layout>'
        )
        master = '<style:master-page style:name="Standard" style:page-layout-name="pl"/>'
        parts = {
            "mimetype": doctype,
            "content.xml": f'<office:document-content {spaces} office:version="1.2">'
            f"<office:automatic-styles>{automatic}</office:automatic-styles><office:body><office:{kind}>{body}</office:{kind}></office:body>"
            "</office:document-content>",
            "styles.xml": f'<office:document-styles {spaces} office:version="1.2">'
            f"<office:styles>{styles}</office:styles><office:automatic-styles>{layout}</office:automatic-styles><office:master-styles>{master}"
            "</office:master-styles></office:document-styles>",
            **{f"Pictures/{key}.svg": text for key, text in pictures.items()},
        }
        entries = "".join(
            f'<m:file-entry m:full-path="{part}" m:media-type="{"image/svg+xml" if "svg" in part else "text/xml"}"/>'
            for part in list(parts)[1:]
        )
        parts["META-INF/manifest.xml"] = (
            '<m:manifest xmlns:m="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0">'
            f'<m:file-entry m:full-path="/" m:media-type="{doctype}"/>{entries}</m:manifest>'
        )
        with zipfile.ZipFile(self.root / name, "w") as archive:
            for part, text in parts.items():
                archive.writestr(part, text)

    def write_all(self, uri: str) -> None:
        """Documents that name a picture in each way."""
        link = f'xlink:href="{uri}" xlink:type="simple" xlink:show="embed" xlink:actuate="onLoad"'
        inner = 'xlink:href="Pictures/a.svg" xlink:type="simple" xlink:show="embed" xlink:actuate="onLoad"'
        place = 'svg:width="5cm" svg:height="5cm" svg:x="1cm" svg:y="1cm"'

        def framed(link: str) -> str:
            return f'<draw:frame {place} text:anchor-type="paragraph"><draw:image {link}/></draw:frame>'

        picture = (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="300" '
            f'height="200"><image x="0" y="0" width="300" height="200" xlink:href="{uri}"/></svg>'
        )
        fill = f'<draw:fill-image draw:name="F" {link}/>'
        filled = 'draw:fill="bitmap" draw:fill-image-name="F"'
        graphic = (
            f'<style:style style:name="g" style:family="graphic"><style:graphic-properties {filled}/></style:style>'
        )
        shape = f'<draw:rect draw:style-name="g" {place} text:anchor-type="paragraph"/>'
        ground = f"<style:background-image {link}/>"
        paragraph = (
            '<style:style style:name="P" style:family="paragraph">'
            f"<style:paragraph-properties>{ground}</style:paragraph-properties></style:style>"
        )

        def cell(inside: str) -> str:
            return (
                f'<table:table table:name="S"><table:table-row><table:table-cell>{inside}<text:p>Before</text:p>'
                "</table:table-cell></table:table-row></table:table>"
            )

        def page(inside: str) -> str:
            text = f"<draw:frame {place}><draw:text-box><text:p>Before</text:p></draw:text-box></draw:frame>"
            return f'<draw:page draw:name="p" draw:master-page-name="Standard">{inside}{text}</draw:page>'

        self.document("fill.odt", f"<text:p>Before{shape}</text:p>", graphic, fill)
        self.document("ground.odt", '<text:p text:style-name="P">Before</text:p>', paragraph)
        self.document("picture.odt", f"<text:p>Before{framed(inner)}</text:p>", a=picture)
        self.document("image.ods", cell(framed(link)))
        self.document("fill.ods", cell(shape), graphic, fill)
        for kind in ("odp", "odg"):
            self.document(f"image.{kind}", page(framed(link)))
            self.document(f"fill.{kind}", page(shape), graphic, fill)
            self.document(f"picture.{kind}", page(framed(inner)), a=picture)
        (self.root / "page.html").write_text(
            f'<html><body background="{uri}"><p style="background-image:url({uri})">Before</p></body></html>'
        )

    async def test_pictures_that_lie_elsewhere(self) -> None:
        expect_landlock()
        secret = self.root.parent / "secret.png"
        PIL.Image.new("RGB", (300, 200), (255, 0, 0)).save(secret)
        self.write_all(secret.as_uri())
        backend = self.build(workers=1)
        for path in sorted(self.root.iterdir()):
            made = await self.convert(backend, path.name)
            [result] = made.folder.iterdir()
            self.assertIn("Before", samples.pdf_text(result), path.name)
            with pikepdf.open(result) as pdf:
                sizes = {(int(image.Width), int(image.Height)) for page in pdf.pages for image in page.images.values()}
            self.assertNotIn((300, 200), sizes, path.name)

    async def test_pictures_of_servers(self) -> None:
        """They are not asked for, and nobody waits for what does not come."""
        calls: list[socket.socket] = []
        server = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(server.close)
        server.setblocking(False)
        self.write_all(f"http://127.0.0.1:{server.getsockname()[1]}/a.png")
        backend = self.build(workers=1, timeout=20)
        for path in sorted(self.root.iterdir()):
            made = await self.convert(backend, path.name)
            self.assertIn("Before", samples.pdf_text(next(made.folder.iterdir())), path.name)
            with contextlib.suppress(BlockingIOError):
                calls.append(server.accept()[0])
            self.assertEqual(calls, [], path.name)

    async def test_results_of_others(self) -> None:
        expect_landlock()
        samples.odt(self.root / "victim.odt", body="Top secret")
        backend = self.build(workers=1)
        made = await self.convert(backend, "victim.odt")
        (self.root / "victim.odt").unlink()
        self.write_all((made.folder / "victim.pdf").as_uri())
        for name in ("image.odp", "image.odg", "image.ods"):
            made = await self.convert(backend, name)
            self.assertNotIn("secret", samples.pdf_text(next(made.folder.iterdir())), name)

    async def test_where_the_kernel_cannot_it_is_said(self) -> None:
        samples.odt(self.root / "a.odt")
        backend = self.build(workers=1)
        await self.convert(backend, "a.odt")
        [listener] = self.listeners(backend)
        self.assertEqual(listener.confined, bool(confinement.version()))
