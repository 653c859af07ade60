"""What is asked of a conversion, as the variables of its job: their names, and their values checked.

========================  ==========================================================================================
variable                  meaning
========================  ==========================================================================================
``_sys_OutputFormat``     ``pdf``, ``png`` (an image of each page) or ``odf`` (stored anew); pdf where nothing is said
``_sys_Pages``            ``3``, ``2-4`` or ``2-`` (to the end); all pages by default
``_sys_PdfStandard``      ``a-1b``, ``a-2b`` or ``a-3b``; a plain PDF by default
``_sys_Resolution``       pixels an inch of a PNG, 96 by default
``_sys_Password``         opens an encrypted document; taken out of the variables before the job is stored
``_sys_Application``      only a factory that has this application may do it; any by default
``_sys_Version``          only this version of the application
``_sys_OwnFactories``     ``TRUE``: only factories of the account that asks
``_sys_Upload``           where an uploaded document is kept; set by the front end that took it
========================  ==========================================================================================
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath

from attrs import frozen

from pfserver.errors import BadVariable, NotSupported
from pfserver.model import JobRequest

OUTPUT_FORMAT = "_sys_OutputFormat"
PAGES = "_sys_Pages"
PDF_STANDARD = "_sys_PdfStandard"
RESOLUTION = "_sys_Resolution"
PASSWORD = "_sys_Password"
APPLICATION = "_sys_Application"
VERSION = "_sys_Version"
OWN_FACTORIES = "_sys_OwnFactories"
UPLOAD = "_sys_Upload"
SECRET = "_sys_Secret"

VARIABLES = frozenset(
    {OUTPUT_FORMAT, PAGES, PDF_STANDARD, RESOLUTION, PASSWORD, APPLICATION, VERSION, OWN_FACTORIES, UPLOAD, SECRET}
)

DOCTYPES = frozenset(
    {"odt", "ods", "odp", "odg", "docx", "xlsx", "pptx", "doc", "xls", "ppt", "rtf", "html", "csv", "txt"}
)
_SAME = {"htm": "html", "xhtml": "html"}

#: What is made where nobody has said it.
DEFAULT_FORMAT = "pdf"

FORMATS = ("pdf", "png", "odf")
STANDARDS = ("a-1b", "a-2b", "a-3b")

#: Pixels an inch: 600 of an A4 page are 35 megapixels, about what pdftoppm does in a second.
RESOLUTIONS = range(10, 601)

_RESOLUTION = re.compile(r"[0-9]{1,6}")
_PAGES = re.compile(r"([1-9][0-9]{0,5})(?:(-)([1-9][0-9]{0,5})?)?")


@frozen(kw_only=True)
class Conversion:
    """A checked request."""

    doctype: str
    format: str = ""
    """"" leaves it to the one who converts; here that is pdf."""
    first: int = 1
    last: int = 0
    """0: to the end."""
    pdf_standard: str = ""
    resolution: int = 96
    application: str = ""
    version: str = ""
    own_factories: bool = False

    @property
    def pages(self) -> str:
        """As LibreOffice's export filters want it; "" for all pages."""
        if self.last:
            return f"{self.first}-{self.last}"
        return f"{self.first}-" if self.first > 1 else ""


def doctype_of(name: str) -> str:
    """The type that a file's name says; "" for one that is not known."""
    suffix = PurePosixPath(name.replace("\\", "/")).suffix[1:].lower()
    suffix = _SAME.get(suffix, suffix)
    return suffix if suffix in DOCTYPES else ""


def conversion_of(request: JobRequest) -> Conversion:
    """The conversion that a job is. Raises ``NotSupported``, ``BadVariable``."""
    variables = request.variables
    doctype = doctype_of(request.project)
    if not doctype:
        raise NotSupported(f"{request.project!r} has a suffix that is not one of {', '.join(sorted(DOCTYPES))}")
    first, last = _pages(variables.get(PAGES, ""))
    return Conversion(
        doctype=doctype,
        format=_one_of(variables, OUTPUT_FORMAT, FORMATS, ""),
        first=first,
        last=last,
        pdf_standard=_one_of(variables, PDF_STANDARD, STANDARDS, ""),
        resolution=_resolution(variables.get(RESOLUTION, "")),
        application=variables.get(APPLICATION, "").strip(),
        version=variables.get(VERSION, "").strip(),
        own_factories=_one_of(variables, OWN_FACTORIES, ("true", "false"), "false") == "true",
    )


def _one_of(variables: Mapping[str, str], name: str, allowed: tuple[str, ...], default: str) -> str:
    value = variables.get(name, "").strip().lower() or default
    if value and value not in allowed:
        raise BadVariable(f"{name} is {value[:40]!r}, not one of {', '.join(filter(None, allowed))}")
    return value


def _pages(text: str) -> tuple[int, int]:
    text = text.replace(" ", "")
    if not text:
        return 1, 0
    match = _PAGES.fullmatch(text)
    if match is None:
        raise BadVariable(f"{PAGES} is {text[:40]!r}, not a page or a range like 3, 2-4 or 2-")
    first = int(match[1])
    last = int(match[3]) if match[3] else (0 if match[2] else first)
    if last and last < first:
        raise BadVariable(f"{PAGES} is {text[:40]!r}: it ends before it begins")
    return first, last


def _resolution(text: str) -> int:
    if not text.strip():
        return 96
    if _RESOLUTION.fullmatch(text.strip()) is None or int(text) not in RESOLUTIONS:
        raise BadVariable(f"{RESOLUTION} is {text[:40]!r}, not a number from {RESOLUTIONS[0]} to {RESOLUTIONS[-1]}")
    return int(text)
