"""The environment of the processes that read files of users: without secrets, one thread each."""

from __future__ import annotations

import os
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_KEPT = ("PATH", "LD_LIBRARY_PATH", "PYTHONHOME", "LANG", "LC_ALL")


def environment(*kept: str, **further: str) -> dict[str, str]:
    """Return what such a process needs, and the present values of the variables in `kept`."""
    present = {name: os.environ[name] for name in (*_KEPT, *kept) if name in os.environ}
    paths = [str(_ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return present | {"PYTHONPATH": os.pathsep.join(paths)} | threads | further
