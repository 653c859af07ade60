"""Drives one LibreOffice; a program of its own, run by whichever Python has the ``uno`` module.

It needs nothing of pfserver. Its argument is a JSON object (see ``main``); requests come as JSON lines on standard
input and are answered as JSON lines on standard output; after a conversion a second line tells that LibreOffice has
closed the document and rests. It leads its own process group, in which all that it starts
lives, and ends that group as soon as its standard input closes: whatever becomes of the server, nothing is left over.

Two engines answer the same requests: *warm* keeps a LibreOffice listening and drives it by UNO; *cold* starts one for
each document, where there is no ``uno`` module.
"""

from __future__ import annotations

import importlib
import json
import os
import queue
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

#: Seconds between two tries to connect to a LibreOffice that is starting.
CONNECT_INTERVAL = 0.02

#: Seconds in which LibreOffice has to start.
START_TIMEOUT = 30.0

#: Which processes belong to LibreOffice is found out anew after so many conversions: to search /proc costs more than to
#: read their memory.
LOOK_AGAIN = 20

#: Exit statuses beyond this one tell of signals.
LAST_STATUS = 127

#: doctype -> (the import filter, its options). Named, so that LibreOffice does not guess: it takes anything for text.
IMPORT_FILTERS = {
    "odt": ("writer8", ""),
    "ods": ("calc8", ""),
    "odp": ("impress8", ""),
    "odg": ("draw8", ""),
    "docx": ("MS Word 2007 XML", ""),
    "xlsx": ("Calc MS Excel 2007 XML", ""),
    "pptx": ("Impress MS PowerPoint 2007 XML", ""),
    "doc": ("MS Word 97", ""),
    "xls": ("MS Excel 97", ""),
    "ppt": ("MS PowerPoint 97", ""),
    "rtf": ("Rich Text Format", ""),
    "html": ("HTML (StarWriter)", ""),
    "csv": ("Text - txt - csv (StarCalc)", "44,34,76,1"),
    "txt": ("Text (encoded)", "UTF8"),
}

#: Which part of LibreOffice opens a document: those of all doctypes that are not Writer's.
PARTS = {"ods": "calc", "xlsx": "calc", "xls": "calc", "csv": "calc", "odg": "draw"}
PARTS |= {"odp": "impress", "pptx": "impress", "ppt": "impress"}

#: The OpenDocument type that each of them writes.
SUFFIXES = {"writer": "odt", "calc": "ods", "draw": "odg", "impress": "odp"}

#: PDF/A level -> what LibreOffice calls it.
PDF_VERSIONS = {"": 0, "a-1b": 1, "a-2b": 2, "a-3b": 3}


class Refused(Exception):
    """The document or the request cannot be converted; the text says why."""


class Lost(Exception):
    """LibreOffice is gone."""


# -- LibreOffice that listens --------


