"""Samples of every process of a service: memory, open files, threads; asyncio tasks of replicas."""

from __future__ import annotations

import contextlib
import json
import re
import statistics
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.support.service import ray_session

MEMORY, FILES, THREADS, TASKS = "memory, MiB", "files", "threads", "asyncio tasks"
_MIB = 2**20
_IMPORT = re.compile(r"from ([\w.]+) import")
_TASKS = re.compile(r'^ray_serve_event_loop_tasks\{.*deployment="(\w*)".*\} (\S+)$', re.MULTILINE)
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass
class Series:
    """The values of one figure of one process, with their times in seconds."""

    times_s: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def median(self, begin_s: float, end_s: float) -> float | None:
        """Return the median of the values between two times, None if there are none."""
        pairs = zip(self.times_s, self.values, strict=True)
        some = [value for time_s, value in pairs if begin_s <= time_s < end_s]
        return statistics.median(some) if some else None


@dataclass
class Samples:
    """What was read of a tree of processes: by figure, and by number and name of a process."""

    root: psutil.Process
    series: dict[str, dict[tuple[int, str], Series]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(Series))
    )

    def read(self, time_s: float) -> None:
        """Read all processes but Ray's idle workers and forks of a process, which come and go."""
        names: dict[int, str] = {}
        for process in (self.root, *self.root.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess), process.oneshot():
                name = names[process.pid] = process_name(process.name(), process.cmdline())
                if name in {"ray::IDLE", names.get(process.ppid())}:
                    continue
                self._add(MEMORY, (process.pid, name), time_s, process.memory_info().rss / _MIB)
                self._add(FILES, (process.pid, name), time_s, process.num_fds())
                self._add(THREADS, (process.pid, name), time_s, process.num_threads())

    def read_tasks(self, time_s: float) -> None:
        """Read from Ray's metrics how many asyncio tasks each deployment has."""
        processes = [self.root, *self.root.children(recursive=True)]
        file = ray_session(processes) / "prom_metrics_service_discovery.json"
        counts: Counter[str] = Counter()
        for target in _targets(file):
            with contextlib.suppress(OSError), _DIRECT.open(f"http://{target}/metrics") as answer:
                for deployment, count in _TASKS.findall(answer.read().decode()):
                    counts[deployment or "ray::ProxyActor"] += round(float(count))
        for deployment, count in counts.items():
            self._add(TASKS, (0, deployment), time_s, count)

    def medians(
        self, figure: str, *windows: tuple[float, float]
    ) -> tuple[dict[str, list[float]], list[str]]:
        """Return the median in each window by name, for processes that have values in all of them.

        Processes of one name are added up. The second value names those that began before the first
        window and have ended before the last.
        """
        whole: dict[str, list[float]] = {}
        ended = []
        for (_, name), series in self.series[figure].items():
            values = [series.median(*window) for window in windows]
            known = [value for value in values if value is not None]
            if len(known) == len(windows):
                before = whole.get(name, [0.0] * len(windows))
                whole[name] = [a + b for a, b in zip(before, known, strict=True)]
            elif values[0] is not None and series.times_s[0] < windows[0][0]:
                ended.append(name)
        return whole, ended

    def _add(self, figure: str, key: tuple[int, str], time_s: float, value: float) -> None:
        series = self.series[figure][key]
        series.times_s.append(time_s)
        series.values.append(value)


def process_name(title: str, words: list[str]) -> str:
    """Name a process by its title, module or program, without ids and paths."""
    if not words:
        return title
    if "::" in words[0] or words[0].startswith("ray-dashboard"):
        return re.split(r"[.\s]", words[0].removeprefix("ray::ServeReplica:genserve:"))[0]
    if "-m" in words:
        return words[words.index("-m") + 1]
    if "-c" in words and (found := _IMPORT.search(" ".join(words))):
        return found[1]
    scripts = [Path(word).stem for word in words[1:] if word.endswith(".py")]
    return scripts[0] if scripts else Path(words[0]).name


def _targets(discovery: Path) -> Iterator[str]:
    groups: Iterable[dict[str, list[str]]] = json.loads(discovery.read_text(encoding="utf-8"))
    for group in groups:
        yield from group["targets"]
