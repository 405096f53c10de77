"""Place every replica of a configuration on a real Ray whose nodes have logical CPUs and GPUs.

Run with a configuration file; prints one JSON object. The nodes are those under `x-nodes` of the
file, or the groups of a RayService: at first as many as it has, then as many as it may grow to. No
model is loaded.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import ray
from ray.cluster_utils import Cluster
from ray.util.placement_group import PlacementGroup, placement_group, placement_group_table
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from serve_app.check.file.document import read
from serve_app.check.file.rayservice import is_rayservice, serve_config
from serve_app.check.placement import nodes as described
from serve_app.check.placement.groups import read_cluster

if TYPE_CHECKING:
    from collections.abc import Sequence

WAIT_S = 120.0  # for all replicas together; two cores start an actor a second, or slower
PENDING_S = 3.0  # what is not placed by then, on idle nodes, will not be

NAME_LABEL = "node-name"


@dataclass(frozen=True)
class Demand:
    """What one replica of a deployment asks of the scheduler, and how many there may be."""

    name: str
    minimum: int
    maximum: int
    options: dict[str, Any]
    bundles: list[dict[str, float]] | None
    strategy: str

    def as_group(self) -> PlacementGroup:
        """Reserve what one replica takes, without starting a process."""
        if self.bundles is not None:
            return cast("PlacementGroup", placement_group(self.bundles, strategy=self.strategy))
        bundle = {"CPU": self.options["num_cpus"], "GPU": self.options.get("num_gpus", 0)}
        labels = self.options.get("label_selector")
        group = placement_group(
            [{k: v for k, v in bundle.items() if v}],
            strategy=self.strategy,
            bundle_label_selector=[labels] if labels else None,
        )
        return cast("PlacementGroup", group)


def documented(text: str) -> tuple[described.Cluster, list[dict[str, Any]]]:
    """Read the nodes that a file is for, and its deployments."""
    files, _ = read(text, "")
    service = next(filter(is_rayservice, files), None)
    serve, _ = serve_config(service) if service else (files[0], [])
    assert serve is not None
    nodes, _ = described.read_nodes(serve)
    cluster = read_cluster(service) if service else described.Cluster(nodes, nodes)
    return cluster, serve.data["applications"][0]["deployments"]


def demands(deployments: list[dict[str, Any]]) -> list[Demand]:
    """Read what each deployment asks for."""
    found = []
    for options in deployments:
        scaling = options.get("autoscaling_config", {})
        fixed = options.get("num_replicas", 1)
        actor = {k: v for k, v in options["ray_actor_options"].items() if k != "runtime_env"}
        found.append(
            Demand(
                options["name"],
                scaling.get("min_replicas", fixed),
                scaling.get("max_replicas", fixed),
                actor,
                options.get("placement_group_bundles"),
                options.get("placement_group_strategy", "PACK"),
            )
        )
    return found


class _Part:
    """Stands for a replica, or for one of vLLM's workers."""

    def node(self) -> str:
        return str(ray.get_runtime_context().get_node_id())


Part: Any = ray.remote(_Part)


def place_actors(wanted: list[Demand], names: dict[str, str]) -> dict[str, list[list[str]]]:
    """Start the fewest replicas as Serve and vLLM do; the nodes of each replica's parts."""
    replicas: dict[str, list[list[Any]]] = {}
    for demand in wanted:
        for _ in range(demand.minimum):
            if demand.bundles is None:
                parts = [Part.options(scheduling_strategy="SPREAD", **demand.options).remote()]
            else:
                parts = _in_bundles(demand)
            replicas.setdefault(demand.name, []).append(parts)
    everyone = [part for parts in replicas.values() for replica in parts for part in replica]
    where = dict(
        zip(everyone, ray.get([a.node.remote() for a in everyone], timeout=WAIT_S), strict=True)
    )
    placed = {
        name: [[names[where[part]] for part in replica] for replica in parts]
        for name, parts in replicas.items()
    }
    for actor in everyone:
        ray.kill(actor)
    return placed


