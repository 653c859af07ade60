"""Whether records can be set together: in one compile, each must look as if it were alone.

The driver begins every record on a new page and with fresh counters, so that most templates cannot tell. Some can: an
outline would list the other records' headings, the last page's number would be the last record's. Such templates are
found by what stands in their text, and their records are set one by one. A word too many costs speed, never truth.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

#: The most text of templates that is looked at; with more, records are set one by one.
TEXT = 4 << 20

#: What looks beyond its own page: functions by their call or where they are passed on, and named arguments.
_FUNCTIONS = ("query", "state", "outline", "bibliography", "locate", "here", "position", "final", "eval", "cite")
_LOOKS = re.compile(
    r"(?<![\w-])(?:" + "|".join(_FUNCTIONS) + r")\s*(?:\(|\.(?:where|with)\b)"
    r"|[=:(,]\s*(?:std\.)?(?:" + "|".join((*_FUNCTIONS, "counter")) + r")\s*(?:$|[\n;,)])"
    # Breaks at the beginning or the end of a record would be one with the break between records.
    r"|(?<![\w-])(?:pagebreak|colbreak)\b(?!\s*\(\s*weak\s*:\s*true\s*\))"
    r"|\bsys\.inputs\b|\bpar\.line\b|(?<![\w-])(?:both|binding|inside|outside)\s*:"
    # Counters that the driver does not begin again, and kinds of figures, which have such counters.
    r"|(?<![\w-])counter\s*\((?!\s*(?:page|heading|footnote|math\.equation)\s*\)"
    r"|\s*figure\.where\(\s*kind:\s*(?:image|table|raw)\s*\)\s*\))|(?<![\w-])kind\s*:(?!\s*(?:image|table|raw)\b)"
    # Blank pages to the next odd or even one depend on the pages before.
    r"|(?<![\w-])to\s*:\s*\"(?:odd|even)\"",
    re.MULTILINE,
)

_PAGE = re.compile(r"(?<![\w.-])page\s*\(")
_NUMBERING = re.compile(r"(?<![\w-])numbering\s*:\s*(?:(none)|\"([^\"\\]*)\")?")
_COUNTING = re.compile(r"[1aAiI一壹あいアイא가ㄱ*①⓵٠۱]")
_LANGUAGE = re.compile(r"(?<![\w-])(?:lang|region)\s*:\s*(?:\"(\w*)\")?")
_DOCUMENT = re.compile(r"(?<![\w.-])document\s*\(")
_STRING = re.compile(r"\"(?:[^\"\\]|\\.)*\"", re.DOTALL)
_COMMENT = re.compile(r"(?<![:\w])//[^\n]*|/\*.*?\*/", re.DOTALL)
_IMPORT = re.compile(r"(?<![\w-])(?:import|include)\b\s*(?:\(\s*)?(\"(?:[^\"\\]|\\.)*\")?")


def can_be_set_together(project: Path, template: Path, *, apart: bool) -> bool:
    """Whether a template's records look the same in one compile as alone; blocks.

    :param project: the folder that imports with ``/`` begin in.
    :param apart: whether each record becomes a file of its own, with a title of its own.
    """
    languages: set[str] = set()
    try:
        for text in _texts(project, template):
            spoken = [match[1] for match in _LANGUAGE.finditer(text)]
            languages.update(one or "" for one in spoken)
            if None in spoken or len(languages) > 1 or _LOOKS.search(text):
                return False
            if not all(_plain_page(page) for page in _arguments(_PAGE, text)):
                return False
            if apart and not all(_constant(document) for document in _arguments(_DOCUMENT, text)):
                return False
    except (OSError, UnicodeDecodeError, _Unknown):
        return False
    return True


class _Unknown(Exception):
    """What is imported cannot be told, or is too much."""


def _texts(project: Path, template: Path) -> Iterator[str]:
    """The text of a template and of all that it imports, without comments. Raises ``_Unknown``, ``OSError``."""
    waiting, seen, left = [template], {template}, TEXT
    while waiting:
        path = waiting.pop()
        text = path.read_text(encoding="utf-8")
        left -= len(text)
        if left < 0:
            raise _Unknown
        text = _COMMENT.sub("", text)
        for name in _IMPORT.findall(text):
            if not name or "\\" in name:
                raise _Unknown
            for found in _imported(project, path, name[1:-1]):
                if found not in seen:
                    seen.add(found)
                    waiting.append(found)
        yield text


def _imported(project: Path, path: Path, name: str) -> list[Path]:
    if name.startswith("@"):
        # A package of the project: whichever of its files it uses.
        return sorted((project / "packages").rglob("*.typ"))
    found = (project / name.lstrip("/") if name.startswith("/") else path.parent / name).resolve()
    if not found.is_relative_to(project.resolve()):
        raise _Unknown
    return [found]


def _arguments(call: re.Pattern[str], text: str) -> Iterator[str]:
    """What stands between the parentheses of each call."""
    for match in call.finditer(text):
        depth, end = 1, match.end()
        for one in re.finditer(_STRING.pattern + r"|[()]", text[match.end() :], re.DOTALL):
            depth += {"(": 1, ")": -1}.get(one[0], 0)
            if not depth:
                end = match.end() + one.start()
                break
        yield text[match.end() : end]


def _plain_page(arguments: str) -> bool:
    """Whether a page's numbers never name the last page's: "1", but not "1 of 1"."""
    if ".." in _STRING.sub("", arguments):
        return False
    for match in _NUMBERING.finditer(arguments):
        if match[1] is None and (match[2] is None or len(_COUNTING.findall(match[2])) > 1):
            return False
    return True


def _constant(arguments: str) -> bool:
    """Whether a document's title, author and so on are the same for every record."""
    values = re.sub(r"[\w-]+\s*:", "", _STRING.sub("", arguments))
    return not re.search(r"[A-Za-z_]", re.sub(r"\b(?:none|auto|datetime)\b", "", values)) and ".." not in values
