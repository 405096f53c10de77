"""The serving bench's section of RESULTS.md."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.bench.report import Spread, table
from tests.bench.serving_figures import Figures, paired
from tests.bench.systems import NAIVE
from tests.support.load import OUTPUT_TOKENS
from tests.support.systems import BARE, OURS

_MIN_RATE_RATIO = 0.97
_MAX_ADDED_MS = 8
_MAX_FIRST_RATIO, _FIRST_CLIENTS = 1, 32
_MAX_GAP_RATIO = 1.25
_LISTED_CPU_MS = 1.0
_COLUMNS = {
    "requests/s": "requests_per_s",
    "tokens/s": "tokens_per_s",
    "first token p50, ms": "first_p50_ms",
    "first token p99, ms": "first_p99_ms",
    "gap p99, ms": "gap_p99_ms",
    "server CPU, ms/request": "cpu_ms",
}


def section(measured: Sequence[Figures], engine_args: Mapping[str, Any]) -> str:
    """Format all figures of a run as Markdown."""
    rounds, naive_rounds = (
        len({one.round for one in measured if one.system == system}) for system in (OURS, NAIVE)
    )
    arguments = ", ".join(f"{name} {value}" for name, value in engine_args.items())
    interval = engine_args.get("stream_interval", 1)
    return f"""\
## Serving: ours beside the bare vLLM server

`make bench` (some 40 minutes on two cores) writes this section and
[the raw numbers](results/serving.json); `python -m tests.bench.serving --quick` is a smoke run
that writes nothing, `--help` lists the settings. Nothing else should run meanwhile.

{_comparison(measured)}

{_levels_table(measured)}

Median of the rounds (lowest to highest); {rounds} of the first two systems, {naive_rounds} of the
naive one. In a round each system is started once, alone on the machine, and asked at each number
of clients; the order changes from round to round. Clients form a closed loop over loopback on the
same cores: each asks again when its answer is whole. Every request has a short prompt of its own,
the same ones for every system, is greedy, and takes exactly {OUTPUT_TOKENS} tokens; a warm-up
before each level is left out. A percentile is taken within a round.

- **{BARE}**: `python -m vllm.entrypoints.openai.api_server`, same model folder, engine arguments
  and environment. The ideal: ours adds the ingress, Ray Serve's proxy and the handles between.
- **{OURS}**: `python -m serve_app.launch` with every deployment, `POST /v1/chat/completions` for
  the bare model.
- **{NAIVE}**: a FastAPI handler around Hugging Face `generate` in bfloat16, one request at a time,
  blocking its loop. It does not stream: its first token comes with the last.
- **first token**: from sending the request to the first event with text.
- **gap**: between two events with text; the engine sends the first token at once and then
  {interval} in an event (`stream_interval`). It grows where requests reach the engine apart: the
  prompts of the later ones are read while the answers of the earlier ones wait. `--apart 0.7` sends
  them so, to both.
- **server CPU**: user and system time of all the system's processes, idle ones included, divided
  by the requests answered.

{_cpu_table(measured)}

Engine arguments: {arguments}."""


def _comparison(measured: Sequence[Figures]) -> str:
    rows: list[tuple[object, ...]] = []

    def compare(
        what: str,
        other: str,
        levels: Sequence[int],
        figure: Callable[[Figures], float],
        wanted: str = "-",
    ) -> None:
        for clients in levels:
            ratio = paired(measured, other, clients, lambda a, b: figure(a) / figure(b))
            if ratio:
                ideal = "1" if other == BARE else "-"
                rows.append((f"{what}, ours / {other}, {_clients(clients)}", ratio, ideal, wanted))

    levels = _levels(measured)
    rate = f"at least {_MIN_RATE_RATIO}"
    compare("requests/s", BARE, levels, lambda one: one.requests_per_s, rate)
    if added := paired(measured, BARE, 1, lambda a, b: a.first_p50_ms - b.first_p50_ms):
        what = "added time to first token at the median, one client"
        rows.append((what, f"{added} ms", "0 ms", f"at most {_MAX_ADDED_MS} ms"))
    late = [clients for clients in levels if clients == _FIRST_CLIENTS]
    first = f"at most {_MAX_FIRST_RATIO}"
    compare("first token p99", BARE, late, lambda one: one.first_p99_ms, first)
    gap = f"at most {_MAX_GAP_RATIO}"
    compare("gap p99", BARE, levels, lambda one: one.gap_p99_ms or math.nan, gap)
    compare("server CPU a request", BARE, levels, lambda one: one.cpu_ms)
    compare("requests/s", NAIVE, levels, lambda one: one.requests_per_s)
    headings = ("ours against the ideal, within each round", "measured", "ideal", "wanted")
    return table(headings, rows)


def _levels_table(measured: Sequence[Figures]) -> str:
    rows = []
    for clients in _levels(measured):
        for system in (BARE, OURS, NAIVE):
            some = [one for one in measured if (one.clients, one.system) == (clients, system)]
            if some:
                values = [[getattr(one, name) for one in some] for name in _COLUMNS.values()]
                errors = f"{sum(one.errors for one in some)} of {sum(o.requests for o in some)}"
                rows.append((str(clients), system, *map(_cell, values), errors))
    return table(("clients", "system", *_COLUMNS, "errors"), rows)


def _cpu_table(measured: Sequence[Figures]) -> str:
    clients = max(_levels(measured))
    spent = {
        system: _median_cpu([o for o in measured if (o.system, o.clients) == (system, clients)])
        for system in (BARE, OURS)
    }
    names = {name for by_name in spent.values() for name in by_name}
    rows = [
        (f"`{name}`", *(f"{one[name]:.1f}" if name in one else "-" for one in spent.values()))
        for name in sorted(names, key=lambda name: -max(s.get(name, 0) for s in spent.values()))
    ]
    return (
        f"Where the CPU time goes at {_clients(clients)}, ms a request, median:\n\n"
        f"{table(('process', BARE, OURS), rows)}"
    )


def _median_cpu(some: Sequence[Figures]) -> dict[str, float]:
    names = {name for one in some for name in one.cpu_ms_by_process}
    medians = {
        name: Spread.of([one.cpu_ms_by_process.get(name, 0.0) for one in some]).median
        for name in names
    }
    return {name: spent for name, spent in medians.items() if spent >= _LISTED_CPU_MS}


def _cell(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return str(Spread.of(known)) if known else "-"


def _levels(measured: Sequence[Figures]) -> list[int]:
    return sorted({one.clients for one in measured})


def _clients(count: int) -> str:
    return "1 client" if count == 1 else f"{count} clients"
