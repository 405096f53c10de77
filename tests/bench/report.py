"""From figures to a section of RESULTS.md; other sections of the file are left as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.bench.figures import Figures, Spread, paired
from tests.bench.systems import BARE, NAIVE, OURS
from tests.support.load import OUTPUT_TOKENS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

HEADING = "# Results\n\nMeasured ratios; each section is written by its own script.\n"

_RATIO_TARGET, _RATIO_CLIENTS = 0.85, 32
_ADDED_TARGET_MS = 30
_LISTED_CPU_MS = 1.0

# Columns of the table: a heading, and the figure.
_COLUMNS: tuple[tuple[str, Callable[[Figures], float | None]], ...] = (
    ("requests/s", lambda one: one.requests_per_s),
    ("tokens/s", lambda one: one.tokens_per_s),
    ("first token p50, ms", lambda one: one.first_p50_ms),
    ("first token p99, ms", lambda one: one.first_p99_ms),
    ("gap p99, ms", lambda one: one.gap_p99_ms),
    ("server CPU, ms/request", lambda one: one.cpu_ms),
)


def with_section(text: str, name: str, body: str) -> str:
    """Put `body` where the section `name` is in the Markdown `text`, or at its end."""
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


def section(
    measured: Sequence[Figures], machine: Mapping[str, object], engine_args: Mapping[str, Any]
) -> str:
    """Write everything there is to say of one run, as Markdown."""
    rounds, naive_rounds = (
        len({one.round for one in measured if one.system == system}) for system in (OURS, NAIVE)
    )
    arguments = ", ".join(f"{name} {value}" for name, value in engine_args.items())
    about = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in machine.items())
    interval = engine_args.get("stream_interval", 1)
    return f"""\
## Serving: ours beside the bare vLLM server

`make bench` (some 25 minutes on two cores) writes this section and
[the raw numbers](results/serving.json); `python -m tests.bench.serving --quick` is a smoke run
that writes nothing, `--help` lists the settings. Nothing else should run meanwhile.

{_verdict(measured)}

{_table(measured)}

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
  {interval} in an event (`stream_interval`).
- **server CPU**: user and system time of all the system's processes, idle ones included, divided
  by the requests answered.

{_by_process(measured)}

Machine: {about}.
Engine arguments: {arguments}."""


def _verdict(measured: Sequence[Figures]) -> str:
    lines = ["| ours against the ideal, within each round | measured | ideal | wanted |"]
    lines.append("|---|---|---|---|")
    for clients in _levels(measured):
        if ratio := paired(measured, OURS, BARE, clients, _rate_ratio):
            wanted = f"at least {_RATIO_TARGET}" if clients == _RATIO_CLIENTS else "-"
            what = f"requests/s, ours / {BARE}, {_clients(clients)}"
            lines.append(f"| {what} | {ratio} | 1 | {wanted} |")
    if added := paired(measured, OURS, BARE, 1, _added_first_ms):
        what = "added time to first token at the median, one client"
        lines.append(f"| {what} | {added} ms | 0 ms | at most {_ADDED_TARGET_MS} ms |")
    for clients in _levels(measured):
        if ratio := paired(measured, OURS, BARE, clients, _cpu_ratio):
            what = f"server CPU a request, ours / {BARE}, {_clients(clients)}"
            lines.append(f"| {what} | {ratio} | 1 | - |")
    for clients in _levels(measured):
        if ratio := paired(measured, OURS, NAIVE, clients, _rate_ratio):
            what = f"requests/s, ours / {NAIVE}, {_clients(clients)}"
            lines.append(f"| {what} | {ratio} | - | - |")
    return "\n".join(lines)


def _table(measured: Sequence[Figures]) -> str:
    headings = ["clients", "system", *(heading for heading, _ in _COLUMNS), "errors"]
    lines = [f"| {' | '.join(headings)} |", "|" + "---|" * len(headings)]
    for clients in _levels(measured):
        for system in (BARE, OURS, NAIVE):
            some = [one for one in measured if (one.clients, one.system) == (clients, system)]
            if some:
                cells = [_cell([figure(one) for one in some]) for _, figure in _COLUMNS]
                errors = f"{sum(one.errors for one in some)} of {sum(o.requests for o in some)}"
                lines.append(f"| {clients} | {system} | {' | '.join(cells)} | {errors} |")
    return "\n".join(lines)


def _by_process(measured: Sequence[Figures]) -> str:
    clients = max(_levels(measured))
    spent = {system: _process_cpu(measured, system, clients) for system in (BARE, OURS)}
    names = sorted(
        {name for by_name in spent.values() for name in by_name},
        key=lambda name: -max(by_name.get(name, 0) for by_name in spent.values()),
    )
    lines = [
        f"Where the CPU time goes at {_clients(clients)}, ms a request, median:\n",
        f"| process | {BARE} | {OURS} |",
        "|---|---|---|",
    ]
    for name in names:
        cells = [f"{spent[s][name]:.1f}" if name in spent[s] else "-" for s in (BARE, OURS)]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def _process_cpu(measured: Sequence[Figures], system: str, clients: int) -> dict[str, float]:
    some = [o.cpu_ms_by_process for o in measured if (o.system, o.clients) == (system, clients)]
    names = {name for by_name in some for name in by_name}
    medians = {name: Spread.of([one.get(name, 0.0) for one in some]).median for name in names}
    return {name: spent for name, spent in medians.items() if spent >= _LISTED_CPU_MS}


def _cell(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return str(Spread.of(known)) if known else "-"


def _levels(measured: Sequence[Figures]) -> list[int]:
    return sorted({one.clients for one in measured})


def _clients(count: int) -> str:
    return "1 client" if count == 1 else f"{count} clients"


def _rate_ratio(one: Figures, other: Figures) -> float:
    return one.requests_per_s / other.requests_per_s


def _cpu_ratio(one: Figures, other: Figures) -> float:
    return one.cpu_ms / other.cpu_ms


def _added_first_ms(one: Figures, other: Figures) -> float:
    return one.first_p50_ms - other.first_p50_ms
