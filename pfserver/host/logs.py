"""Log lines: an event's name with its fields, as text for people or JSON for machines."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from twisted.logger import (
    FileLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    formatEvent,
)
from twisted.python.logfile import LogFile
from zope.interface import provider

#: Fields that Twisted's older logging adds; they say nothing more.
_NOISE = frozenset({"format", "isError", "message", "system", "time", "why", "failure", "factory"})

#: Whether a value can be told from what surrounds it without quotes.
_PLAIN = re.compile(r'[^\s"=]+').fullmatch

#: Levels that are not written.
_UNTOLD = (None, LogLevel.debug)


def observer(options: Mapping[str, Any], style: str) -> ILogObserver | None:
    """Where ``twistd`` would write its log, an observer that writes there in our style.

    :param options: twistd's own options (``logfile``, ``nodaemon``, ``syslog``, ``logger``).
    :param style: ``text`` or ``json``.
    """
    if options.get("syslog") or options.get("logger"):
        return None
    name = options.get("logfile")
    if name == "-" or (not name and options.get("nodaemon")):
        output: IO[str] | Any = sys.stdout
    else:
        output = _log_file(Path(name or "twistd.log").absolute())
    lines = FileLogObserver(output, json_line if style == "json" else text_line)

    @provider(ILogObserver)
    def tell(event: LogEvent) -> None:
        # One level for all; Twisted's own filter would look it up by the event's source.
        if event.get("log_level") not in _UNTOLD:
            lines(event)

    told: ILogObserver = tell
    return told


def _log_file(path: Path) -> Any:
    return LogFile(path.name, str(path.parent))


def text_line(event: LogEvent) -> str | None:
    """``2026-01-31T12:00:00+00:00 info job.done transaction=T0000001 …`` and, for a failure, its traceback."""
    what = _what(event)
    if not what:
        return None
    fields = "".join(f" {key}={_word(value)}" for key, value in _fields(event))
    text = f"{_time(event)} {event['log_level'].name} {what}{fields}"
    return _one_event(text) + _traceback(event, indent="    ") + "\n"


def json_line(event: LogEvent) -> str | None:
    """The same as one JSON object a line."""
    what = _what(event)
    if not what:
        return None
    record = {
        "time": _time(event),
        "level": event["log_level"].name,
        "event": event.get("log_format") or what,
        "text": what,
        "source": event.get("log_namespace", ""),
        **dict(_fields(event, mentioned=True)),
    }
    if "log_failure" in event:
        record["traceback"] = event["log_failure"].getTraceback()
    return json.dumps(record, default=str, ensure_ascii=False) + "\n"


def _what(event: LogEvent) -> str:
    """An event's text; mostly its name, in which there is nothing to fill in."""
    text = event.get("log_format")
    return text if type(text) is str and "{" not in text and "}" not in text else formatEvent(event)


def _fields(event: LogEvent, *, mentioned: bool = False) -> Iterator[tuple[str, Any]]:
    """An event's own fields; not those that its text holds already, unless asked for."""
    if not str(event.get("log_namespace", "")).startswith("pfserver"):
        return
    text = event.get("log_format") or ""
    plain = mentioned or "{" not in text
    for key, value in event.items():
        if key[:4] != "log_" and key not in _NOISE and (plain or f"{{{key}" not in text):
            yield key, value


def _word(value: Any) -> str:
    text = str(value)
    return text if _PLAIN(text) else json.dumps(text, ensure_ascii=False)


def _time(event: LogEvent) -> str:
    second, rest = divmod(event["log_time"], 1)
    return f"{_second(int(second))}.{int(rest * 1000):03d}+00:00"


@lru_cache(maxsize=2)
def _second(time: int) -> str:
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _one_event(text: str) -> str:
    """No peer can forge a line of its own in the log."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == " " else f"\\x{ord(c):02x}" for c in text)


def _traceback(event: LogEvent, indent: str) -> str:
    failure = event.get("log_failure")
    if failure is None:
        return ""
    return "".join(f"\n{indent}{line}" for line in failure.getTraceback().rstrip().splitlines())
