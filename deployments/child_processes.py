"""Child processes for hostile input: their environment and resource limits."""

from __future__ import annotations

import os
import resource
from pathlib import Path

_ROOT = Path(__file__).parents[1]
_KEPT = ("PATH", "LD_LIBRARY_PATH", "PYTHONHOME", "LANG", "LC_ALL")


def environment(*kept: str, **extra: str) -> dict[str, str]:
    """Return an environment without secrets that limits libraries to one thread.

    It has the present values of the variables in `kept`.
    """
    present = {name: os.environ[name] for name in (*_KEPT, *kept) if name in os.environ}
    paths = [str(_ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return present | {"PYTHONPATH": os.pathsep.join(paths)} | threads | extra


def limit(kind: int, soft: int, hard: int | None = None) -> None:
    """Set a resource limit of this process, but never raise the present hard limit."""
    ceiling = resource.getrlimit(kind)[1]
    wanted = soft if hard is None else hard
    if ceiling != resource.RLIM_INFINITY:
        soft, wanted = min(soft, ceiling), min(wanted, ceiling)
    resource.setrlimit(kind, (soft, wanted))
