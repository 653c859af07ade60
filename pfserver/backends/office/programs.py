"""Where LibreOffice, a Python that can drive it, and pdftoppm are on this machine; and what a profile begins with."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import field, frozen

from pfserver.errors import ConfigurationError

INSTALL_HINT = (
    "LibreOffice was not found on the server. Debian and Ubuntu: apt install libreoffice-writer-nogui "
    "libreoffice-calc-nogui libreoffice-impress-nogui libreoffice-draw-nogui python3-uno poppler-utils; elsewhere "
    'install it and set soffice = "/path/to/soffice" in [backends.office]'
)

#: Macros never run; nothing is kept for a recovery; pictures and parts of other files or servers are not fetched, as
#: far as LibreOffice asks these settings: ``confinement`` sees to the rest.
#: Not every import filter asks whether it may follow a link (HTML's does not for style sheets): so the network is
#: behind a proxy that does not exist, at the port "discard" of this machine.
_NOBODY, _DISCARD = "127.0.0.1", "9"
_SETTINGS = (
    ("org.openoffice.Inet/Settings", "ooInetProxyType", "2"),
    ("org.openoffice.Inet/Settings", "ooInetHTTPProxyName", _NOBODY),
    ("org.openoffice.Inet/Settings", "ooInetHTTPProxyPort", _DISCARD),
    ("org.openoffice.Inet/Settings", "ooInetHTTPSProxyName", _NOBODY),
    ("org.openoffice.Inet/Settings", "ooInetHTTPSProxyPort", _DISCARD),
    ("org.openoffice.Inet/Settings", "ooInetFTPProxyName", _NOBODY),
    ("org.openoffice.Inet/Settings", "ooInetFTPProxyPort", _DISCARD),
    ("org.openoffice.Inet/Settings", "ooInetNoProxy", ""),
    ("org.openoffice.Office.Common/Security/Scripting", "DisableMacrosExecution", "true"),
    ("org.openoffice.Office.Common/Security/Scripting", "BlockUntrustedRefererLinks", "true"),
    ("org.openoffice.Office.Common/Security/Scripting", "MacroSecurityLevel", "3"),
    ("org.openoffice.Office.Writer/Content/Update", "Link", "0"),
    ("org.openoffice.Office.Calc/Content/Update", "Link", "2"),
    ("org.openoffice.Office.Recovery/RecoveryInfo", "Enabled", "false"),
    ("org.openoffice.Office.Common/Save/Document", "AutoSave", "false"),
)

#: What LibreOffice speaks HTTP with, by the names in its own configuration: without these it cannot. With them, a fill
#: of a drawing that is to come from a server makes two of its threads wait for one another for ever.
_PROVIDERS = ("Provider3", "Provider4", "Provider4a", "Provider12", "Provider12a", "Provider12b")
_PROVIDERS_PLACE = "org.openoffice.ucb.Configuration/ContentProviders/Local/SecondaryKeys/Office/ProviderData"


@frozen(kw_only=True)
class Programs:
    """Paths of programs; "" where there is none."""

    soffice: str
    pythons: tuple[str, ...] = field(default=())
    """Those that may have the ``uno`` module; the first that has it is used."""
    pdftoppm: str = ""


def find_programs(options: Mapping[str, Any]) -> Programs:
    """Look for them. Raises ``ConfigurationError`` where one that was configured does not exist."""
    soffice = _configured(options, "soffice") or shutil.which("soffice") or shutil.which("libreoffice") or _in_opt()
    python = _configured(options, "python")
    pythons: list[str] = [python] if python else []
    if soffice and not python:
        bundled = Path(soffice).resolve().parent / "python"
        pythons = [str(one) for one in (bundled, Path("/usr/bin/python3"), Path(sys.executable)) if one.exists()]
    return Programs(
        soffice=soffice,
        pythons=tuple(pythons),
        pdftoppm=_configured(options, "pdftoppm") or shutil.which("pdftoppm") or "",
    )


def _configured(options: Mapping[str, Any], name: str) -> str:
    value = options.get(name, "")
    if not isinstance(value, str) or (value and shutil.which(value) is None):
        raise ConfigurationError(f"{name}: there is no program {value!r}")
    return shutil.which(value) or "" if value else ""


def _in_opt() -> str:
    found = sorted(Path("/opt").glob("libreoffice*/program/soffice"))
    return str(found[-1]) if found else ""


def font_folders() -> tuple[Path, ...]:
    """Where fonts lie that fontconfig knows, links followed. Blocks."""
    try:
        listed = subprocess.run(["fc-list", ":", "file"], capture_output=True, check=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    paths = {os.path.realpath(os.fsdecode(line).rstrip(": ")) for line in listed.splitlines()}
    return tuple(sorted({Path(path).parent for path in paths}))


def make_profile(folder: Path) -> None:
    """Make a fresh profile, replacing what is there. Blocks."""
    shutil.rmtree(folder, ignore_errors=True)
    user = folder / "user"
    user.mkdir(parents=True, mode=0o700)
    items = "".join(
        f'<item oor:path="/{path}"><prop oor:name="{name}" oor:op="fuse"><value>{value}</value></prop></item>\n'
        for path, name, value in _SETTINGS
    )
    removed = "".join(f'<node oor:name="{name}" oor:op="remove"/>' for name in _PROVIDERS)
    items += f'<item oor:path="/{_PROVIDERS_PLACE}">{removed}</item>\n'
    head = '<?xml version="1.0" encoding="UTF-8"?>\n<oor:items xmlns:oor="http://openoffice.org/2001/registry">\n'
    (user / "registrymodifications.xcu").write_text(f"{head}{items}</oor:items>\n", encoding="utf-8")
