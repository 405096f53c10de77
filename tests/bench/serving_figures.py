"""The figures of the serving bench: of one level of load, and compared within a round."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from tests.bench.report import Spread, percentile, plain
from tests.support.load import Run
from tests.support.systems import OURS

_KEPT_CPU_MS = 0.5


@dataclass(frozen=True)
class Figures:
    """One system at one number of clients in one round.

    `events` are those with text, a request; `gap` is the time between two of them, each of which
    may hold several tokens.
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
    events: float
    first_p50_ms: float
    first_p99_ms: float
    gap_p50_ms: float | None
    gap_p99_ms: float | None
    whole_p50_ms: float
    whole_p99_ms: float
    cpu_ms: float
    cpu_ms_by_process: dict[str, float]
    client_cpu_ms: float
    memory_mib: float | None = None

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
        """Summarise one level; CPU milliseconds are per answered request.

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
            events=sum(len(answer.token_times_s) for answer in good) / len(good),
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
        """Return the raw figures without the processes that used almost no CPU time."""
        by_process = {
            name: round(spent, 1)
            for name, spent in sorted(self.cpu_ms_by_process.items(), key=lambda item: -item[1])
            if spent >= _KEPT_CPU_MS
        }
        return {**plain(self), "cpu_ms_by_process": by_process}

    def __str__(self) -> str:
        gap = "-" if self.gap_p99_ms is None else f"{self.gap_p99_ms:.0f}"
        return (
            f"{self.clients:3} clients: {self.requests_per_s:6.2f} requests/s, first token "
            f"{self.first_p50_ms:.0f}/{self.first_p99_ms:.0f} ms, gap p99 {gap} ms, "
            f"CPU {self.cpu_ms:.0f} ms/request, {self.errors} errors"
        )


def paired(
    measured: Sequence[Figures],
    other: str,
    clients: int,
    compare: Callable[[Figures, Figures], float],
    *,
    ours: str = OURS,
) -> Spread | None:
    """Compare ours with another system within each round that has both of them."""
    found = {(one.round, one.system): one for one in measured if one.clients == clients}
    values = [
        compare(one, found[number, other])
        for (number, system), one in found.items()
        if system == ours and (number, other) in found
    ]
    return Spread.of(values) if values else None
