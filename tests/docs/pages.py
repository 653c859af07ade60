"""Pages of the documentation, read as a reader types them in: files to write and commands to run, in order.

Two things of a page are taken up:

- a fenced ``console`` block: ``$ `` begins a command, ``> `` continues it, everything else is what it prints, with
  ``…`` for any text in a line, or any lines on a line of its own. ``^C`` ends a command that keeps running;
- another fenced block directly below a paragraph that is just a file's name, ``` `projects/letter.typ`: ```: the file.

A comment ``<!-- needs: PROGRAM … -->`` names the programs that the page's commands need besides pfserver.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from attrs import define, field, frozen

from tests.support.process import ROOT

#: Languages of blocks that would show commands without their being run.
UNTESTED_SHELLS = frozenset({"sh", "bash", "shell", "zsh", "shell-session"})

_FENCE = re.compile(r"^( {0,3})(`{3,})\s*([^\s`]*)[^`]*$")
_FILE = re.compile(r"^`([^`]+)`:$")
_NEEDS = re.compile(r"<!-- needs: (.*?) -->")


@frozen
class WriteFile:
    """A file that the page shows."""

    line: int
    name: str
    text: str


@define
class Command:
    """A command that the page shows, and what it says will be printed."""

    line: int
    text: str
    output: list[str] = field(factory=list)
    interrupted: bool = False


@frozen
class Page:
    """A page: what to do, in order."""

    path: Path
    steps: Sequence[WriteFile | Command]
    needs: Sequence[str] = ()

    @property
    def name(self) -> str:
        """The path below the root of the checkout."""
        return self.path.relative_to(ROOT).as_posix()


@frozen
class Block:
    """A fenced block; ``line`` is that of its first line of text, from 1."""

    line: int
    language: str
    text: str
    before: str
    """The last line with text before it."""


def pages() -> Sequence[Path]:
    """All pages of the project."""
    found = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    found += sorted(path for path in (ROOT / "docs").rglob("*.md") if not {"_build", "news"} & set(path.parts))
    found += sorted((ROOT / "examples").rglob("README.md"))
    return found


def read(path: Path) -> Page:
    """Read a page. Raises ``ValueError`` where a block is not what it seems to be."""
    text = path.read_text(encoding="utf-8")
    steps: list[WriteFile | Command] = []
    for block in blocks(text):
        name = _FILE.match(block.before)
        if block.language == "console":
            steps += commands(block)
        elif name is not None:
            steps.append(WriteFile(block.line, name[1], block.text))
    needs = _NEEDS.search(text)
    return Page(path, steps, needs[1].split() if needs else ())


def blocks(text: str) -> Iterator[Block]:
    """All fenced blocks of a Markdown text."""
    begun: tuple[int, str, str, str, str] | None = None
    held: list[str] = []
    before = ""
    for number, line in enumerate(text.splitlines(), 1):
        fence = _FENCE.match(line)
        if begun is None:
            if fence is not None:
                begun, held = (number + 1, fence[1], fence[2], fence[3], before), []
            elif line.strip():
                before = line.strip()
        elif fence is not None and not fence[3] and len(fence[2]) >= len(begun[2]):
            yield Block(begun[0], begun[3], "".join(f"{one}\n" for one in held), begun[4])
            begun, before = None, ""
        else:
            held.append(line.removeprefix(begun[1]))
    if begun is not None:
        raise ValueError(f"line {begun[0] - 1}: the block has no end")


def commands(block: Block) -> Sequence[Command]:
    """The commands of a console block. Raises ``ValueError`` where output comes before any command."""
    found: list[Command] = []
    for number, line in enumerate(block.text.splitlines(), block.line):
        if line.startswith("$ "):
            found.append(Command(number, line[2:]))
        elif not found:
            raise ValueError(f"line {number}: a console block begins with '$ '")
        elif line.startswith("> ") and not found[-1].output:
            found[-1].text += "\n" + line[2:]
        elif line == "^C":
            found[-1].interrupted = True
        else:
            found[-1].output.append(line)
    return found


def pattern(output: Sequence[str]) -> re.Pattern[str]:
    """What matches the shown output: ``…`` is any text within a line, or any lines where it stands alone."""
    parts = []
    for line in output:
        if line.strip() == "…":
            parts.append(r"(?:.*\n)*?")
        else:
            parts.append(".*?".join(re.escape(part.rstrip()) for part in line.split("…")) + r"[ \t]*\n")
    return re.compile("".join(parts))
