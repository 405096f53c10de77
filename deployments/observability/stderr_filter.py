"""Drop lines of native libraries that quote requests from the standard error of this process."""

from __future__ import annotations

import os
import re
import sys
from subprocess import PIPE, Popen
from typing import BinaryIO

# xgrammar's warnings begin with the time and the place in its source, and end with the pattern.
_QUOTING = re.compile(rb"^\[\d\d:\d\d:\d\d\] \S+\.(?:cc|h):\d+: ")
# What follows a quoting line belongs to it, up to a line that a logger or Python began.
_OWN = re.compile(
    rb"^(?:\S{0,40} ?(?:DEBUG|INFO|WARNING|ERROR|CRITICAL)\b|Traceback |Fatal |\*\*\* )"
)


def filter_stderr() -> None:
    """Send standard error through a process that drops such lines; children inherit it.

    The libraries have no setting for it. A process rather than a thread, so that the last words
    of this one, when it crashes, are written all the same.
    """
    pump = Popen(  # noqa: S603 - our own module
        [sys.executable, "-S", __file__], stdin=PIPE, start_new_session=True, env={}
    )
    assert pump.stdin is not None  # noqa: S101 - it was asked for
    sys.stderr.flush()
    os.dup2(pump.stdin.fileno(), 2)
    pump.stdin.close()


def copy(source: BinaryIO, target: BinaryIO) -> None:
    """Copy lines, except those that quote a request."""
    dropping = False
    for line in source:
        if _QUOTING.match(line):
            dropping = True
        elif not dropping or _OWN.match(line):
            dropping = False
            target.write(line)
            target.flush()


if __name__ == "__main__":
    copy(sys.stdin.buffer, sys.stderr.buffer)
