"""The one table of message numbers: what follows ``J`` and ``R`` in the Pageflex Server socket API.

Numbers below 5000 inform, 5000 and above are errors (Pageflex: monitor). Those marked *fixed* are given by the vendor's
reference or by what clients in the field search for; all others are pfserver's own. ``docs/`` prints this table.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Self


class Number(IntEnum):
    """A message number; ``meaning`` is its line in the documentation and ``fixed`` tells whether clients rely on it."""

    meaning: str
    fixed: bool

    def __new__(cls, value: int, meaning: str, fixed: bool = False) -> Self:
        member = int.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        member.fixed = fixed
        return member

    # -- information --------
    OK = 0, "success: the result follows", True
    ENDED = 1, "Transaction <id> ended: the last line of every monitor", True
    COMPLETED = 20, "Job completed successfully", True
    PARTIAL = 21, "Job partially completed: at least one record failed", True
    FAILED = 22, "Job failed", True
    CANCELLED = 23, "Job cancelled by user", True
    MACHINE = 100, "Machine name: clients build the output path from it", True
    STATUS = 101, "Job Status = …, once, before the completion line"
    QUEUED = 110, "the job waits in its queue"
    STARTED = 111, "a backend has begun with the job"
    PROGRESS = 112, "documents and pages produced so far, at most twice a second"
    OUTPUT = 113, "a file was produced"
    NOTE = 114, "something the backend wants to be known"
    CANCELLING = 115, "a cancel was asked for; the current document is finished"
    RETRY = 116, "the job was taken up again after its server, worker or lease was lost"
    UNKNOWN_VARIABLE = 117, "a _sys_ variable that this server does not know was ignored"
    LEASED = 118, "a factory took the job"

    # -- errors told by a monitor --------
    RULE_FAILED = 5000, "Evaluation failed for variable: a rule threw, returned nothing or ran out of its limits", True
    RECORD_DATA = 5001, "a record lacks a column or holds a value that does not fit"
    RECORD_TEMPLATE = 5002, "the template could not be set for this record"
    RECORD_CRASHED = 5003, "the worker process died on this record, again and again"
    TOO_MANY_FAILURES = 5004, "further record failures are counted but not listed"
    PROJECT_BROKEN = 5010, "the project file cannot be used"
    TEMPLATE_BROKEN = 5011, "the template cannot be compiled"
    DATA_SOURCE_BROKEN = 5012, "the data source cannot be read"
    RULES_BROKEN = 5013, "the rules script cannot be loaded"
    OUTPUT_BROKEN = 5014, "the output could not be written, e.g. the disk is full"
    ATTEMPTS_SPENT = 5015, "the job was given up after its last attempt"
    BACKEND_BROKEN = 5016, "the backend failed; the server's log has the details"
    DOCUMENT_BROKEN = 5017, "the document cannot be converted"
    TIMED_OUT = 5018, "the job took longer than it may"
    PROGRAM_FAILED = 5019, "the program that the job runs ended with an error"

    # -- errors that answer a packet --------
    INTERNAL = 5100, "an error inside the server; its log has the details"
    NOT_XML = 5101, "the packet is not well-formed XML"
    WRONG_ROOT = 5102, "the packet's root element is not job_command"
    DOCTYPE = 5103, "the packet holds a DOCTYPE, which is refused"
    TOO_LARGE = 5104, "the packet is larger than the limit"
    TOO_DEEP = 5105, "the packet's elements are nested deeper than the limit"
    TOO_MANY_VARIABLES = 5106, "the packet has more variables than the limit"
    TOO_SLOW = 5107, "the packet was not complete in time"
    TRUNCATED = 5108, "the connection was closed before the packet was complete"
    ENCODING = 5109, "the packet's encoding is unknown, or its bytes do not fit it"
    UNKNOWN_COMMAND = 5110, "the command is not one of the seven"
    MISSING_VARIABLE = 5111, "a variable that the command needs is missing or empty"
    BAD_VARIABLE = 5112, "a variable's value cannot be used"
    NO_SUCH_TRANSACTION = 5113, "there is no such transaction"
    NO_SUCH_PROJECT = 5114, "there is no such project"
    NO_SUCH_JOB = 5115, "the project has no such job"
    BAD_PROJECT = 5116, "the project file cannot be used"
    OUTSIDE_ROOT = 5117, "a path leaves the folder it must stay in"
    NOT_SUPPORTED = 5118, "no backend here takes such a job"
    NOT_ALLOWED = 5119, "the client may not do this"
    BUSY = 5120, "the server has as many connections or waiting jobs as it may"
    STORE_UNAVAILABLE = 5121, "the job could not be stored, e.g. the disk is full; nothing was accepted"
    STOPPING = 5122, "the server is stopping and takes no new jobs"
    WRONG_STATE = 5123, "the job's state does not allow this"
    NO_SUCH_QUEUE = 5124, "there is no such queue"

    @property
    def is_error(self) -> bool:
        """Whether clients take the message for an error (5000 and above)."""
        return self >= 5000