class WarmEngine:
    """One LibreOffice, listening on a named pipe, and the bridge to it."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.uno: Any = importlib.import_module("uno")
        self.profile = options["profile"]
        address = "pipe,name=" + options["pipe"] + ";urp;StarOffice.ComponentContext"
        arguments = ["--accept=" + address, "--nodefault", "--nolockcheck"]
        self.process = start(options["soffice"], self.profile, arguments)
        threading.Thread(target=self._watch, daemon=True).start()
        context = self._connect("uno:" + address)
        self.desktop = context.ServiceManager.createInstanceWithContext("com.sun.star.frame.Desktop", context)
        # Process ids of LibreOffice and of the program that starts it.
        self._pids = descendants(self.process.pid)
        self._asked = 0
        self.done: Any = None

    def _watch(self) -> None:
        """End with LibreOffice: the server then knows at once, also between two conversions."""
        self.process.wait()
        os.killpg(0, signal.SIGKILL)

    def _connect(self, url: str) -> Any:
        local = self.uno.getComponentContext()
        resolver = local.ServiceManager.createInstanceWithContext("com.sun.star.bridge.UnoUrlResolver", local)
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            try:
                return resolver.resolve(url)
            except Exception:  # noqa: BLE001 - UNO's exceptions; there is nobody at the pipe yet
                if time.monotonic() > deadline:
                    raise Lost("LibreOffice did not start") from None
                time.sleep(CONNECT_INTERVAL)

    def memory(self) -> int:
        """Bytes of memory that LibreOffice holds now."""
        sizes = [resident(pid) for pid in self._pids]
        self._asked += 1
        if not all(sizes) or self._asked % LOOK_AGAIN == 0:
            self._pids = descendants(self.process.pid)
            sizes = [resident(pid) for pid in self._pids]
        return sum(sizes)

    def ping(self) -> None:
        """Raises where LibreOffice does not answer."""
        self.desktop.getCurrentComponent()

    def stop(self) -> None:
        """Ask LibreOffice to end."""
        self.desktop.terminate()

    def convert(self, job: dict[str, Any]) -> list[str]:
        """Convert a document; gives the names of what was written to the job's folder.

        The document is still open then: nobody who waits for the result has to wait until it is closed.
        """
        self.done = document = self._load(job)
        try:
            # The import filter decides what a document becomes; to ask LibreOffice takes longer.
            part = PARTS.get(job["doctype"], "writer")
            if job["format"] == "odf":
                return [self._store(document, job, "result." + SUFFIXES[part], part + "8", {})]
            data = {"SelectPdfVersion": PDF_VERSIONS[job["pdf_standard"]]}
            if job["pages"]:
                data["PageRange"] = job["pages"]
            return [self._store(document, job, "result.pdf", part + "_pdf_Export", data)]
        except BaseException:
            self.rest()
            raise

    def _load(self, job: dict[str, Any]) -> Any:
        name, options = IMPORT_FILTERS[job["doctype"]]
        # Hidden: without it the packages that have no GUI crash on every spreadsheet.
        # Macros never run, links are never followed, nothing is locked or written beside the document.
        # For conversion, as soffice --convert-to has it: no toolbars are made, which take a quarter of a letter.
        properties = {"Hidden": True, "HiddenForConversion": True, "ReadOnly": True, "FilterName": name}
        properties |= {"MacroExecutionMode": 0, "UpdateDocMode": 0}
        if options:
            properties["FilterOptions"] = options
        if job["password"]:
            properties["Password"] = job["password"]
        url = self.uno.systemPathToFileUrl(job["source"])
        try:
            document = self.desktop.loadComponentFromURL(url, "_blank", 0, self.properties(properties))
        except Exception as error:
            raise Refused("LibreOffice cannot read the document" + reason(error)) from error
        if document is None:
            hint = "; is the password right?" if job["password"] else ""
            raise Refused("LibreOffice cannot read the document" + hint)
        return document

    def _store(self, document: Any, job: dict[str, Any], name: str, filter_name: str, data: dict[str, Any]) -> str:
        # Who keeps the result brings it to the disk.
        properties: dict[str, Any] = {"FilterName": filter_name, "Overwrite": True, "NoFileSync": True}
        if data:
            properties["FilterData"] = self.uno.Any("[]com.sun.star.beans.PropertyValue", self.properties(data))
        url = self.uno.systemPathToFileUrl(str(Path(job["folder"], name)))
        try:
            document.storeToURL(url, self.properties(properties))
        except Exception as error:
            if job["pages"]:
                raise Refused("there are no such pages: " + job["pages"]) from error
            raise Refused("LibreOffice cannot write the result" + reason(error)) from error
        return name

    def rest(self) -> None:
        """Close the document, if one is open."""
        document, self.done = self.done, None
        if document is None:
            return
        try:
            document.close(True)
        except Exception:  # noqa: BLE001 - LibreOffice is gone, or vetoes: the next ping tells
            sys.stderr.write("a document could not be closed\n")

    def properties(self, values: dict[str, Any]) -> tuple[Any, ...]:
        """What UNO takes as keyword arguments."""
        made = []
        for name, value in values.items():
            item = self.uno.createUnoStruct("com.sun.star.beans.PropertyValue")
            item.Name, item.Value = name, value
            made.append(item)
        return tuple(made)


def reason(error: Exception) -> str:
    """What UNO says, without its URLs: they hold paths."""
    text = str(getattr(error, "Message", "")).strip().splitlines()
    if not text or "file://" in text[0] or "/" in text[0]:
        return ""
    return ": " + text[0][:200]


# -- LibreOffice for one document --------


class ColdEngine:
    """Starts LibreOffice for each document. Slower by about a second, and without passwords."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.soffice = options["soffice"]
        self.profile = options["profile"]

    def memory(self) -> int:
        """Nothing stays."""
        return 0

    def ping(self) -> None:
        """Nothing waits."""

    def rest(self) -> None:
        """Nothing is open."""

    def stop(self) -> None:
        """Nothing waits."""

    def convert(self, job: dict[str, Any]) -> list[str]:
        """Convert a document; gives the names of what was written to the job's folder."""
        if job["password"]:
            raise Refused("a password needs the uno module (Debian: python3-uno)")
        filter_name, options = IMPORT_FILTERS[job["doctype"]]
        wanted, suffix = self._target(job)
        folder = Path(job["folder"], "cold")
        shutil.rmtree(folder, ignore_errors=True)  # of a first try
        folder.mkdir()
        infilter = filter_name + (":" + options if options else "")
        arguments = ["--infilter=" + infilter, "--convert-to", wanted, "--outdir", str(folder), job["source"]]
        process = start(self.soffice, self.profile, arguments)
        status = process.wait()
        if status < 0 or status > LAST_STATUS:
            # Ended by a signal, or so its shell script says: whatever lies there may be the half of a result.
            raise Lost("LibreOffice ended while it worked on the document")
        made = list(folder.iterdir())  # else the exit status is 0 whatever happened
        if not made:
            if job["pages"]:
                raise Refused("LibreOffice cannot convert the document; perhaps there are no such pages")
            raise Refused("LibreOffice cannot convert the document")
        name = "result." + suffix
        # Not a rename: from one folder to another the first version of Landlock lets nobody do that.
        shutil.move(made[0], Path(job["folder"], name))
        return [name]

    def _target(self, job: dict[str, Any]) -> tuple[str, str]:
        part = PARTS.get(job["doctype"], "writer")
        if job["format"] == "odf":
            return SUFFIXES[part] + ":" + part + "8", SUFFIXES[part]
        data: dict[str, Any] = {"SelectPdfVersion": {"type": "long", "value": str(PDF_VERSIONS[job["pdf_standard"]])}}
        if job["pages"]:
            data["PageRange"] = {"type": "string", "value": job["pages"]}
        return "pdf:" + part + "_pdf_Export:" + json.dumps(data), "pdf"


