"""Files in memory, for child processes that take the name of a file: they end with this process."""

from __future__ import annotations

import os


def memory_file(name: str, text: str) -> str:
    """Return a path at which processes of this user find the text while this process lives.

    On disk it would be left behind by a process that is killed.
    """
    descriptor = os.memfd_create(name)  # closed by the end of the process
    with os.fdopen(os.dup(descriptor), "w", encoding="utf-8") as file:
        file.write(text)
    return f"/proc/{os.getpid()}/fd/{descriptor}"
