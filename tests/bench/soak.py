"""`python -m tests.bench.soak`: memory and open files in half an hour of mixed load."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Iterator

from tests.bench import command
from tests.bench.report import Check, Section, table
from tests.bench.systems import running_service
from tests.support.mixed_load import sampled_load

_MINUTES, _QUICK_MINUTES = 30.0, 3.0
_SETTLED_SHARE = 1 / 6  # the first five minutes
_MAX_GROWTH, _MAX_MORE_FILES = 1.10, 8


def main() -> int:
    """Run the bench; return its exit status."""
    return command.run(command.parser("tests.bench.soak", __doc__), measure)


def measure(options: argparse.Namespace) -> Iterator[Section]:
    """Put the load on a service, and compare its replicas with those of the first minutes."""
    minutes = _QUICK_MINUTES if options.quick else _MINUTES
    with running_service() as service:
        samples = asyncio.run(
            sampled_load(service.url, service.model, service.process, minutes * 60)
        )
    rows, checks = [], []
    for name, replica in sorted(samples.items()):
        early, late = replica.growth(replica.memory, minutes * 60 * _SETTLED_SHARE)
        opened, files = replica.growth(replica.files, minutes * 60 * _SETTLED_SHARE)
        checks.append(Check.at_most(f"{name}: memory", late / early, _MAX_GROWTH, "{:.2f}"))
        checks.append(Check.at_most(f"{name}: files", files - opened, _MAX_MORE_FILES, "{:+.0f}"))
        rows.append((name, f"{early:.0f}", f"{late:.0f}", f"{opened:.0f}", f"{files:.0f}"))
    headings = ("replica", "MiB early", "MiB at the end", "files early", "files at the end")
    body = f"""\
## Half an hour of mixed load

`make soak`: {minutes:g} minutes of chats (some left, some refused), uploads, pictures and cancelled
jobs. "Early" is after a sixth of the time.

{table(headings, rows)}"""
    yield Section("soak", body, checks, {"samples": samples})


if __name__ == "__main__":
    sys.exit(main())
