"""Kill parts of a running service while clients use it, then audit what it promised."""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from tests.support.faults import Kill, Node, plan
from tests.support.job_audit import Verdict, in_files, over_http, with_doctor
from tests.support.job_clients import ENDED, Clients, Ledger
from tests.support.postgres import PostgresServer
from tests.support.processes import Command
from tests.support.systems import CPU, NO_MODEL, Configuration, ours

_DRAIN_S = 600.0
_SETTLE_S = 5.0  # the files of a job are deleted after its last status
_BATCH_CHUNKS = 4  # small, so that a document takes several steps


@dataclass(frozen=True)
class Load:
    """How many clients there are, and the least and the longest pause before a kill, in s."""

    clients: int
    pause_s: tuple[float, float]
    seed: int = 1
    minutes: float = 40.0


def kill_under_load(
    node: Node,
    ledger: Ledger,
    victims: Sequence[str],
    load: Load,
    report: Callable[[Sequence[Kill]], None],
) -> list[Kill]:
    """Kill the victims in turn, then wait until every job has ended.

    Stops killing when the minutes are over. From the main thread only. Raises StartError if the
    node does not start again, RuntimeError if it ends by itself, and TimeoutError if there is
    no such victim.
    """
    draw = random.Random(load.seed)  # noqa: S311
    end = time.monotonic() + load.minutes * 60
    kills: list[Kill] = []
    with Clients(node.url, ledger, count=load.clients, seed=load.seed) as clients:
        for victim in victims:
            time.sleep(draw.uniform(*load.pause_s))
            if time.monotonic() > end:
                break
            kills.append(node.strike(victim, draw))
            report(kills)
        clients.drain(_DRAIN_S)
    time.sleep(_SETTLE_S)
    return kills


def audit(node: Node, data: Path, ledger: Ledger) -> Verdict:
    """Ask for all that was promised, stop the node, and look at what is stored."""
    verdict = Verdict()
    try:
        listed = over_http(node.url, ledger, verdict)
    finally:
        node.stop()
    in_files(data, ledger, listed, node.kills, verdict)
    with_doctor(node.command, verdict)
    return verdict


@dataclass(frozen=True)
class Plan:
    """How many kills there are, and how long the pauses between them.

    `chat` says whether the language model runs too: without it the same things are killed, and
    everything starts sooner. `postgres` is a server with an empty database, for two replicas of
    Jobs. `victims` names what is killed, in turn; by default everything in a random order.
    """

    kills: int = 60
    seed: int = 1
    minutes: float = 40.0
    pause_s: tuple[float, float] = (5.0, 15.0)
    clients: int = 6
    chat: bool = True
    postgres: PostgresServer | None = None
    victims: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Outcome:
    """What was killed, what had been acknowledged, and what was found afterwards."""

    plan: Plan
    kills: Sequence[Kill]
    ledger: Ledger
    verdict: Verdict
    seconds: float

    @property
    def jobs(self) -> Counter[tuple[str, str]]:
        """How many acknowledged jobs there are of each kind and status."""
        return Counter((job.kind, job.status) for job in self.ledger.jobs.values())


def run(wanted: Plan, folder: Path, say: Callable[[str], None] = print) -> Outcome:
    """Start a service of its own in `folder`, kill parts of it, audit it, and stop it.

    From the main thread only; raises what `kill_under_load` raises.
    """
    began = time.monotonic()
    draw = random.Random(wanted.seed)  # noqa: S311
    node, ledger = Node(command_for(wanted, folder), folder, wanted.postgres), Ledger()
    say("==> starting the service")
    node.start()
    try:
        victims = wanted.victims or plan(wanted.kills, draw)
        load = Load(wanted.clients, wanted.pause_s, wanted.seed, wanted.minutes)

        def report(kills: Sequence[Kill]) -> None:
            say(_progress(kills, ledger))

        kills = kill_under_load(node, ledger, victims, load, report)
        verdict = audit(node, folder / "data", ledger)
    finally:
        node.stop()
    return Outcome(wanted, kills, ledger, verdict, time.monotonic() - began)


def command_for(wanted: Plan, folder: Path) -> Command:
    """Return the documented command on a data folder that outlives the node."""
    started = ours(Configuration.read(CPU), folder).command
    path = Path(started.args[-1])
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    application = document["applications"][0]
    args = application["args"]
    args["embedder"]["max_batch_tokens"] = _BATCH_CHUNKS * args["parser"]["chunk_tokens"]
    if not wanted.chat:
        args["llm"] = dict(NO_MODEL)
    if wanted.postgres:
        # As in a cluster: the password is in the environment, not in the dashboard.
        args["database_url"] = re.sub(r":[^:@/]+@", "@", wanted.postgres.url)
        (jobs,) = (entry for entry in application["deployments"] if entry["name"] == "Jobs")
        jobs["num_replicas"] = 2
        started = replace(started, env={"GENSERVE_DATABASE_URL": wanted.postgres.url})
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return started


def _progress(kills: Sequence[Kill], ledger: Ledger) -> str:
    last, jobs = kills[-1], list(ledger.jobs.values())  # clients add to them meanwhile
    ended = sum(job.status in ENDED for job in jobs)
    back = "over 40 s" if last.back_s is None else f"{last.back_s:.0f} s"
    return (
        f"    {len(kills):3}. {last.victim}, back after {back}; "
        f"{len(jobs)} jobs acknowledged, {ended} ended"
    )
