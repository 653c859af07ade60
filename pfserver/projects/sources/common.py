"""What data sources share: how they open a file and say what is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from pfserver.errors import JobFailed
from pfserver.numbers import Number

#: The most characters (or bytes) of one record: a longer one is a file with a lost quote or line end.
RECORD = 4 << 20


class Unreadable(dict[str, Any]):
    """Yielded in the place of a record that cannot be read where those behind it can: a failure of that record."""

    text = ""


def unreadable(source: str, text: str, line: int) -> Unreadable:
    """A record's place is taken by what is wrong with it."""
    record = Unreadable()
    record.text = f"{shown(source)}, line {line}: {text}"
    return record


def broken(source: str, text: str, line: int | None = None, column: int | None = None) -> JobFailed:
    """The job fails: its data source cannot be read. Names the file, never its folder, and no password of a URL."""
    where = "" if line is None else f", line {line}"
    where += "" if column is None else f", column {column}"
    return JobFailed(Number.DATA_SOURCE_BROKEN, f"{shown(source)}{where}: {text}")


def shown(source: str) -> str:
    """A source as people may see it: a file's name, a URL's scheme and host."""
    if "://" in source:
        scheme, _, rest = source.partition("://")
        return f"{scheme}://{rest.split('/')[0].rpartition('@')[2]}"
    return Path(source).name


def check_options(source: str, options: Mapping[str, Any], known: set[str]) -> None:
    """Refuse options that would have no effect."""
    for key in options:
        if key not in known | {"source"}:
            raise broken(
                source, f"unknown key {key!r} in [data]; the keys are: {', '.join(sorted(known | {'source'}))}"
            )


@contextmanager
def opened(source: str, encoding: str | None = None) -> Iterator[IO[Any]]:
    """A source's file, as bytes or in an encoding. Raises ``JobFailed`` where it cannot be opened."""
    try:
        file = Path(source).open(encoding=encoding, newline="") if encoding else Path(source).open("rb")  # noqa: SIM115
    except LookupError as error:
        raise broken(source, f"there is no encoding {encoding!r}") from error
    except OSError as error:
        raise broken(source, f"cannot be read: {error.strerror}") from error
    with file:
        yield file


def undecodable(source: str, encoding: str) -> tuple[int, int] | tuple[()]:
    """Line and column of the first bytes that do not fit; nothing where lines cannot be told from bytes."""
    encoding = encoding.lower().replace("_", "-").removesuffix("-sig")
    if len("\n".encode(encoding)) != 1:
        return ()
    with Path(source).open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(RECORD), b""), 1):
            try:
                line.decode(encoding)
            except UnicodeDecodeError as error:
                return number, len(line[: error.start].decode(encoding)) + 1
    return ()
