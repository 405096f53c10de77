"""Measure the resident memory of each deployment at rest."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter

import psutil

from tests.bench.report import Check, Section, table
from tests.bench.systems import Service

_REST_S, _QUICK_REST_S = 30, 2
_MAX_GIB = 9
_GIB, _MIB = 2**30, 2**20
_OTHERS = "Ray and Serve themselves"


async def measure(service: Service, *, quick: bool) -> Section:
    """Let the service rest, and add up the memory of its processes."""
    rest_s = _QUICK_REST_S if quick else _REST_S
    await asyncio.sleep(rest_s)
    by_deployment: Counter[str] = Counter()
    for process, size in resident_bytes(service.process).items():
        by_deployment[_deployment(process)] += size
    total = Check.at_most("all", by_deployment.total() / _GIB, _MAX_GIB, "{:.1f} GiB")
    rows = [(name, f"{size / _MIB:.0f}") for name, size in by_deployment.most_common()]
    rows.append(("**all, GiB**", f"**{by_deployment.total() / _GIB:.1f}** (at most {_MAX_GIB})"))
    body = f"""\
## Memory at rest

`make bench-memory`: `configs/cpu.yaml`, {rest_s} s after it was ready. Resident set sizes, so what
processes share counts for each of them.

{table(("deployment", "resident, MiB"), rows)}"""
    return Section("memory", body, [total])


def resident_bytes(root: psutil.Process) -> dict[psutil.Process, int]:
    """Read resident set sizes of a process tree; shared memory counts for each process."""
    found = {}
    for process in (root, *root.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            found[process] = process.memory_info().rss
    return found


def _deployment(process: psutil.Process) -> str:
    """Return the deployment whose replica a process is, or was started by."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for one in (process, *process.parents()):
            _, found, title = " ".join(one.cmdline()).partition("ServeReplica:genserve:")
            if found:
                return title.split(".")[0].strip()
    return _OTHERS
