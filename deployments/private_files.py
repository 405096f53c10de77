"""Files that only the user of the service can read."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

UMASK = 0o077
_OTHERS = 0o077


def make_private(folder: Path) -> None:
    """Create a folder that only this user can enter, or close an existing one to others.

    A folder that was open is closed with everything in it; links in it are not followed. Folders
    of other users stay as they are, and so do those that all users share, such as /tmp.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = folder.resolve()
    mode = folder.stat().st_mode
    if not mode & _OTHERS or mode & stat.S_ISVTX:
        return
    _close(folder)
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            _close(Path(parent, name))


def _close(path: Path) -> None:
    with contextlib.suppress(OSError):  # of another user, or deleted meanwhile
        found = path.lstat()
        if found.st_uid == os.geteuid() and not stat.S_ISLNK(found.st_mode):
            path.chmod(stat.S_IMODE(found.st_mode) & ~_OTHERS)
