"""Temporary folders of browsers: locked while in use, and removed after a replica was killed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import stat
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from loguru import logger

if TYPE_CHECKING:
    from collections.abc import Iterator

_PREFIX: Final = "genserve-chromium-"
_NAME: Final = re.compile(rf"{_PREFIX}[a-z0-9_]{{8}}")
_MIN_AGE_S: Final = 60.0
"""A younger folder may not be locked yet by the replica that has just made it."""


@contextlib.contextmanager
def browser_folder() -> Iterator[Path]:
    """Make a folder for the socket and script of a start, with a home for the browser.

    It is locked until this context is left, or this process has ended.
    """
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    try:
        with _opened(folder) as descriptor:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            (folder / "home").mkdir(mode=0o700)
            folder.chmod(0o711)  # another user may own the home in it
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_leftovers() -> None:
    """Remove the folders of replicas of this user that were killed."""
    with os.scandir(tempfile.gettempdir()) as found:
        folders = [Path(each.path) for each in found if _NAME.fullmatch(each.name)]
    for folder in folders:
        with contextlib.suppress(OSError):  # of another user, in use, or removed meanwhile
            if _is_abandoned(folder):
                shutil.rmtree(folder)
                logger.info("removed the folder of a browser whose replica was killed")


def _is_abandoned(folder: Path) -> bool:
    """Return whether a folder is ours and old enough; raise OSError if a process has locked it."""
    with _opened(folder) as descriptor:
        status = os.fstat(descriptor)
        if status.st_uid != os.geteuid() or time.time() - status.st_mtime < _MIN_AGE_S:
            return False
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return stat.S_ISDIR(status.st_mode)


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    """Open a folder, but no link to one."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
