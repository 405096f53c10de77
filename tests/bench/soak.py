"""`python -m tests.bench.soak`: every process of the service in half an hour of mixed load."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Iterator

from tests.bench import command
from tests.bench.report import Check, Section, checks_table, table
from tests.bench.systems import running_service
from tests.support.mixed_load import sampled_load
from tests.support.process_samples import FILES, MEMORY, TASKS, THREADS

_MINUTES, _QUICK_MINUTES = 30.0, 12.0  # in less, the two windows are too close to show growth
_SETTLED_SHARE = 1 / 6  # the first five minutes
_WINDOW_S = 120.0
_MAX_GROWTH, _MIN_GROWTH_MIB, _MAX_MORE = 0.10, 10.0, 8
_LOAD = (
    *("chats", "chats left early", "refused chats", "documents", "deleted documents"),
    *("image jobs", "cancelled jobs"),
)


def measure(options: argparse.Namespace) -> Iterator[Section]:
    """Put the load on a service, and compare its processes with those of the first minutes."""
    minutes = _QUICK_MINUTES if options.quick else _MINUTES
    seconds = minutes * 60
    settled_s = seconds * _SETTLED_SHARE
    with running_service() as service:
        load = sampled_load(service.url, service.model, service.process, seconds)
        samples, done = asyncio.run(load)
    windows = (settled_s, settled_s + _WINDOW_S), (seconds - _WINDOW_S, seconds)
    _, ended = samples.medians(MEMORY, *windows)
    load_checks = [
        *(Check.at_least(what, done[what], minutes / 3) for what in _LOAD),
        Check.equal("failed chats", done["failed chats"]),
        Check.equal("processes that ended", len(ended)),
    ]
    growth: list[Check] = []
    rows: dict[str, dict[str, str]] = {}
    for figure in (MEMORY, FILES, THREADS, TASKS):
        for name, (early, late) in samples.medians(figure, *windows)[0].items():
            most = max(early * _MAX_GROWTH, _MIN_GROWTH_MIB) if figure == MEMORY else _MAX_MORE
            check = Check.at_most(f"{name}: {figure}", late - early, most, "{:+.0f}")
            mark = "" if check.holds else " **NO**"
            rows.setdefault(name, {})[figure] = f"{early:.0f}, {late:.0f}{mark}"
            growth.append(check)
    figures = (MEMORY, FILES, THREADS, TASKS)
    cells = ((name, *(row.get(figure, "-") for figure in figures)) for name, row in rows.items())
    body = f"""\
## Half an hour of mixed load

`make soak`: {minutes:g} minutes of chats, uploads and pictures. The load, and what it did to the
processes:

{checks_table(load_checks)}

The median of the {_WINDOW_S:g} s after the first {settled_s / 60:g} minutes, and of the last ones.
Memory may grow by a tenth, or by {_MIN_GROWTH_MIB:g} MiB where a tenth is less; files, threads and
asyncio tasks (of replicas and the proxy, from Ray's metrics) by {_MAX_MORE}. Processes of one name
are added up; the parser's children, one for each file, and Ray's idle workers are left out.

{table(("process", *figures), cells)}"""
    raw = {"load": done, "series": samples.medians(MEMORY, *windows)[0]}
    yield Section("soak", body, [*load_checks, *growth], raw)


if __name__ == "__main__":
    sys.exit(command.run(command.parser("tests.bench.soak", __doc__), measure))
