"""Memory of a browser: its processes share one session, whose number is the browser's own id."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Final

_OWN_KIB: Final = re.compile(r"^Rss(?:Anon|Shmem):\s+(\d+) kB$", re.MULTILINE)
_SESSION_FIELD: Final = 3
"""Among the fields of /proc/PID/stat behind the name of the program."""


def session_bytes(session: int) -> int:
    """Return the resident memory of all processes of a session, mapped files left out.

    A page that several processes share is counted in each: the sum is too high rather than too
    low. Processes that end meanwhile count nothing.
    """
    total = 0
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):  # it ends meanwhile
                total += _own_bytes(process, session)
    return total


def _own_bytes(process: Path, session: int) -> int:
    fields = (process / "stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2]
    if int(fields.split()[_SESSION_FIELD]) != session:
        return 0
    status = (process / "status").read_text(encoding="ascii", errors="replace")
    return sum(int(kib) * 1024 for kib in _OWN_KIB.findall(status))
