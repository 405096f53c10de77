"""Resident memory of the CPU service at rest, by deployment: `python -m tests.bench.memory`."""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil

from tests.bench.report import with_section
from tests.bench.systems import Configuration, ours
from tests.support.processes import ROOT, started

RESULTS = Path(__file__).with_name("RESULTS.md")
_REST_S = 30
_GIB = 2**30
_MIB = 2**20


def main() -> int:
    """Start the service, let it rest, add up, write the section."""
    configuration = Configuration.read(ROOT / "configs" / "cpu.yaml")
    with tempfile.TemporaryDirectory(prefix="genserve-memory-") as folder:
        system = ours(configuration, Path(folder))
        with started(system.command, Path(folder) / "log") as process:
            time.sleep(_REST_S)
            by_part = _resident_by_part(process)
    body = _section(by_part)
    text = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else "# Results\n"
    RESULTS.write_text(with_section(text, "memory", body), encoding="utf-8")
    sys.stdout.write(body + "\n")
    return 0


def _resident_by_part(root: psutil.Process) -> Counter[str]:
    """Add up resident set sizes; pages that processes share count once for each."""
    parts: Counter[str] = Counter()
    for process in (root, *root.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            parts[_part(process)] += process.memory_info().rss
    return parts


def _part(process: psutil.Process) -> str:
    """Name the deployment a process belongs to by itself or by the replica that started it."""
    for one in (process, *process.parents()):
        title = " ".join(one.cmdline())
        if "ServeReplica:genserve:" in title:
            return title.split("ServeReplica:genserve:")[1].split(".")[0].strip()
    return "Ray and Serve themselves"


def _section(by_part: Counter[str]) -> str:
    rows = "\n".join(f"| {part} | {size / _MIB:.0f} |" for part, size in by_part.most_common())
    total = by_part.total() / _GIB
    return f"""\
## Memory at rest

`make bench-memory`: `configs/cpu.yaml`, {_REST_S} s after it was ready. Resident set sizes, so what
processes share counts for each of them.

| deployment | resident, MiB |
|---|---|
{rows}
| **all, GiB** | **{total:.1f}** (at most 9) |"""


if __name__ == "__main__":
    sys.exit(main())
