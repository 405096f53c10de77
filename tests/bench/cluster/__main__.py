"""`python -m tests.bench.cluster`: measure the documented configuration on a cluster."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench import command
from tests.bench.cluster.node_loss import draining, head_loss, scale_to_minimum
from tests.bench.cluster.report import Deployed, Losses, deployed_section, losses_section
from tests.bench.report import Section, say
from tests.support.cluster_config import nodes
from tests.support.cluster_scenarios import ScalingLoad, placement, scaling, update
from tests.support.cluster_site import Site, documented_site
from tests.support.node_removal import removal
from tests.support.ray_exposure import interfaces, listeners, public, reachable_from_elsewhere

_REQUESTS, _QUICK_REQUESTS = 520, 60
_PER_SECOND = 5.0
_LOSS_PER_SECOND = 2.0  # while the only LLM replica is replaced, all requests wait for it
# One after the other: the two cores also have to start replicas meanwhile.
_LOADS = (
    ScalingLoad({"chat": 40}, ("Ingress", "LLM", "Scraper")),
    ScalingLoad({"embed": 8}, ("Embedder",)),
    ScalingLoad({"draw": 2}, ("Images",)),
    ScalingLoad({"upload": 12}, ("Parser",)),
)
_LEAD_S = 10.0
_HEAD_AWAY_S = 15.0  # less than the 60 that workers wait for it
_DRAIN_S = 310  # as documented


def main() -> int:
    """Run the bench; return its exit status."""
    options = command.parser("tests.bench.cluster", __doc__)
    options.add_argument("--losses", action="store_true", help="only what the loss of nodes costs")
    return command.run(options, measure, incidental=("losses",))


def measure(options: argparse.Namespace) -> Iterator[Section]:
    """Start the cluster, run all scenarios on it, and lose the nodes last."""
    with (
        tempfile.TemporaryDirectory(prefix="genserve-cluster-") as folder,
        documented_site(Path(folder), keeps_head=True) as site,
    ):
        if not options.losses:
            yield deployed_section(_deployed(site, quick=options.quick))
        yield losses_section(_losses(site))


def _deployed(site: Site, *, quick: bool) -> Deployed:
    say("==> placement and exposure")
    placed = placement(site)
    found, without_token = list(interfaces(site.nodes)), public(site.nodes)
    say("==> scaling up and down")
    scaled = scaling(site, _LOADS[:1] if quick else _LOADS)
    say(f"    {scaled}\n==> update and rollback")
    requests = _QUICK_REQUESTS if quick else _REQUESTS
    updated = update(site, per_second=_PER_SECOND, requests=requests, rollback=not quick)
    say(f"    {updated}")
    return Deployed(
        date=_today(),
        nodes=[f"{node.name}: {node.cpus:g} CPUs, {node.gpus} GPUs" for node in nodes()],
        cold_start_s=dict(site.cold_start_s),
        placement=placed,
        scaling=scaled,
        update=updated,
        interfaces=found,
        public=without_token,
        listeners=listeners(site.nodes),
        dashboard_reachable=reachable_from_elsewhere(site.nodes.dashboard_port),
    )


def _losses(site: Site) -> Losses:
    scale_to_minimum(site)
    say("==> the head is lost and restarted")
    head = head_loss(site, per_second=_LOSS_PER_SECOND, away_s=_HEAD_AWAY_S)
    say(f"    {head}\n==> a worker is drained")
    llm = site.worker_of("LLM")
    drained = draining(site, llm, per_second=_LOSS_PER_SECOND, deadline_s=_DRAIN_S)
    say(f"    {drained}\n==> a worker is lost")
    llm = site.worker_of("LLM")
    removed = removal(site, llm.name, per_second=_LOSS_PER_SECOND, lead_s=_LEAD_S)
    say(f"    {removed}")
    return Losses(_today(), dict(site.cold_start_s), head, drained, removed)


def _today() -> str:
    return time.strftime("%Y-%m-%d", time.gmtime())


if __name__ == "__main__":
    sys.exit(main())
