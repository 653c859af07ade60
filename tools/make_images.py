"""Makes the pictures of the README from the sample projects and a real server: ``tools/make_images.py docs/images``.

Needs what the tests need: pypdfium2 and Pillow, which comes with it.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from io import StringIO
from pathlib import Path

import pypdfium2
from demo import BIN, running_server
from PIL import Image, ImageDraw, ImageFilter
from rich.console import Console
from rich.text import Text

PROJECTS = Path(__file__).parents[1] / "examples" / "projects"

#: What is submitted, and the pages of it that are shown.
SHOWN = (
    ("Sample Project.pf", "Job 1", "002.pdf", 0),
    ("Postcard/Postcard.pf", "Print", "001.pdf", 6),
    ("Postcard/Postcard.pf", "Print", "001.pdf", 7),
    ("Price List/Price List.pf", "Single Pages", "0001.pdf", 0),
)

#: What the picture of a terminal shows.
TERMINAL = (
    ("pfserver submit 'Sample Project.pf' 'Job 1' --watch", ["submit", "Sample Project.pf", "Job 1", "--watch"]),
    (
        "pfserver submit 'Failing Records/Failing Records.pf' Skip --watch",
        ["submit", "Failing Records/Failing Records.pf", "Skip", "--watch"],
    ),
    ("pfserver jobs", ["jobs", "-n", "2"]),
)


def main(folder: Path) -> None:
    """Make all pictures in ``folder``."""
    with tempfile.TemporaryDirectory() as scratch:
        state = Path(scratch, "state")
        with running_server(PROJECTS, state) as address:
            outputs = {(project, job): submit(address, project, job) for project, job, *_ in SHOWN}
        pages = [page(state / "output" / outputs[project, job] / name, number) for project, job, name, number in SHOWN]
        montage(pages).save(folder / "pages.png", optimize=True)
    with tempfile.TemporaryDirectory() as scratch, running_server(PROJECTS, Path(scratch, "state")) as address:
        terminal(address, folder / "terminal.svg")


def submit(address: str, project: str, job: str) -> str:
    """Have a job done; gives its transaction id."""
    printed, code = on_terminal(["--server", address, "submit", project, job, "--watch"])
    found = re.search(r"T\d{7,}", printed)
    if code != 0 or found is None:
        raise SystemExit(f"{project} {job} ended with exit code {code}:\n{printed}")
    return found[0]


def page(path: Path, number: int) -> Image.Image:
    """One page as an image."""
    document = pypdfium2.PdfDocument(path)
    try:
        image: Image.Image = document[number].render(scale=2).to_pil().convert("RGB")
        return image
    finally:
        document.close()


def montage(pages: list[Image.Image]) -> Image.Image:
    """A letter, both sides of a postcard above one another, and a page of a list, each with its shadow."""
    letter, front, back, product = pages
    height, gap, edge = 840, 44, 40
    half = (height - gap) // 2
    letter, product = scaled(letter, height), scaled(product, height)
    front, back = scaled(front, half), scaled(back, half)
    places = [(letter, edge, edge)]
    x = edge + letter.width + gap
    places += [(front, x, edge), (back, x, edge + half + gap)]
    x += front.width + gap
    places.append((product, x, edge))
    canvas = Image.new("RGB", (x + product.width + edge, height + 2 * edge), "#e9ecef")
    shadow = Image.new("L", canvas.size, 0)
    for image, left, top in places:
        ImageDraw.Draw(shadow).rectangle((left + 2, top + 7, left + image.width + 2, top + image.height + 7), fill=110)
    canvas.paste("#1f2933", mask=shadow.filter(ImageFilter.GaussianBlur(11)))
    for image, left, top in places:
        canvas.paste(image, (left, top))
    return canvas.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)


def scaled(image: Image.Image, height: int) -> Image.Image:
    """The image in that height."""
    return image.resize((round(image.width * height / image.height), height), Image.Resampling.LANCZOS)


def terminal(address: str, path: Path) -> None:
    """What a terminal shows for a few commands, as SVG."""
    console = Console(record=True, width=96, file=StringIO(), force_terminal=True)
    for shown, arguments in TERMINAL:
        printed, _ = on_terminal(["--server", address, *arguments])
        console.print(Text.assemble(("$ ", "bold green"), (shown, "bold")))
        console.print(Text.from_ansi(printed.replace(os.uname().nodename, "press-room")), soft_wrap=True)
        console.print()
    # A picture fetches nothing: fonts are the reader's own.
    text = re.sub(r"@font-face \{.*?\}\s*", "", console.export_svg(title="pfserver"), flags=re.DOTALL)
    path.write_text(
        text.replace("Fira Code, monospace", "DejaVu Sans Mono, Menlo, Consolas, monospace"), encoding="utf-8"
    )


def on_terminal(arguments: list[str]) -> tuple[str, int]:
    """Run ``pfserver`` on a pseudo-terminal; gives the last state of every line, and the exit code."""
    pid, controller = os.forkpty()
    if pid == 0:
        os.environ.update(TERM="xterm-256color", COLUMNS="96", LINES="50")
        os.execv(BIN / "pfserver", ["pfserver", *arguments])
    received = b""
    try:
        while more := os.read(controller, 65536):
            received += more
    except OSError:
        pass  # How Linux tells that the other side of a pseudo-terminal is closed.
    os.close(controller)
    _, status = os.waitpid(pid, 0)
    lines = received.decode().replace("\r\n", "\n").split("\n")
    # A line that was drawn again and again: what follows the last time that it was cleared.
    lines = [re.split(r"\x1b\[2K", line)[-1].replace("\r", "") for line in lines]
    text = re.sub(r"\x1b\[\?25[lh]|\x1b\[\d*A", "", "\n".join(lines))
    return text.rstrip("\n"), os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
