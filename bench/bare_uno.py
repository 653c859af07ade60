"""Bare UNO calls: load, store, close, nothing else; a program for the Python that has the ``uno`` module.

Arguments: the document's path, its type, a folder for the profile and the results, how many conversions, the seconds
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
    document, doctype, folder, count, pause = sys.argv[1:]
    os.setsid()
    Path(folder).mkdir()
    options = {"profile": f"{folder}/profile", "soffice": shutil.which("soffice"), "pipe": f"bench-{os.getpid()}"}
    engine = unoworker.WarmEngine(options)
    job = {"source": document, "folder": folder, "doctype": doctype, "format": "pdf"}
    job |= {"pages": "", "password": "", "pdf_standard": ""}
    times = []
    for _ in range(int(count)):
        time.sleep(float(pause))
        begin = time.perf_counter()
        engine.convert(job)
        engine.rest()
        times.append((time.perf_counter() - begin) * 1000)
    print(json.dumps(times), flush=True)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
