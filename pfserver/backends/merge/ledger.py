"""``job.json`` beside the output: counts, timings and each record's pages, written as the job goes on."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic, time
from typing import Any

from pfserver.backends.merge.worker import Produced
from pfserver.model import Artifact, Job, Outcome, Progress


class Ledger:
    """Writes the file in the output folder; only one line of it is in memory. Its methods block.

    The counts stand behind the records, for only then are they known.
    """

    name = "job.json"

    def __init__(self, folder: Path, job: Job, title: str) -> None:
        self.failures = 0
        """How many failures were reported."""
        self.run_files = 0
        """How many run files were begun."""
        self._path = folder / self.name
        self._began = monotonic()
        self._first = True
        head = {
            "transaction": job.transaction_id,
            "project": job.request.project,
            "job": job.request.job,
            "title": title,
            "started": _stamp(job.started_at if job.started_at is not None else time()),
        }
        with self._path.open("w", encoding="utf-8") as file:
            file.write(json.dumps(head, ensure_ascii=False)[:-1] + ', "records": [')

    def add(self, produced: Produced, place: tuple[str, int] | None = None) -> None:
        """Write down what became of a chunk, in the order of records.

        :param place: the run file that the documents go into, and the pages that it had before.
        """
        entries: dict[int, dict[str, Any]] = {}
        run, page = place or ("", 0)
        for document in produced.documents:
            entry: dict[str, Any] = {"record": document.record, "pages": document.pages}
            if document.files:
                entry["files"] = [name for name, _ in document.files]
            elif run:
                entry |= {"files": [run], "page": page + 1}
                page += document.pages
            entries[document.record] = entry
        for failure in produced.failures:
            entry = entries.setdefault(failure.record, {"record": failure.record, "pages": 0, "failures": []})
            entry["failures"].append({"number": int(failure.number), "text": failure.text})
        with self._path.open("a", encoding="utf-8") as file:
            for _, entry in sorted(entries.items()):
                file.write(("" if self._first else ",") + "\n" + json.dumps(entry, ensure_ascii=False))
                self._first = False

    def finish(self, outcome: Outcome, progress: Progress) -> None:
        """Write the counts and close the file."""
        seconds = monotonic() - self._began
        tail = {
            "documents": progress.documents,
            "pages": progress.pages,
            "failures": progress.failures,
            "outcome": outcome.status,
            "finished": _stamp(time()),
            "seconds": round(seconds, 3),
            "documents_per_second": round(progress.documents / seconds, 1) if seconds else None,
        }
        with self._path.open("a", encoding="utf-8") as file:
            file.write("\n], " + json.dumps(tail)[1:] + "\n")

    def artifact(self) -> Artifact:
        """The file as the job's artifact."""
        return Artifact(name=self.name, media_type="application/json", size=self._path.stat().st_size)


def _stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
