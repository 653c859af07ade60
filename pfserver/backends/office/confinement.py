"""What LibreOffice may see of the machine: programs, fonts, its profile and its documents; no network.

A document can name any file as a picture, and LibreOffice's own settings keep it from only some of the ways to do so.
Landlock (Linux 5.13 and later) lets a process give up rights for itself and all that it starts, without privileges.
See landlock(7). Used by ``unoworker``, so it needs nothing of pfserver.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Iterable

#: The same numbers on every architecture that Debian has.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION, _PATH_BENEATH = 1, 1
_NO_NEW_PRIVILEGES = 38

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_FILE, _MAKE_SOCKET = (1 << bit for bit in (0, 1, 2, 3, 5, 9))
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_TRUNCATE = 1 << 14

#: Those of a single file.
_OF_A_FILE = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE

#: The rights on files that each version of Landlock knows: the first has 13; then come a file's move to another
#: folder, and its truncation.
_KNOWN = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1}

#: From this version on it knows the making of TCP connections, and waiting for them.
_NETWORK, _TCP = 4, 0b11

#: Folders of programs, libraries, fonts and what they are configured with; nobody's data.
SYSTEM = (
    *("/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/opt", "/etc", "/proc", "/sys"),
    *("/var/lib/libreoffice", "/var/spool/libreoffice", "/var/cache/fontconfig"),
)


def version() -> int:
    """The version of Landlock that this kernel has; 0 for none."""
    if sys.platform != "linux":
        return 0
    return max(0, int(_libc().syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION))))


def confine(readable: Iterable[str], writable: Iterable[str]) -> bool:
    """Let this thread and all that it starts see nothing but ``SYSTEM`` and these paths; False where that cannot be.

    Paths that do not exist are left out. Raises ``OSError`` where the kernel knows Landlock but refuses.
    """
    found = version()
    if not found:
        return False
    every = _KNOWN[min(found, max(_KNOWN))]
    libc = _libc()
    attributes = struct.pack("=QQ", every, _TCP) if found >= _NETWORK else struct.pack("=Q", every)
    rules = _checked(libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0)))
    try:
        for path in (*SYSTEM, *readable):
            _allow(rules, path, _READ)
        for path in writable:
            _allow(rules, path, every)
        _allow(rules, "/dev", _READ | _WRITE_FILE)
        # LibreOffice's pipe.
        _allow(rules, "/tmp", _MAKE_SOCKET | _REMOVE_FILE)
        zero = ctypes.c_ulong(0)
        _checked(libc.prctl(_NO_NEW_PRIVILEGES, ctypes.c_ulong(1), zero, zero, zero))
        _checked(libc.syscall(_RESTRICT_SELF, rules, ctypes.c_uint32(0)))
    finally:
        os.close(rules)
    return True


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _allow(rules: int, path: str, rights: int) -> None:
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not os.path.isdir(path):  # noqa: PTH112 - nothing but os is needed
            rights &= _OF_A_FILE
        rule = struct.pack("=Qi", rights, handle)
        _checked(_libc().syscall(_ADD_RULE, rules, _PATH_BENEATH, rule, ctypes.c_uint32(0)))
    finally:
        os.close(handle)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
