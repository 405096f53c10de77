"""Which deployment lands where: `python -m serve_app.check FILE --nodes SPEC`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from serve_app.check import check
from serve_app.check.command import main
from serve_app.check.file.document import read
from serve_app.check.placement.nodes import Node, read_nodes, read_spec
from serve_app.check.placement.plan import Plan, Size, plan
from tests.support.shipped import shipped

CLUSTER = shipped("serve_config.yaml")
CPU = shipped("configs/cpu.yaml")


def deployed(*deployments: dict[str, Any]) -> dict[str, Any]:
    return {"deployments": list(deployments)}


def planned(nodes: str, *deployments: dict[str, Any], size: Size = "minimum") -> Plan:
    return plan(deployed(*deployments), read_spec(nodes), size)


def test_nodes_are_read_from_the_command_line_and_from_the_file() -> None:
    spec = read_spec("head=1x16, large=2x64+8,small=1x16+1@genserve-role=small")
    assert spec == [
        Node("head", 16),
        Node("large-0", 64, 8),
        Node("large-1", 64, 8),
        Node("small", 16, 1, {"genserve-role": "small"}),
    ]
    (file,), _ = read(CLUSTER, "")
    named, problems = read_nodes(file)
    assert problems == []
    assert [node.name for node in named] == ["head", "large-0", "large-1", "small", "pictures"]
    assert named[1] == spec[1]
    assert named[3] == spec[3]


@pytest.mark.parametrize("spec", ["head", "head=16", "head=1x", "H=1x1", "a=1x1+x", "a=1x1@b"])
def test_a_spec_that_cannot_be_read_says_how_one_is_written(spec: str) -> None:
    with pytest.raises(ValueError, match="NAME=COUNTxCPUS"):
        read_spec(spec)


def test_the_shipped_cluster_file_fits_the_nodes_that_it_names() -> None:
    report = check(CLUSTER, "serve_config.yaml")
    fewest, most = report.plans
    assert report.problems == []
    assert "Images" not in fewest.places
    assert set(most.places["Images"]) == {"pictures"}
    for found, count in ((fewest, 1), (most, 4)):
        assert set(found.places["Embedder"]) == {"small"}
        assert all(node.startswith("large") for node in found.places["LLM"])
        assert sum(found.places["LLM"].values()) == count
    assert sum(most.free_gpus.values()) == 0


def test_one_node_less_is_refused_at_the_deployment_that_finds_none() -> None:
    nodes = read_spec(
        "head=1x16,large=1x64+8,small=1x16+1@genserve-role=small,"
        "pictures=1x16+2@genserve-role=pictures"
    )
    (problem,) = check(CLUSTER, "x.yaml", nodes).problems
    assert problem.path == "applications.genserve.deployments.LLM"
    assert problem.message == (
        "2 of 4 replicas fit on no node at maximum replicas: "
        "each needs 4 bundles of 1 CPU, 1 GPU on one node"
    )
    line = CLUSTER.splitlines()[problem.line - 1]
    assert line.strip() == "- name: LLM"


def test_a_group_stays_whole_on_one_node() -> None:
    group = {
        "name": "LLM",
        "placement_group_bundles": [{"GPU": 1, "CPU": 1}] * 4,
        "placement_group_strategy": "STRICT_PACK",
    }
    assert planned("a=2x16+4", group).places["LLM"] == {"a-0": 1}
    assert planned("a=4x16+2", group).unplaced["LLM"] == 1
    spread = group | {"placement_group_strategy": "PACK"}
    assert planned("a=4x16+2", spread).unplaced == {}


def test_parts_of_a_gpu_are_on_one_card_and_whole_ones_stay_whole() -> None:
    half = {"name": "Embedder", "num_replicas": 2, "ray_actor_options": {"num_gpus": 0.5}}
    whole = {"name": "Images", "ray_actor_options": {"num_gpus": 1}}
    found = planned("a=1x16+2", half, whole)
    assert found.unplaced == {}
    assert found.free_gpus == {"a": 0}
    large = {"name": "Embedder", "num_replicas": 2, "ray_actor_options": {"num_gpus": 0.6}}
    assert planned("a=1x16+1", large).unplaced == {"Embedder": 1}
    assert planned("a=1x16+2", large, whole).unplaced["Embedder"] == 1


def test_labels_are_kept_to() -> None:
    labelled = {
        "name": "Embedder",
        "ray_actor_options": {"num_gpus": 0.25, "label_selector": {"role": "small"}},
    }
    assert planned("big=1x64+8,small=1x4+1@role=small", labelled).places["Embedder"] == {"small": 1}
    assert planned("big=1x64+8", labelled).unplaced == {"Embedder": 1}


@pytest.mark.parametrize(
    ("selector", "node"),
    [
        ("l4", "small"),
        ("!l4", "big"),
        ("in(h100, h200)", "big"),
        ("!in(h100,h200)", "small"),
        ("t4", None),
    ],
)
def test_label_selectors_are_read_as_ray_does(selector: str, node: str | None) -> None:
    wanted = {"name": "Images", "ray_actor_options": {"label_selector": {"card": selector}}}
    found = planned("small=1x4@card=l4,big=1x4@card=h100", wanted)
    assert list(found.places.get("Images", ())) == ([node] if node else [])


def test_single_replicas_take_their_turn_on_all_nodes_with_room() -> None:
    # Serve schedules them with Ray's SPREAD, which does not spare nodes with GPUs.
    six = {"name": "Ingress", "num_replicas": 6}
    found = planned("head=1x4,big=1x64+8,little=1x1", six)
    assert found.places["Ingress"] == {"head": 3, "big": 2, "little": 1}
    assert any("spread, as on" in line for line in found.lines())
    parts = {"name": "Embedder", "num_replicas": 2, "ray_actor_options": {"num_gpus": 0.5}}
    assert planned("a=2x4+1", parts).places["Embedder"] == {"a-0": 1, "a-1": 1}
    assert not any("spread" in line for line in planned("a=1x4+1", parts).lines())


def test_replicas_kept_apart_are_apart() -> None:
    two = {"name": "Ingress", "num_replicas": 2, "max_replicas_per_node": 1}
    assert planned("a=2x8", two).places["Ingress"] == {"a-0": 1, "a-1": 1}
    assert planned("a=1x8", two).unplaced == {"Ingress": 1}
    spread = {
        "name": "LLM",
        "placement_group_bundles": [{"GPU": 1, "CPU": 1}] * 2,
        "placement_group_strategy": "STRICT_SPREAD",
    }
    assert planned("a=1x8+4", spread).unplaced == {"LLM": 1}
    assert planned("a=2x8+4", spread).free_gpus == {"a-0": 3, "a-1": 3}


def test_what_no_node_is_known_to_have_is_not_placed() -> None:
    own = {"name": "Jobs", "ray_actor_options": {"resources": {"disk": 1}}}
    assert planned("a=1x8", own).unplaced == {"Jobs": 1}
    of_kind = {"name": "Images", "ray_actor_options": {"num_gpus": 1, "accelerator_type": "L4"}}
    assert planned("a=1x8+1", of_kind).unplaced == {"Images": 1}
    assert planned("a=1x8+1@ray.io/accelerator-type=L4", of_kind).unplaced == {}


def test_an_update_needs_room_beside_what_stands() -> None:
    gpu = {"name": "Embedder", "max_surge_percent": 50, "ray_actor_options": {"num_gpus": 0.5}}
    plans = [
        plan(deployed(gpu), read_spec(nodes), "minimum", updating="Embedder").unplaced
        for nodes in ("a=1x8+1", "a=1x8+0")
    ]
    assert plans == [{}, {"Embedder": 2}]  # half of one replica is one
    deployments = yaml.safe_load(CLUSTER)["applications"][0]["deployments"]
    (llm,) = (d for d in deployments if d["name"] == "LLM")
    one_group = read_spec("large=1x64+4")
    assert plan(deployed(llm), one_group, "minimum").unplaced == {}
    assert plan(deployed(llm), one_group, "minimum", updating="LLM").unplaced == {"LLM": 1}


def test_replicas_are_counted_as_serve_does() -> None:
    scaled = {"name": "Images", "autoscaling_config": {"min_replicas": 0, "max_replicas": 3}}
    asleep = planned("a=1x2", scaled)
    assert asleep.places == {}
    assert "  Images      0  until the first request" in list(asleep.lines())
    assert planned("a=1x2", scaled, size="maximum").unplaced == {"Images": 1}


def test_the_command_prints_the_plan_or_what_does_not_fit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cpu.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(CPU)))
    assert main([str(path), "--nodes", "laptop=1x2"]) == 0
    said = capsys.readouterr().out
    assert "good" in said
    assert "placement at maximum replicas on 1 node: 0 of 0 GPUs used" in said
    assert "LLM         1  on laptop, each 0.5 CPU" in said
    assert "laptop  1.6 of 2 CPUs used, 0.4 free" in said
    assert main([str(path), "--nodes", "laptop=1x1"]) == 1
    said = capsys.readouterr().out
    assert "fit on no node at minimum replicas" in said
    assert "on no node, each 0.1 CPU" in said
    assert "until the first request" not in said
    with pytest.raises(SystemExit):
        main([str(path), "--nodes", "laptop"])
    assert "NAME=COUNTxCPUS" in capsys.readouterr().err
