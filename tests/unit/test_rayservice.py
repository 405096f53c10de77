"""`configs/rayservice.yaml` is serve_config.yaml on Kubernetes, and is checked as that file is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from ray.autoscaler._private.kuberay.autoscaling_config import (
    _derive_autoscaling_config_from_ray_cr,
)

from serve_app.check import check
from serve_app.check.file.document import read
from serve_app.check.file.rayservice import groups, is_rayservice, quantity
from serve_app.check.placement.groups import node_of, read_cluster
from serve_app.check.placement.nodes import Node
from tests.support.shipped import KUBERNETES, edited, shipped

if TYPE_CHECKING:
    from collections.abc import Iterator

TEXT = shipped(KUBERNETES)
DOCUMENTS: list[dict[str, Any]] = list(yaml.safe_load_all(TEXT))
SERVICE = DOCUMENTS[0]["spec"]
CLUSTER = SERVICE["rayClusterConfig"]
GROUPS = [CLUSTER["headGroupSpec"], *CLUSTER["workerGroupSpecs"]]
STORES = [document for document in DOCUMENTS if document["kind"] == "StatefulSet"]
CONTAINERS = [
    container
    for owner in [*GROUPS, *(store["spec"] for store in STORES)]
    for container in owner["template"]["spec"]["containers"]
]
RAY_CONTAINERS = [g["template"]["spec"]["containers"][0] for g in GROUPS]
PODS = [owner["template"]["spec"] for owner in [*GROUPS, *(store["spec"] for store in STORES)]]

NEEDED_BY_KUBERNETES = {
    "x-nodes",  # the groups take its place
    "http_options.host",  # a pod is reached from others
    "applications.0.args.retriever.url",  # the Services of the same file
    "applications.0.args.database_url",
}


def differences(one: Any, other: Any, path: str = "") -> Iterator[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted({*one, *other}):
            yield from differences(one.get(key), other.get(key), f"{path}.{key}".lstrip("."))
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for i, (left, right) in enumerate(zip(one, other, strict=True)):
            yield from differences(left, right, f"{path}.{i}")
    elif one != other:
        yield path


def test_it_holds_serve_config_but_for_what_kubernetes_needs() -> None:
    inside = yaml.safe_load(SERVICE["serveConfigV2"])
    outside = yaml.safe_load(shipped("serve_config.yaml"))

    assert set(differences(inside, outside)) == NEEDED_BY_KUBERNETES


def test_what_it_names_is_in_it() -> None:
    services = {d["metadata"]["name"] for d in DOCUMENTS if d["kind"] == "Service"}
    claims = {d["metadata"]["name"] for d in DOCUMENTS if d["kind"] == "PersistentVolumeClaim"}

    assert services == {"qdrant", "postgres", "redis"}
    assert {store["spec"]["serviceName"] for store in STORES} == services
    assert CLUSTER["gcsFaultToleranceOptions"]["redisAddress"] == "redis:6379"
    for group in GROUPS:
        for volume in group["template"]["spec"]["volumes"]:
            if claim := volume.get("persistentVolumeClaim"):
                assert claim["claimName"] in claims


def test_its_secrets_are_those_that_its_head_says_to_make() -> None:
    used = {
        (ref["key"], ref.get("optional", False))
        for ref in _values_of(DOCUMENTS, "secretKeyRef")
        if ref["name"] == "genserve"
    }
    made = {key for key, optional in used if not optional} | {"auth_token"}

    head = TEXT.partition("apiVersion")[0]

    assert CLUSTER["authOptions"] == {"mode": "token", "secretName": "genserve"}
    assert all(f"--from-literal={key}=" in head for key in made)
    assert all(key in head for key, _ in used)


def _values_of(value: Any, key: str) -> Iterator[Any]:
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == key:
                yield inner
            yield from _values_of(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from _values_of(inner, key)


def test_every_container_is_bounded_probed_pinned_and_without_root() -> None:
    assert len(CONTAINERS) == len(PODS) == 8
    for container in CONTAINERS:
        assert set(container["resources"]["limits"]) >= {"cpu", "memory"}
        assert set(container["resources"]["requests"]) >= {"cpu", "memory"}
        assert {"readinessProbe", "livenessProbe"} <= set(container)
        version = container["image"].rpartition(":")[2]
        assert version[0] in "v0123456789"
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    for pod in PODS:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0


def test_its_ports_are_open_to_who_needs_them_and_nobody_else() -> None:
    stores, ray = (d["spec"] for d in DOCUMENTS if d["kind"] == "NetworkPolicy")
    of_a_ray_cluster = {"matchExpressions": [{"key": "ray.io/cluster", "operator": "Exists"}]}
    (who,) = stores["podSelector"]["matchExpressions"]

    assert set(who["values"]) == {store["metadata"]["name"] for store in STORES}
    assert stores["ingress"] == [{"from": [{"podSelector": {}}]}]
    assert ray["podSelector"] == of_a_ray_cluster
    among_themselves, *others = ray["ingress"]
    assert among_themselves == {"from": [{"podSelector": of_a_ray_cluster}]}
    assert stores["policyTypes"] == ray["policyTypes"] == ["Ingress"]
    opened = {
        rule["from"][0]["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]: [
            port["port"] for port in rule["ports"]
        ]
        for rule in others
    }
    assert opened == {"kuberay-operator": [8265], "monitoring": [8080], "gateway": [8000]}
    named = {port["containerPort"] for c in RAY_CONTAINERS for port in c["ports"]}
    assert {port for ports in opened.values() for port in ports} < named


def test_cards_are_asked_for_and_limited_alike() -> None:
    for container in CONTAINERS:
        resources = container["resources"]
        gpu = "nvidia.com/gpu"
        assert resources["limits"].get(gpu) == resources["requests"].get(gpu)


def test_its_stores_keep_what_they_have() -> None:
    for store in STORES:
        (claim,) = store["spec"]["volumeClaimTemplates"]
        (container,) = store["spec"]["template"]["spec"]["containers"]
        (mount,) = container["volumeMounts"]
        assert claim["metadata"]["name"] == mount["name"]
        assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]


def test_its_groups_are_the_nodes_of_the_plan() -> None:
    files, _ = read(TEXT, KUBERNETES)
    (service,) = filter(is_rayservice, files)

    cluster = read_cluster(service)

    assert list(cluster.minimum) == [
        Node("head", 0),
        Node("cpu-0", 8),
        Node("cpu-1", 8),
        Node("large-0", 16, 4, {"genserve-role": "large"}),
        Node("small", 8, 1, {"genserve-role": "small"}),
    ]
    assert [node.name for node in cluster.maximum[-2:]] == ["pictures-0", "pictures-1"]
    assert len(cluster.maximum) == 12


def test_rays_autoscaler_reads_the_groups_as_the_check_does() -> None:
    read_by_ray = _derive_autoscaling_config_from_ray_cr(
        {"metadata": {"name": "genserve", "namespace": "default"}, "spec": CLUSTER}
    )["available_node_types"]
    (service,) = filter(is_rayservice, read(TEXT, KUBERNETES)[0])

    for group in groups(service):
        of_ray = read_by_ray["headgroup" if group.name == "head" else group.name]
        node = node_of(group)
        assert of_ray["resources"]["CPU"] == node.cpus
        assert of_ray["resources"].get("GPU", 0) == node.gpus
        assert of_ray["labels"] == node.labels
        if group.name != "head":
            assert (of_ray["min_workers"], of_ray["max_workers"]) == (
                group.pods("minReplicas"),
                group.pods("maxReplicas"),
            )


def test_nodes_on_the_command_line_go_before_its_groups() -> None:
    found = check(TEXT, KUBERNETES, [Node("laptop", 4)]).problems
    assert {problem.path.rpartition(".")[2] for problem in found} >= {"LLM", "Embedder"}


def test_ray_books_what_the_group_says_rather_than_what_the_pod_has() -> None:
    text = edited(TEXT, 'num-cpus: "0"', 'num-cpus: "3"')
    text = edited(
        text, "- groupName: large\n", '- groupName: large\n        resources: {GPU: "2"}\n'
    )
    (service,) = filter(is_rayservice, read(text, KUBERNETES)[0])

    nodes = {node.name: node for node in read_cluster(service).minimum}

    assert (nodes["head"].cpus, nodes["large-0"].gpus) == (3, 2)


@pytest.mark.parametrize(
    ("written", "amount"), [("500m", 0.5), ("16", 16), (4, 4), ("1.5", 1.5), ("lots", 0)]
)
def test_quantities_are_read_as_kubernetes_does(written: object, amount: float) -> None:
    assert quantity(written) == amount


@pytest.mark.parametrize(
    "text",
    [
        "kind: RayService\n",
        "kind: RayService\nspec: 3\n",
        "kind: RayService\nspec: {rayClusterConfig: [1], serveConfigV2: 4}\n",
        "kind: RayService\nspec:\n  serveConfigV2: |\n    applications: [\n",
        "kind: RayService\nspec:\n  serveConfigV2: |\n    3\n",
        "kind: RayService\nspec: {rayClusterConfig: {workerGroupSpecs: [1, {template: []}]}}\n",
    ],
)
def test_a_service_that_is_none_is_refused_and_not_a_crash(text: str) -> None:
    found = check(text, KUBERNETES).problems

    assert found
    assert all(1 <= problem.line <= text.count("\n") + 1 for problem in found)


def test_names_that_are_lists_are_left_to_kubernetes_and_no_crash() -> None:
    text = edited(TEXT, "{name: serve, containerPort: 8000}", "{name: [a], containerPort: 8000}")

    assert check(text, KUBERNETES).problems == []


def test_prometheus_finds_its_pods_under_the_name_that_the_alerts_look_for() -> None:
    monitor = yaml.safe_load(shipped("configs/monitoring/podmonitor.yaml"))["spec"]
    (scraped,) = yaml.safe_load(shipped("configs/monitoring/prometheus.yml"))["scrape_configs"]
    (endpoint,) = monitor["podMetricsEndpoints"]
    alerts = shipped("configs/monitoring/alerts.yml")

    for container in RAY_CONTAINERS:
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert ports[endpoint["port"]] == 8080
    job = scraped["job_name"]
    assert {"targetLabel": "job", "replacement": job} in endpoint["relabelings"]
    assert endpoint["metricRelabelings"] == scraped["metric_relabel_configs"]
    assert set(re.findall(r'job="(\w+)"', alerts)) == {job}
    assert monitor["podTargetLabels"] == ["ray.io/group"]
    assert "ray_io_group" in alerts
