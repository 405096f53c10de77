"""From the answers of one level to its figures, and from the rounds to medians and ratios."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tests.support.load import Run

_DIGITS = 4
_LISTED_CPU_MS = 0.5


@dataclass(frozen=True)
class Figures:
    """One system at one number of clients in one round.

    `gap` is the time between two events with text, each of which may hold several tokens.
    CPU is user and system time: of all processes of the server, and of the measuring client.
    """

    round: int
    system: str
    clients: int
    requests: int
    errors: int
    seconds: float
    requests_per_s: float
    tokens_per_s: float
    first_p50_ms: float
    first_p99_ms: float
    gap_p50_ms: float | None
    gap_p99_ms: float | None
    whole_p50_ms: float
    whole_p99_ms: float
    cpu_ms: float
    cpu_ms_by_process: dict[str, float]
    client_cpu_ms: float

    @classmethod
    def of(
        cls,
        run: Run,
        *,
        number: int,
        system: str,
        clients: int,
        cpu_s: Mapping[str, float],
        client_cpu_s: float,
    ) -> Self:
        """Sum up one level; CPU milliseconds are per answered request.

        Raises ValueError if no request was answered.
        """
        good = [answer for answer in run.answers if answer.error is None]
        if not good:
            msg = f"{system} answered none of {len(run.answers)} requests: {run.errors[:1]}"
            raise ValueError(msg)
        firsts = [answer.first_s * 1000 for answer in good]
        wholes = [answer.whole_s * 1000 for answer in good]
        gaps = [gap * 1000 for answer in good for gap in answer.gaps_s]
        by_process = {name: spent * 1000 / len(good) for name, spent in cpu_s.items()}
        return cls(
            round=number,
            system=system,
            clients=clients,
            requests=len(run.answers),
            errors=len(run.errors),
            seconds=run.seconds,
            requests_per_s=len(good) / run.seconds,
            tokens_per_s=sum(answer.tokens for answer in good) / run.seconds,
            first_p50_ms=percentile(firsts, 50),
            first_p99_ms=percentile(firsts, 99),
            gap_p50_ms=percentile(gaps, 50) if gaps else None,
            gap_p99_ms=percentile(gaps, 99) if gaps else None,
            whole_p50_ms=percentile(wholes, 50),
            whole_p99_ms=percentile(wholes, 99),
            cpu_ms=sum(by_process.values()),
            cpu_ms_by_process=by_process,
            client_cpu_ms=client_cpu_s * 1000 / len(good),
        )

    def as_json(self) -> dict[str, Any]:
        """Rounded, and without the processes that did next to nothing."""
        raw = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        raw["cpu_ms_by_process"] = {
            name: round(spent, 1)
            for name, spent in sorted(self.cpu_ms_by_process.items(), key=lambda item: -item[1])
            if spent >= _LISTED_CPU_MS
        }
        return {
            name: round(value, _DIGITS) if isinstance(value, float) else value
            for name, value in raw.items()
        }


@dataclass(frozen=True)
class Spread:
    """A figure over the rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Of at least one value."""
        return cls(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        if self.low == self.high:
            return _shown(self.median)
        return f"{_shown(self.median)} ({_shown(self.low)} to {_shown(self.high)})"


def percentile(values: Sequence[float], percent: float) -> float:
    """Between the two nearest values, linearly; of at least one value."""
    ordered = sorted(values)
    position = (len(ordered) - 1) * percent / 100
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def paired(
    measured: Sequence[Figures],
    ours: str,
    other: str,
    clients: int,
    compare: Callable[[Figures, Figures], float],
) -> Spread | None:
    """Compare two systems within each round that has both, then spread over the rounds."""
    found = {(one.round, one.system): one for one in measured if one.clients == clients}
    values = [
        compare(one, found[number, other])
        for (number, system), one in found.items()
        if system == ours and (number, other) in found
    ]
    return Spread.of(values) if values else None


def _shown(value: float) -> str:
    size = abs(value)
    return f"{value:.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}"
