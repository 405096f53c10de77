"""Every row of `wrong_configurations.yaml` is refused, with its line and what would be right."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from serve_app.check import check
from serve_app.check.placement import machine
from serve_app.check.placement.nodes import Node, read_spec
from tests.support.shipped import CLUSTER, CPU, FILES, GPU, edited, shipped

ROWS: dict[str, list[Any]] = {
    f"{group}-{name}": row
    for group, rows in yaml.safe_load(
        Path(__file__).with_name("wrong_configurations.yaml").read_text(encoding="utf-8")
    ).items()
    for name, row in rows.items()
}


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check configurations without nodes for a machine of two cores, whatever this one has."""
    two_cores = Node("this machine", 2)
    monkeypatch.setattr("serve_app.check.report.this_machine", lambda: two_cores)
    for name in ("GENSERVE_DATABASE_URL", "GENSERVE_JOBS_DATABASE_URL", "GENSERVE_API_KEYS"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_a_mistake_is_refused_with_its_line_and_what_to_write(row: list[Any]) -> None:
    kind, old, new, says, *rest = row
    options = rest[0] if rest else {}
    file = FILES[kind]
    text = edited(shipped(file), old, new)
    first = shipped(file)[: shipped(file).index(old)].count("\n") + 1
    lines = text.splitlines()

    found = check(text, file, read_spec(options.get("nodes", ""))).problems

    said = "\n".join(map(str, found))
    hits = [problem for problem in found if says in problem.message]
    assert hits, said or "nothing is refused"
    for hit in hits:
        if "line" in options:
            assert options["line"] in lines[hit.line - 1], said
        else:
            assert first <= hit.line <= first + new.count("\n"), said
        assert str(hit).startswith(f"{file}:{hit.line}: ")


@pytest.mark.parametrize(
    ("cpus", "fits"), [("num_cpus: 0.1}", True), ("num_cpus: 5}", False), ("num_gpus: 1}", False)]
)
def test_without_nodes_replicas_must_fit_on_this_machine(*, cpus: str, fits: bool) -> None:
    text = edited(shipped(CPU), "num_cpus: 0.1}", cpus)

    found = check(text, CPU).problems

    assert not found if fits else len(found) == 1
    for problem in found:
        assert problem.path == "applications.genserve.deployments.Scraper"
        assert "this machine has 2 CPUs and 0 GPUs" in problem.message
        assert "`x-nodes`" in problem.message


def test_this_machine_is_what_ray_makes_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_OVERRIDE_RESOURCES", '{"CPU": 3, "GPU": 1}')
    node = machine.this_machine()
    assert (node.cpus, node.gpus) == (3, 1)


def test_a_card_for_a_model_elsewhere_is_refused() -> None:
    text = shipped(GPU)
    start, end = text.index("        engine: vllm"), text.index("      embedder:")
    elsewhere = (
        "        engine: openai\n        base_url: https://api.example.com/v1\n"
        "        model: theirs\n        served_name: theirs\n        context_tokens: 32000\n"
    )
    (problem,) = check(text[:start] + elsewhere + text[end:], GPU).problems
    assert "the `openai` engine computes elsewhere" in problem.message
    assert problem.path.endswith("LLM.ray_actor_options.num_gpus")


def test_a_number_beyond_any_float_is_refused_and_not_a_crash() -> None:
    text = edited(shipped(CLUSTER), "max_surge_percent: 100", f"max_surge_percent: 1{'0' * 400}")
    assert check(text, CLUSTER).problems


@pytest.mark.parametrize("nodes", ["", "laptop=1x8+1"])
@pytest.mark.parametrize("file", [CPU, GPU])
def test_state_of_one_node_is_fine_on_one_node(file: str, nodes: str) -> None:
    assert check(shipped(file), file, read_spec(nodes)).problems == []


def test_state_of_one_node_is_fine_where_labels_keep_it_there() -> None:
    text = shipped(CPU)
    for name in ("Ingress", "Retriever", "Jobs", "Parser", "Scraper"):
        before, mark, after = text.partition(f"- name: {name}\n")
        options = "ray_actor_options: {"
        text = before + mark + edited(after, options, f"{options}label_selector: {{disk: own}}, ")

    nodes = read_spec("head=1x2@disk=own,worker=3x4")

    assert check(text, CPU, nodes).problems == []


def test_a_folder_that_all_nodes_mount_is_named_as_such() -> None:
    text = edited(shipped(CLUSTER), "s3://genserve-files/production", "file:///mnt/genserve")
    assert check(text, CLUSTER).problems == []


def test_the_environment_may_name_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    setting = "      database_url: postgresql://genserve@postgres.internal:5432/genserve\n"
    text = edited(shipped(CLUSTER), setting, "")
    said = "\n".join(map(str, check(text, CLUSTER).problems))
    assert "SQLite keeps jobs and the catalogue on one node" in said
    monkeypatch.setenv("GENSERVE_DATABASE_URL", "postgresql://me:secret@db.internal/jobs")
    assert check(text, CLUSTER).problems == []


def test_the_service_may_have_a_path_of_its_own() -> None:
    text = edited(shipped(CPU), 'root_path: "" ', "root_path: /tools/genserve ")
    assert check(text, CPU).problems == []


@pytest.mark.parametrize(("public", "good"), [("/tools/genserve", True), ("", False)])
def test_the_public_address_ends_with_the_path_that_the_proxy_removes(
    public: str, *, good: bool
) -> None:
    text = edited(shipped(CPU), 'root_path: "" ', "root_path: /tools/genserve ")
    text = edited(text, "    args:\n", f"    args:\n      public_url: https://ai.test{public}\n")
    found = check(text, CPU).problems
    assert [problem.path for problem in found] == (
        [] if good else ["applications.genserve.args.public_url"]
    )


def test_an_exporter_that_exists_may_be_turned_on() -> None:
    text = edited(shipped(CLUSTER), "  enabled: false  # true", "  enabled: true  #")
    assert check(text, CLUSTER).problems == []


def test_a_next_embedder_needs_its_model_and_its_room() -> None:
    text = edited(shipped(CPU), "        max_batch_tokens: 4096 ", NEXT_MODEL)
    entry = "      - name: NextEmbedder\n        num_replicas: 1\n        max_queued_requests: 9\n"
    text = edited(text, "      - name: Scraper\n", f"{entry}{NEXT_CPUS}      - name: Scraper\n")
    assert check(text, CPU).problems == []
    (found,) = check(text.replace("num_cpus: 0.05", "num_cpus: 3"), CPU).problems
    assert "this machine has 2 CPUs" in found.message
    reserved = text.replace("num_cpus: 0.05", "num_gpus: 0.5")
    (found,) = check(reserved, CPU, read_spec("box=1x2+1")).problems
    assert "`embedder.next.device` is cpu" in found.message


def test_a_renderer_is_set_and_listed_as_the_comments_say(tmp_path: Path) -> None:
    browser = tmp_path / "chromium"
    browser.touch(mode=0o755)
    for name in (CPU, CLUSTER):
        listed = re.search(r"^ +# - name: Renderer.*\n(?: +# .*\n)+", shipped(name), re.MULTILINE)
        assert listed is not None
        entry = listed[0].replace("# ", "", 1).replace("#   ", "  ")
        text = edited(shipped(name), listed[0], entry)
        text = edited(text, "# renderer: {", f"renderer: {{chromium: {browser}, ")
        assert check(text, name).problems == []
    text = edited(text, f"chromium: {browser}", "chromium: no-such-browser")
    assert check(text, CLUSTER).problems == []  # the nodes are elsewhere
    (found,) = check(edited(shipped(CPU), "# renderer:", "renderer:"), CPU).problems
    assert "`Renderer` is not listed" in found.message


NEXT_MODEL = "        next: {model: some/model}\n        max_batch_tokens: 4096 "
NEXT_CPUS = "        ray_actor_options: {num_cpus: 0.05}\n"
