"""`python -m tests.bench.kills`: SIGKILL at random moments, and whether every promise is kept."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.bench import command
from tests.bench.report import Check, Section, Spread, checks_table, say, table
from tests.support.faults import VICTIMS, Kill
from tests.support.job_clients import IMAGES, INGEST, Ledger
from tests.support.kill_scenario import Outcome, Plan, run

_PLAN, _QUICK_KILLS = Plan(), 2
_STATUSES = ("succeeded", "failed", "cancelled")


def main() -> int:
    """Run the bench; return its exit status."""
    options = command.parser("tests.bench.kills", __doc__)
    options.add_argument("--kills", type=int, default=_PLAN.kills)
    options.add_argument("--seed", type=int, default=_PLAN.seed)
    options.add_argument(
        "--minutes", type=float, default=_PLAN.minutes, help="after which none begins"
    )
    options.add_argument(
        "--without-chat", action="store_true", help="no language model: starts sooner"
    )
    return command.run(options, measure, errors=(RuntimeError,))


def measure(options: argparse.Namespace) -> Iterator[Section]:
    """Kill as often as wanted, and report."""
    wanted = Plan(options.kills, options.seed, options.minutes, chat=not options.without_chat)
    if options.quick:
        wanted = replace(wanted, kills=_QUICK_KILLS, pause_s=(1.0, 3.0), chat=False)
    with tempfile.TemporaryDirectory(prefix="genserve-kills-") as folder:
        outcome = run(wanted, Path(folder), say)
    yield _section(outcome)
    say(f"\n{outcome.verdict}")


def _section(outcome: Outcome) -> Section:
    verdict, jobs = outcome.verdict, outcome.jobs
    checks = [Check.equal(name, len(cases)) for name, cases in verdict.wrong.items()]
    checks.append(Check.at_least("kills", len(outcome.kills), outcome.plan.kills))
    seen = ", ".join(f"{count} {what}" for what, count in verdict.looked_at.items())
    victims = [_victim_row(victim, outcome.kills) for victim in VICTIMS]
    kinds = [(kind, *(jobs[kind, status] for status in _STATUSES)) for kind in (INGEST, IMAGES)]
    body = f"""\
## Promises kept under SIGKILL

`make bench-kill`: {len(outcome.kills)} kills in {outcome.seconds / 60:.0f} minutes, at random
moments (seed {outcome.plan.seed}), while {outcome.plan.clients} clients upload documents, ask for
pictures and cancel some of it. Looked at afterwards: {seen}.

{checks_table(checks)}

{table(("killed", "times", "all ready again after, s: median (range)"), victims)}

{table(("jobs", *_STATUSES), kinds)}

Why some failed: {_reasons(outcome.ledger)}. Requests repeated because something was down or
full: {outcome.ledger.down.total()}."""
    raw: dict[str, Any] = {
        "seed": outcome.plan.seed,
        "seconds": round(outcome.seconds),
        "kills": outcome.kills,
        "jobs": {f"{kind} {status}": count for (kind, status), count in jobs.items()},
        "looked_at": verdict.looked_at,
        "wrong": {name: len(cases) for name, cases in verdict.wrong.items()},
        "requests_repeated": outcome.ledger.down,
    }
    return Section("kills", body, checks, raw)


def _reasons(ledger: Ledger) -> str:
    """Count the errors of failed jobs: every file and prompt was good, so the kills caused them."""
    errors = Counter(
        str((job.error or {}).get("message"))
        for job in ledger.jobs.values()
        if job.status == "failed"
    )
    return "; ".join(f"{count} x {text}" for text, count in errors.most_common()) or "none did"


def _victim_row(victim: str, kills: Sequence[Kill]) -> tuple[str, int, str]:
    some = [kill.back_s for kill in kills if kill.victim == victim]
    known = [seconds for seconds in some if seconds is not None]
    late = f", {len(some) - len(known)} over 40 s" if len(known) < len(some) else ""
    return victim, len(some), f"{Spread.of(known) if known else '-'}{late}"


if __name__ == "__main__":
    sys.exit(main())