def start(soffice: str, profile: str, arguments: list[str]) -> subprocess.Popen[bytes]:
    """Start LibreOffice in this process group, with its own profile."""
    temporary = Path(profile, "tmp")
    temporary.mkdir(parents=True, exist_ok=True)
    environment = {
        **{name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "LC_ALL", "TZ")},
        "HOME": profile,
        "TMPDIR": str(temporary),
        "SAL_USE_VCLPLUGIN": "svp",
    }
    fixed = [
        soffice,
        "-env:UserInstallation=file://" + quote(profile),
        "--headless",
        "--invisible",
        "--nologo",
        "--norestore",
    ]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(fixed + arguments, stdin=quiet, stdout=quiet, stderr=quiet, env=environment)


def descendants(pid: int) -> list[int]:
    """A process and all below it; only itself where the kernel does not tell."""
    found = [pid]
    try:
        # Each thread has its own: oosplash starts LibreOffice in another than its first.
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in children.read_text().split():
                found += descendants(int(child))
    except OSError:
        return found
    return found


def resident(pid: int) -> int:
    """Bytes of memory that a process holds; 0 where the kernel does not tell."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return 0


def rasterise(pdftoppm: str, folder: str, resolution: int) -> list[str]:
    """Make ``result.pdf`` one PNG a page."""
    if not pdftoppm:
        raise Refused("PNG needs pdftoppm (Debian: poppler-utils)")
    pdf = Path(folder, "result.pdf")
    subprocess.run(
        [pdftoppm, "-png", "-r", str(resolution), str(pdf), str(Path(folder, "page"))],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    pdf.unlink()
    return sorted(path.name for path in Path(folder).glob("page*.png"))


# -- requests and answers --------


def answer(engine: WarmEngine | ColdEngine, options: dict[str, Any], job: dict[str, Any]) -> dict[str, Any]:
    """Do what a request asks for."""
    try:
        if job["do"] == "ping":
            engine.ping()
            return {"files": []}
        files = engine.convert(job)
        if job["format"] == "png":
            files = rasterise(options["pdftoppm"], job["folder"], job["resolution"])
        return {"files": files}
    except Lost as error:
        return {"lost": str(error)}
    except OSError as error:
        return {"refused": f"the document cannot be converted: {error.strerror or error}"}
    except Refused as error:
        try:
            engine.ping()
        except Exception:  # noqa: BLE001 - UNO's exceptions: it was not the document, LibreOffice is gone
            return {"lost": "LibreOffice ended while it worked on the document"}
        return {"refused": str(error)}


def confine(options: dict[str, Any]) -> bool:
    """Leave this process and all that it starts only what a conversion needs; False where the kernel cannot do that."""
    if not options["confine"]:
        return False
    soffice = Path(options["soffice"]).resolve()
    readable = [sys.prefix, sys.base_prefix, str(Path(__file__).parent), options["soffice"], options["pdftoppm"]]
    readable += options["readable"]
    if soffice.parent.name == "program":
        readable.append(str(soffice.parents[1]))
    try:
        return bool(importlib.import_module("confinement").confine(readable, [options["profile"], options["work"]]))
    except OSError as error:
        sys.stderr.write(f"not confined: {error}\n")
        return False


def read_requests(requests: queue.SimpleQueue[dict[str, Any]]) -> None:
    """Pass requests on; end everything once nobody can send any more."""
    for line in sys.stdin:
        requests.put(json.loads(line))
    os.killpg(0, signal.SIGKILL)


def main() -> None:
    """Argument: what ``listener`` makes of its ``Launch``, as JSON."""
    os.setsid()
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    options = json.loads(sys.argv[1])
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever else is printed is no answer
    # Before there are other threads: they would keep their rights.
    confined = confine(options)
    requests: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=read_requests, args=(requests,), daemon=True).start()

    def tell(message: dict[str, Any]) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    shutil.rmtree(Path(options["profile"], "tmp"), ignore_errors=True)
    try:
        engine = WarmEngine(options) if options["warm"] else ColdEngine(options)
    except Exception as error:  # noqa: BLE001 - no uno module, no pipe, no LibreOffice: the server hears why
        tell({"failed": f"{type(error).__name__}: {error}"})
        os.killpg(0, signal.SIGKILL)
        return
    tell({"ready": True, "memory": engine.memory(), "confined": confined})
    while True:
        job = requests.get()
        if job["do"] == "stop":
            engine.stop()
            time.sleep(5.0)  # ends with LibreOffice before that
            os.killpg(0, signal.SIGKILL)
        tell(answer(engine, options, job))
        if job["do"] == "convert":
            engine.rest()
            tell({"rested": True, "memory": engine.memory()})


if __name__ == "__main__":
    main()
