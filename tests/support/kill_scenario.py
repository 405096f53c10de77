"""Kill parts of a running service while clients use it, then audit what it promised."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.faults import Kill, Node
from tests.support.job_audit import Verdict, in_files, over_http
from tests.support.job_clients import Clients, Ledger

_DRAIN_S = 600.0
_SETTLE_S = 5.0  # the files of a job go after its last word


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
    in_files(data, ledger, listed, verdict)
    return verdict
