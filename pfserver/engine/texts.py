"""What the engine itself tells about a job. The shapes of the last lines are what clients parse (Pageflex: monitor)."""

from __future__ import annotations

from pfserver.model import Job, Outcome, Progress
from pfserver.numbers import Number

Text = tuple[int, str]

#: A fault of ours or of a plugin; nothing about it leaves the server.
BROKEN: Text = (Number.BACKEND_BROKEN, "The backend failed on this job; the server's log has the details.")

#: Three words, then the counts: clients take words 4 and 7, counted from 0.
_COMPLETION = {
    Outcome.COMPLETED: "Job completed successfully.",
    Outcome.PARTIAL: "Job partially completed.",
    Outcome.FAILED: "Job has failed.",
    Outcome.CANCELLED: "Cancelled by user.",
}


def closing(job: Job, outcome: Outcome, progress: Progress) -> list[Text]:
    """The last three messages of a job: its status, its completion line, its end."""
    return [
        (Number.STATUS, f"Job Status = {outcome.status}"),
        (outcome, f"{_COMPLETION[outcome]} {progress.documents} documents and {progress.pages} pages produced."),
        (Number.ENDED, f"Transaction {job.transaction_id} ended"),
    ]


def machine(host: str) -> Text:
    """Where the output is; the first message of a job that was taken."""
    return (Number.MACHINE, f"Machine name: {host}")


def progress_line(progress: Progress) -> Text:
    """How far a long job is."""
    total = "" if progress.total is None else f" of {progress.total}"
    failures = f", {progress.failures} failed" if progress.failures else ""
    return (Number.PROGRESS, f"{progress.documents}{total} documents, {progress.pages} pages{failures}")


def counts(job: Job) -> Progress:
    """The stored counts of a job."""
    return Progress(documents=job.documents, pages=job.pages, failures=job.failures, total=job.total)


def attempts_spent(job: Job, reason: str) -> Text:
    """Why a job is not tried again."""
    return (Number.ATTEMPTS_SPENT, f"Given up after {job.attempts} attempts: {reason}")


def retry(reason: str) -> Text:
    """Why a job goes back to its queue."""
    return (Number.RETRY, f"Back in the queue: {reason}")
