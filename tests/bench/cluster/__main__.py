"""`python -m tests.bench.cluster`: the documented configuration on a cluster, measured."""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from http.client import HTTPException
from pathlib import Path

from tests.bench import machine
from tests.bench.cluster import documented, report
from tests.bench.cluster.doors import doors, listeners, open_to_all, reachable_from_elsewhere
from tests.bench.cluster.losses import at_fewest, draining, head_loss, removal
from tests.bench.cluster.proofs import Press, placement, scaling, update
from tests.bench.cluster.report import Findings, Losses
from tests.bench.cluster.site import Site, documented_site
from tests.bench.report import HEADING, with_section
from tests.support.processes import StartError

_HERE = Path(__file__).parents[1]
_REQUESTS = 520
_PER_SECOND = 5.0
_LOSS_PER_SECOND = 2.0  # all that come while the only LLM replica is replaced wait for it
# One after the other: two cores have to start replicas beside each.
_PRESSES = (
    Press({"chat": 40}, ("Ingress", "LLM", "Scraper")),
    Press({"embed": 8}, ("Embedder",)),
    Press({"draw": 2}, ("Images",)),
    Press({"upload": 12}, ("Parser",)),
)
_LEAD_S = 10.0
_HEAD_AWAY_S = 15.0  # less than the 60 that workers wait for it
_DRAIN_S = 310  # as documented


def main() -> int:
    """Run it, print the tables, write them; 0 if everything holds."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.cluster", description=__doc__)
    parser.add_argument(
        "--requests", type=int, default=_REQUESTS, help="with fewer than 500 nothing is written"
    )
    parser.add_argument("--losses", action="store_true", help="only what nodes that go cost")
    options = parser.parse_args()
    # Also where the shell had them ignored, as for a job in the background.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="genserve-cluster-") as folder,
            documented_site(Path(folder), keeps_head=True) as site,
        ):
            found = None if options.losses else measured(site, options.requests)
            lost = losses(site)
    except KeyboardInterrupt:
        _say("stopped")
        return 130
    except (StartError, OSError, HTTPException, subprocess.SubprocessError) as error:
        _say(f"error: {error}")
        return 1
    rows, written = [*report.losses_rows(lost)], options.requests >= report.REQUESTS
    if found is not None:
        rows += report.rows(found)
        _keep("cluster", report.section(found), found, written=written)
    _keep("losses", report.losses_section(lost), lost, written=written)
    return 0 if all(held for *_, held in rows) else 1


def _keep(name: str, text: str, found: Findings | Losses, *, written: bool) -> None:
    """Print a section; and write it, with the raw numbers."""
    _say(f"\n{text}")
    if written:
        results = _HERE / "RESULTS.md"
        before = results.read_text(encoding="utf-8") if results.exists() else HEADING
        results.write_text(with_section(before, name, text), encoding="utf-8")
        raw = json.dumps({"machine": machine.description(), **asdict(found)}, indent=1)
        (_HERE / "results" / f"{name}.json").write_text(raw + "\n", encoding="utf-8")


def measured(site: Site, requests: int) -> Findings:
    """Show in turn, on one site, all that leaves its nodes alone."""
    _say("==> placement and doors")
    placed = placement(site)
    found_doors, public = list(doors(site.nodes)), open_to_all(site.nodes)
    _say("==> up and down")
    scaled = scaling(site, _PRESSES)
    _say(f"    {scaled}")
    _say("==> update and rollback")
    updated = update(site, per_second=_PER_SECOND, requests=requests)
    _say(f"    {updated}")
    return Findings(
        date=_today(),
        nodes=[f"{n.name}: {n.cpus:g} CPUs, {n.gpus} GPUs" for n in documented.nodes()],
        cold_start_s=dict(site.cold_start_s),
        placement=placed,
        scaling=scaled,
        update=updated,
        doors=found_doors,
        open_to_all=public,
        listeners=listeners(site.nodes),
        dashboard_reachable=reachable_from_elsewhere(site.nodes.dashboard_port),
    )


def losses(site: Site) -> Losses:
    """Have nodes go in turn; the one that is killed comes last."""
    at_fewest(site)
    _say("==> the head is lost and comes back")
    beheaded = head_loss(site, per_second=_LOSS_PER_SECOND, away_s=_HEAD_AWAY_S)
    _say(f"    {beheaded}")
    _say("==> a worker is drained")
    llm = site.worker_of("LLM")
    drained = draining(site, llm, per_second=_LOSS_PER_SECOND, deadline_s=_DRAIN_S)
    _say(f"    {drained}")
    _say("==> a worker is lost")
    llm = site.worker_of("LLM")
    removed = removal(site, llm.name, per_second=_LOSS_PER_SECOND, lead_s=_LEAD_S)
    _say(f"    {removed}")
    return Losses(_today(), dict(site.cold_start_s), beheaded, drained, removed)


def _today() -> str:
    return time.strftime("%Y-%m-%d", time.gmtime())


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
