"""`python -m tests.bench.kills`: SIGKILL at random moments, and whether every promise is kept.

Clients upload documents and ask for pictures while a replica, the process that reads a file,
or the whole node is killed again and again; then every acknowledged job, document, point and
picture is looked at.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from tests.bench import machine
from tests.bench.report import HEADING, with_section
from tests.bench.systems import Configuration, ours
from tests.support.faults import VICTIMS, Kill, Node, plan
from tests.support.job_audit import Verdict
from tests.support.job_clients import IMAGES, INGEST, Ledger
from tests.support.kill_scenario import Load, audit, kill_under_load
from tests.support.processes import ROOT, Command, StartError

HERE = Path(__file__).parent
FULL_KILLS = 60
_BATCH_CHUNKS = 4  # small, so that a document takes several steps
_STATUSES = ("succeeded", "failed", "cancelled")


@dataclass(frozen=True)
class Plan:
    """How often to kill, and how long the pauses in between are.

    `chat` says whether the language model is there too: without it, nothing that is killed
    changes, and everything starts sooner. `postgres` is the address of an empty database, for
    two replicas of Jobs. `victims` names whom to kill, in turn; otherwise everybody in turn.
    """

    kills: int = FULL_KILLS
    seed: int = 1
    minutes: float = 40.0
    pause_s: tuple[float, float] = (5.0, 15.0)
    clients: int = 6
    chat: bool = True
    postgres: str | None = None
    victims: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Outcome:
    """What was killed and promised, and what was found afterwards."""

    plan: Plan
    kills: Sequence[Kill]
    ledger: Ledger
    verdict: Verdict
    seconds: float

    @property
    def good(self) -> bool:
        """Whether nothing is wrong, after as many kills as were wanted."""
        return self.verdict.good and len(self.kills) >= self.plan.kills

    def as_json(self) -> dict[str, Any]:
        """The raw numbers."""
        return {
            "machine": machine.description(),
            "seed": self.plan.seed,
            "seconds": round(self.seconds),
            "kills": [vars(kill) for kill in self.kills],
            "jobs": {f"{kind} {status}": n for (kind, status), n in _jobs(self.ledger).items()},
            "looked_at": dict(self.verdict.looked_at),
            "wrong": {name: len(cases) for name, cases in self.verdict.wrong.items()},
            "requests_repeated": dict(self.ledger.down),
        }


def main() -> int:
    """Run it, print the tables, write the full one; 0 if nothing was wrong."""
    options = _options()
    # Also where the shell had them ignored, as for a job in the background.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    wanted = Plan(options.kills, options.seed, options.minutes, chat=not options.without_chat)
    try:
        with tempfile.TemporaryDirectory(prefix="genserve-kills-") as folder:
            outcome = run(wanted, Path(folder), _say)
    except KeyboardInterrupt:
        _say("stopped")
        return 130
    except (StartError, TimeoutError, RuntimeError, subprocess.CalledProcessError) as error:
        _say(f"error: {error}")
        return 1
    text = section(outcome)
    _say(f"\n{text}\n\n{outcome.verdict}")
    if wanted.kills >= FULL_KILLS:
        results = HERE / "RESULTS.md"
        before = results.read_text(encoding="utf-8") if results.exists() else HEADING
        results.write_text(with_section(before, "kills", text), encoding="utf-8")
        raw = json.dumps(outcome.as_json(), indent=1)
        (HERE / "results" / "kills.json").write_text(raw + "\n", encoding="utf-8")
    return 0 if outcome.good else 1


def run(wanted: Plan, folder: Path, say: Callable[[str], None]) -> Outcome:
    """Start a service of its own in `folder`, kill, wait, look, stop.

    From the main thread only. Raises StartError if the service does not start, be it again,
    RuntimeError if it ends by itself, and TimeoutError if there is nobody to kill.
    """
    began = time.monotonic()
    draw = random.Random(wanted.seed)  # noqa: S311
    node, ledger = Node(command_for(wanted, folder), folder), Ledger()
    say("==> starting the service")
    node.start()
    try:
        victims = wanted.victims or plan(wanted.kills, draw)
        load = Load(wanted.clients, wanted.pause_s, wanted.seed, wanted.minutes)
        kills = kill_under_load(node, ledger, victims, load, lambda done: say(_line(done, ledger)))
        verdict = audit(node, folder / "data", ledger)
    finally:
        node.stop()
    return Outcome(wanted, kills, ledger, verdict, time.monotonic() - began)


def section(outcome: Outcome) -> str:
    """The tables, as Markdown."""
    verdict, jobs = outcome.verdict, _jobs(outcome.ledger)
    wrong = "\n".join(f"| {name} | {len(cases)} |" for name, cases in verdict.wrong.items())
    victims = "\n".join(_victim_row(victim, outcome.kills) for victim in VICTIMS)
    kinds = "\n".join(
        f"| {kind} | {' | '.join(str(jobs[kind, status]) for status in _STATUSES)} |"
        for kind in (INGEST, IMAGES)
    )
    seen = ", ".join(f"{count} {what}" for what, count in verdict.looked_at.items())
    return f"""\