def _in_bundles(demand: Demand) -> list[Any]:
    """The replica in the first bundle, and a worker on each bundle's GPU, as vLLM books them."""
    group = demand.as_group()

    def options(index: int) -> PlacementGroupSchedulingStrategy:
        return PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=index)

    return [
        Part.options(scheduling_strategy=options(0), **demand.options).remote(),
        *(
            Part.options(num_cpus=0, num_gpus=1, scheduling_strategy=options(i)).remote()
            for i, bundle in enumerate(demand.bundles or ())
            if bundle.get("GPU")
        ),
    ]


def place_groups(wanted: list[Demand], names: dict[str, str]) -> dict[str, list[list[str]]]:
    """Reserve the most replicas, all at once; the nodes of each replica's bundles."""
    groups = [(d.name, d.as_group()) for d in wanted for _ in range(d.maximum)]
    placed: dict[str, list[list[str]]] = {}
    for name, group in groups:
        if not group.wait(WAIT_S):
            message = f"a replica of {name} is not placed: {placement_group_table(group)}"
            raise TimeoutError(message)
        bundles = placement_group_table(group)["bundles_to_node_id"]
        placed.setdefault(name, []).append([names[node] for node in bundles.values()])
    return placed


def scheduling_states(groups: dict[str, PlacementGroup]) -> dict[str, str]:
    """Give groups time to be placed, and say what became of each."""
    time.sleep(PENDING_S)
    tables = {name: placement_group_table(group) for name, group in groups.items()}
    return {
        name: "CREATED" if t["state"] == "CREATED" else str(t["stats"]["scheduling_state"])
        for name, t in tables.items()
    }


def summary(cluster: Cluster, nodes: described.Cluster, wanted: list[Demand]) -> dict[str, Any]:
    """Place the replicas on the cluster that is connected; also some that cannot be placed."""
    result: dict[str, Any] = {"nodes": sorted(node_names().values())}
    result["minimum"] = place_actors(wanted, node_names())
    for group_id in placement_group_table():
        ray.util.remove_placement_group(PlacementGroup(ray.PlacementGroupID.from_hex(group_id)))
    there = {node.name for node in nodes.minimum}
    add_nodes(cluster, [node for node in nodes.maximum if node.name not in there])
    result["all nodes"] = sorted(node_names().values())
    result["maximum"] = place_groups(wanted, node_names())
    beyond = {d.name: d.as_group() for d in wanted if d.bundles or d.options.get("num_gpus")}
    too_big = placement_group([{"GPU": 16}], strategy="STRICT_PACK")
    result["one too many"] = scheduling_states({**beyond, "too big": too_big})
    return result


def node_names() -> dict[str, str]:
    """Name the nodes by their ids."""
    return {node["NodeID"]: node["Labels"][NAME_LABEL] for node in ray.nodes()}


def add_nodes(cluster: Cluster, nodes: Sequence[described.Node]) -> None:
    """Start them one by one, the head first."""
    for node in nodes:
        first = {"include_dashboard": False} if cluster.head_node is None else {}
        cluster.add_node(
            num_cpus=node.cpus,
            num_gpus=node.gpus,
            labels={**node.labels, NAME_LABEL: node.name},
            object_store_memory=80 * 1024**2,
            **first,
        )


def main() -> None:
    """Start the nodes, place, print, stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    nodes, deployments = documented(parser.parse_args().file.read_text(encoding="utf-8"))
    if not nodes.minimum:
        parser.error("the file does not say which nodes it is made for")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="gs", ignore_cleanup_errors=True) as folder:
        # A folder of its own: another Ray on this machine stays the one that `auto` finds.
        # No idle workers: Ray would start one for each of the 160 logical CPUs.
        os.environ |= {
            "RAY_TMPDIR": folder,
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_enable_worker_prestart": "0",
            "RAY_prestart_worker_first_driver": "0",
        }
        cluster = Cluster()
        try:
            add_nodes(cluster, nodes.minimum)
            ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
            result = summary(cluster, nodes, demands(deployments))
        finally:
            ray.shutdown()
            cluster.shutdown()
    result["seconds"] = round(time.monotonic() - began, 1)
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
