"""Reply and monitor lines: ``R0000000: text`` and ``J0000020: text``, several of them for a text with line breaks."""

from __future__ import annotations

import re

from attrs import frozen

from pfserver.wire.pageflex.errors import LineError

#: The longest line that a client takes; a server that sends a longer one is no server of this kind.
LINE_BYTES = 1 << 20

#: The most lines of one message that a client takes.
MESSAGE_LINES = 10_000

#: Control characters, C0 and C1: they never reach the wire.
_CONTROL = dict.fromkeys((*range(0x20), *range(0x7F, 0xA0)))

_LINE = re.compile(r"([RJ])([0-9]{7,10})([:-])(?: (.*)|)", re.DOTALL)


# -- the server's side --------


def reply_line(number: int, text: str, encoding: str) -> bytes:
    """The answer to a packet; ``number`` 0 for success. What the encoding lacks becomes ``?``."""
    return _write("R", number, text, encoding)


def monitor_line(number: int, text: str, encoding: str) -> bytes:
    """One message of a job's monitor."""
    return _write("J", number, text, encoding)


def _write(kind: str, number: int, text: str, encoding: str) -> bytes:
    if text.isprintable():
        return f"{kind}{number:07d}: {text}\r\n".encode(encoding, "replace")
    lines = [line.translate(_CONTROL) for line in text.splitlines()] or [""]
    written = [f"{kind}{number:07d}- {line}\r\n" for line in lines[:-1]]
    written.append(f"{kind}{number:07d}: {lines[-1]}\r\n")
    return "".join(written).encode(encoding, "replace")


# -- the client's side --------


@frozen
class Line:
    """A message as the server meant it: ``kind`` is ``R`` or ``J``; ``text`` may have several lines."""

    kind: str
    number: int
    text: str

    @property
    def is_error(self) -> bool:
        """Whether a reply is a refusal, or a monitor message an error."""
        return self.number != 0 if self.kind == "R" else self.number >= 5000


class LineReader:
    """Bytes of a server to the lines that they are.

    :param encoding: ``cp1252``, or ``utf-8`` where the packet asked for it. What does not fit becomes U+FFFD.
    """

    def __init__(self, encoding: str = "cp1252") -> None:
        self._encoding = encoding
        self._rest = b""
        self._message: list[str] = []
        self._begun: tuple[str, int] | None = None

    def feed(self, data: bytes) -> list[Line]:
        """Take bytes as they come; gives the messages that are complete. Raises ``LineError``."""
        *complete, rest = (self._rest + data).split(b"\n")
        if len(rest) > LINE_BYTES:
            raise LineError("the server's line is too long")
        self._rest = rest
        return [message for line in complete if (message := self._line(line)) is not None]

    def at_eof(self) -> None:
        """The server has closed. Raises ``LineError`` where a message is incomplete."""
        if self._rest or self._begun is not None:
            raise LineError("the server closed in the middle of a message")

    def _line(self, data: bytes) -> Line | None:
        match = _LINE.fullmatch(data.removesuffix(b"\r").decode(self._encoding, "replace"))
        if match is None:
            raise LineError(f"the server sent {data[:80]!r}, which is no line of the Pageflex Server socket API")
        kind, number = match[1], int(match[2])
        if self._begun not in (None, (kind, number)) or len(self._message) >= MESSAGE_LINES:
            raise LineError("the server's lines of one message do not belong together")
        self._message.append(match[4] or "")
        if match[3] == "-":
            self._begun = (kind, number)
            return None
        text = "\n".join(self._message)
        self._message, self._begun = [], None
        return Line(kind, number, text)
