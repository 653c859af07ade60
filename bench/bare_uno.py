"""Bare UNO calls: load, store, close, nothing else; a program for the Python that has the ``uno`` module.

Arguments: ``plain`` for calls as everybody makes them, or ``ours`` for those of the office backend, which ask less of
LibreOffice; the document's path, its type, a folder for the profile and the results, how many conversions, the seconds
between two of them. Prints the milliseconds of each as JSON.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "pfserver" / "backends" / "office"))

import unoworker


def main() -> None:
    how, document, doctype, folder, count, pause = sys.argv[1:]
    os.setsid()
    Path(folder).mkdir()
    options = {"profile": f"{folder}/profile", "soffice": shutil.which("soffice"), "pipe": f"bench-{os.getpid()}"}
    engine = unoworker.WarmEngine(options)
    job = {"source": document, "folder": folder, "doctype": doctype, "format": "pdf"}
    job |= {"pages": "", "password": "", "pdf_standard": ""}
    call = plain if how == "plain" else ours
    times = []
    for _ in range(int(count)):
        time.sleep(float(pause))
        begin = time.perf_counter()
        call(engine, job)
        times.append((time.perf_counter() - begin) * 1000)
    print(json.dumps(times), flush=True)
    os.killpg(0, signal.SIGKILL)


def plain(engine: unoworker.WarmEngine, job: dict[str, str]) -> None:
    """A call as one finds it in any program that converts with UNO."""
    name, _ = unoworker.IMPORT_FILTERS[job["doctype"]]
    source, target = (engine.uno.systemPathToFileUrl(path) for path in (job["source"], job["folder"] + "/result.pdf"))
    part = unoworker.PARTS.get(job["doctype"], "writer")
    load = engine.properties({"Hidden": True, "ReadOnly": True, "FilterName": name})
    document = engine.desktop.loadComponentFromURL(source, "_blank", 0, load)
    document.storeToURL(target, engine.properties({"FilterName": part + "_pdf_Export", "Overwrite": True}))
    document.close(True)


def ours(engine: unoworker.WarmEngine, job: dict[str, str]) -> None:
    """A call of the office backend."""
    engine.convert(job)
    engine.rest()


if __name__ == "__main__":
    main()