## Promises kept under SIGKILL

`make bench-kill`: {len(outcome.kills)} kills in {outcome.seconds / 60:.0f} minutes, at random
moments (seed {outcome.plan.seed}), while {outcome.plan.clients} clients upload documents, ask for
pictures and cancel some of it. Looked at afterwards: {seen}.

| must be 0 | found |
|---|---|
{wrong}

| killed | times | all ready again after, s: median (longest) |
|---|---|---|
{victims}

| jobs | {" | ".join(_STATUSES)} |
|---|---|---|---|
{kinds}

Why some failed: {_reasons(outcome.ledger)}. Requests repeated because something was down or
full: {outcome.ledger.down.total()}."""


def command_for(wanted: Plan, folder: Path) -> Command:
    """Set up the documented command on a data folder that stays when the node dies."""
    configuration = Configuration.read(ROOT / "configs" / "cpu.yaml")
    command = ours(configuration, folder).command
    path = Path(command.args[-1])
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    application = document["applications"][0]
    args = application["args"]
    args["embedder"]["max_batch_tokens"] = _BATCH_CHUNKS * args["parser"]["chunk_tokens"]
    if not wanted.chat:
        args["llm"] = {
            "engine": "openai",
            "model": "none",
            "served_name": "none",
            "base_url": "http://127.0.0.1:9/v1",
        }
    if wanted.postgres:
        # As in a cluster: what the dashboard shows has no password, the environment has it.
        args["jobs"]["database_url"] = re.sub(r":[^:@/]+@", "@", wanted.postgres)
        (jobs,) = (entry for entry in application["deployments"] if entry["name"] == "Jobs")
        jobs["num_replicas"] = 2
        command = replace(command, env={"GENSERVE_JOBS_DATABASE_URL": wanted.postgres})
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return command


def _jobs(ledger: Ledger) -> Counter[tuple[str, str]]:
    return Counter((job.kind, job.status) for job in ledger.jobs.values())


def _reasons(ledger: Ledger) -> str:
    """Every file and prompt was good, so these are failures that the kills brought about."""
    errors = Counter(
        str((job.error or {}).get("message"))
        for job in ledger.jobs.values()
        if job.status == "failed"
    )
    return "; ".join(f"{count} x {text}" for text, count in errors.most_common()) or "none did"


def _victim_row(victim: str, kills: Sequence[Kill]) -> str:
    some = [kill for kill in kills if kill.victim == victim]
    known = [kill.back_s for kill in some if kill.back_s is not None]
    late = f", {len(some) - len(known)} over 40 s" if len(known) < len(some) else ""
    times = f"{statistics.median(known):.0f} ({max(known):.0f})" if known else "-"
    return f"| {victim} | {len(some)} | {times}{late} |"


def _line(kills: Sequence[Kill], ledger: Ledger) -> str:
    last, jobs = kills[-1], list(ledger.jobs.values())  # clients add to them meanwhile
    ended = sum(job.status in _STATUSES for job in jobs)
    back = "over 40 s" if last.back_s is None else f"{last.back_s:.0f} s"
    return (
        f"    {len(kills):3}. {last.victim}, back after {back}; "
        f"{len(jobs)} jobs promised, {ended} ended"
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.kills", description=__doc__)
    parser.add_argument(
        "--kills", type=int, default=FULL_KILLS, help="with fewer than 60 nothing is written"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=40.0, help="after which none is begun")
    parser.add_argument(
        "--without-chat", action="store_true", help="no language model: starts sooner"
    )
    return parser.parse_args()


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
