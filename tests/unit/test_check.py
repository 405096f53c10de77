"""Wrong configurations are refused, each with its line, its place and what would be right."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from serve_app.check import Problem, problems
from serve_app.check.command import main
from serve_app.settings import DEPLOYMENT_NAMES

ROOT = Path(__file__).parents[2]
CPU = (ROOT / "configs/cpu.yaml").read_text(encoding="utf-8")
CLUSTER = (ROOT / "serve_config.yaml").read_text(encoding="utf-8")
APPLICATION = "applications.genserve"
DEPLOYMENTS = f"{APPLICATION}.deployments"


def edited(text: str, old: str, new: str) -> str:
    """Replace the first `old`, which has to be there: these files do change."""
    assert old in text
    return text.replace(old, new, 1)


def only_problem(text: str) -> Problem:
    found = problems(text, "x.yaml")
    assert len(found) == 1, "\n".join(map(str, found))
    return found[0]


# base, what is replaced, by what, the place reported, words of the message; the line reported
# has to be the one on which the last key of the place stands in the replacement.
WRONG_KEYS = {
    "option of a deployment": (
        CPU,
        "max_ongoing_requests: 64 ",
        "max_ongoing_request: 64 ",
        f"{DEPLOYMENTS}.LLM.max_ongoing_request",
        "did you mean `max_ongoing_requests`?",
    ),
    "actor option": (
        CLUSTER,
        "num_gpus: 0.25",
        "num_gpu: 0.25",
        f"{DEPLOYMENTS}.Embedder.ray_actor_options.num_gpu",
        "did you mean `num_gpus`?",
    ),
    "one level too shallow": (
        CPU,
        "    num_replicas: 1\n        max_ongoing_requests: 8 ",
        "    num_replicas: 1\n        num_gpus: 1\n        max_ongoing_requests: 8 ",
        f"{DEPLOYMENTS}.Parser.num_gpus",
        "belongs under `applications.deployments.ray_actor_options`",
    ),
    "one level too deep": (
        CPU,
        "  port: 8000",
        "  port: 8000\n  proxy_location: HeadOnly",
        "http_options.proxy_location",
        "belongs at the top",
    ),
    "top level": (CLUSTER, "http_options:", "http_option:", "http_option", "`http_options`?"),
    "autoscaling": (
        CLUSTER,
        "min_replicas: 2 ",
        "minimum_replicas: 2 ",
        f"{DEPLOYMENTS}.Ingress.autoscaling_config.minimum_replicas",
        "did you mean `min_replicas`?",
    ),
    "backpressure": (
        CPU,
        "{status_code: 429, retry_after_s: 2}",
        "{status_code: 429, retry_after: 2}",
        f"{DEPLOYMENTS}.Ingress.backpressure_config.retry_after",
        "did you mean `retry_after_s`?",
    ),
    "router": (
        CPU,
        "        graceful_shutdown_timeout_s: 10  # for passes that are queued\n",
        (
            "        graceful_shutdown_timeout_s: 10\n"
            "        request_router_config: {initial_backoff: 1}\n"
        ),
        f"{DEPLOYMENTS}.Embedder.request_router_config.initial_backoff",
        "did you mean `initial_backoff_s`?",
    ),
    "log": (
        CPU,
        "log_level: INFO",
        "level: INFO",
        f"{APPLICATION}.logging_config.level",
        "did you mean `log_level`?",
    ),
    "http options in the application": (
        CPU,
        "    route_prefix: /",
        "    route_prefix: /\n    port: 8001",
        f"{APPLICATION}.port",
        "belongs under `http_options`",
    ),
    "policy of an application": (
        CPU,
        "    import_path: ",
        "    autoscaling_policy: {policy_functon: a.b}\n    import_path: ",
        f"{APPLICATION}.autoscaling_policy.policy_functon",
        "did you mean `policy_function`?",
    ),
    "policy of a deployment": (
        CLUSTER,
        "          max_replicas: 8 ",
        "          policy: {policy_functon: a.b}\n          max_replicas: 8 ",
        f"{DEPLOYMENTS}.Ingress.autoscaling_config.policy.policy_functon",
        "did you mean `policy_function`?",
    ),
    "gRPC": (
        CPU,
        "http_options:",
        "grpc_options: {prt: 9000}\nhttp_options:",
        "grpc_options.prt",
        "did you mean `port`?",
    ),
    "environment of a replica": (
        CPU,
        "            env_vars:\n",
        "            env_var:\n",
        f"{DEPLOYMENTS}.LLM.ray_actor_options.runtime_env.env_var",
        "did you mean `env_vars`?",
    ),
    "resource of a bundle": (
        CLUSTER,
        "          - {GPU: 1, CPU: 1}\n          - {GPU: 1, CPU: 1}\n        placement",
        "          - {GPU: 1, CPU: 1}\n          - {GPU: 1, CPU: 1, gpus: 0}\n        placement",
        f"{DEPLOYMENTS}.LLM.placement_group_bundles.3.gpus",
        "did you mean `GPU`?",
    ),
    "section of the settings": (
        CPU,
        "      embedder:\n",
        "      scrapper: {max_pages: 3}\n      embedder:\n",
        f"{APPLICATION}.args.scrapper",
        "did you mean `scraper`?",
    ),
    "setting": (
        CPU,
        "max_source_tokens: 1500",
        "max_source_token: 1500",
        f"{APPLICATION}.args.answer.max_source_token",
        "did you mean `max_source_tokens`?",
    ),
    "setting of another section": (
        CPU,
        "        store: edge",
        "        store: edge\n        top_k: 5",
        f"{APPLICATION}.args.retriever.top_k",
        "belongs under `answer`",
    ),
}

WRONG_VALUES = {
    "number": (
        CPU,
        "max_ongoing_requests: 256 ",
        "max_ongoing_requests: many ",
        f"{DEPLOYMENTS}.Ingress.max_ongoing_requests",
        "valid integer",
    ),
    "proxies": (CPU, "HeadOnly ", "Head ", "proxy_location", "'HeadOnly'"),
    "replicas out of order": (
        CLUSTER,
        "max_replicas: 4  # 16 GPUs",
        "max_replicas: 4\n          initial_replicas: 8",
        f"{DEPLOYMENTS}.LLM.autoscaling_config",
        "max_replicas (4)",
    ),
    "replicas fixed and scaled": (
        CLUSTER,
        "        max_ongoing_requests: 128  # what vLLM",
        "        num_replicas: 1\n        max_ongoing_requests: 128  # what vLLM",
        f"{DEPLOYMENTS}.LLM",
        "num_replicas",
    ),
    "strategy": (
        CLUSTER,
        "placement_group_strategy: STRICT_PACK",
        "placement_group_strategy: STRICTLY",
        f"{DEPLOYMENTS}.LLM.placement_group_strategy",
        "STRICT_PACK",
    ),
    "replica bigger than its bundle": (
        CLUSTER,
        "{num_cpus: 1, num_gpus: 0}",
        "{num_cpus: 2, num_gpus: 0}",
        f"{DEPLOYMENTS}.LLM.ray_actor_options",
        "subset of the first bundle",
    ),
    "shut queue": (
        CPU,
        "max_queued_requests: 16\n",
        "max_queued_requests: 0\n",
        f"{DEPLOYMENTS}.Parser",
        "positive integer",
    ),
    "part of two GPUs": (
        CLUSTER,
        "num_gpus: 0.25",
        "num_gpus: 1.5",
        f"{DEPLOYMENTS}.Embedder.ray_actor_options.num_gpus",
        "GPUs are whole",
    ),
    "variable that is not text": (
        CPU,
        'VLLM_CPU_KVCACHE_SPACE: "1"',
        "VLLM_CPU_KVCACHE_SPACE: 1",
        f"{DEPLOYMENTS}.LLM.ray_actor_options.runtime_env.env_vars.VLLM_CPU_KVCACHE_SPACE",
        "must be a string",
    ),
    "status of a full queue": (
        CPU,
        "status_code: 429",
        "status_code: 418",
        f"{DEPLOYMENTS}.Ingress.backpressure_config.status_code",
        "503 or 429",
    ),
    "router that is not there": (
        CPU,
        "        graceful_shutdown_timeout_s: 10  # for passes that are queued\n",
        (
            "        graceful_shutdown_timeout_s: 10\n"
            "        request_router_config: {request_router_class: nowhere.Router}\n"
        ),
        f"{DEPLOYMENTS}.Embedder.request_router_config",
        "nowhere",
    ),
    "engine": (CPU, "engine: vllm", "engine: vlm", f"{APPLICATION}.args.llm.engine", "'vllm'"),
    "setting that is no number": (
        CPU,
        "context_timeout_s: 10 ",
        "context_timeout_s: soon ",
        f"{APPLICATION}.args.answer.context_timeout_s",
        "valid number, unable to parse string as a number (here 'soon')",
    ),
    "no bound at all": (
        CPU,
        "context_timeout_s: 10 ",
        "context_timeout_s: .inf ",
        f"{APPLICATION}.args.answer.context_timeout_s",
        "finite",
    ),
    "settings at odds": (
        CPU,
        "page_timeout_s: 8 ",
        "page_timeout_s: 12 ",
        f"{APPLICATION}.args.scraper.page_timeout_s",
        "longer than `answer.context_timeout_s` (10)",
    ),
}

NOT_OURS = {
    "deployment": (
        CPU,
        "- name: Embedder",
        "- name: Embeder",
        f"{DEPLOYMENTS}.Embeder.name",
        "did you mean `Embedder`?",
    ),
    "deployment twice": (
        CPU,
        "- name: Scraper",
        "- name: LLM",
        f"{DEPLOYMENTS}.LLM.name",
        "already listed",
    ),
    "application": (
        CPU,
        "name: genserve",
        "name: default",
        "applications.default.name",
        "must be `genserve`",
    ),
    "builder": (
        CPU,
        "import_path: serve_app.graph:build_app",
        "import_path: serve_app.graph:app",
        f"{APPLICATION}.import_path",
        "must be `serve_app.graph:build_app`",
    ),
    "two writers": (
        CPU,
        "num_replicas: 1  # the edge store",
        "num_replicas: 2  # the edge store",
        f"{DEPLOYMENTS}.Retriever.num_replicas",
        "one replica",
    ),
    "two writers while updating": (
        CPU,
        "        graceful_shutdown_timeout_s: 20  # to write",
        "        max_surge_percent: 100\n        graceful_shutdown_timeout_s: 20  # to write",
        f"{DEPLOYMENTS}.Retriever.max_surge_percent",
        "must be 0",
    ),
    "narrow ingress": (
        CPU,
        "max_ongoing_requests: 256 ",
        "max_ongoing_requests: 32 ",
        f"{DEPLOYMENTS}.Ingress.max_ongoing_requests",
        "less than the LLM's 64",
    ),
    "bundles for other workers": (
        CLUSTER,
        "          - {GPU: 1, CPU: 1}\n",
        "",
        f"{DEPLOYMENTS}.LLM.placement_group_bundles",
        "4 bundles of one GPU",
    ),
    "GPUs booked twice": (
        CLUSTER,
        "{num_cpus: 1, num_gpus: 0}",
        "{num_cpus: 1, num_gpus: 1}",
        f"{DEPLOYMENTS}.LLM.ray_actor_options.num_gpus",
        "must be 0 beside bundles",
    ),
    "GPU not booked": (
        CLUSTER,
        "num_gpus: 0.25",
        "num_gpus: 0",
        f"{DEPLOYMENTS}.Embedder.ray_actor_options.num_gpus",
        "book a GPU",
    ),
}


@pytest.fixture(scope="module")
def full_of_unknown_keys() -> dict[str, tuple[list[str], list[Problem]]]:
    """Make every such mistake in one file a base: the lines, and what is found in them."""
    made = {}
    for base in (CPU, CLUSTER):
        text = base
        for case_base, old, new, _, _ in WRONG_KEYS.values():
            text = edited(text, old, new) if case_base is base else text
        made[base] = (text.splitlines(), problems(text, "x.yaml"))
    return made


@pytest.mark.parametrize("case", WRONG_KEYS.values(), ids=WRONG_KEYS)
def test_an_unknown_key_is_named_with_its_line_and_the_right_one(
    case: tuple[str, str, str, str, str],
    full_of_unknown_keys: dict[str, tuple[list[str], list[Problem]]],
) -> None:
    base, _, new, path, says = case
    lines, found = full_of_unknown_keys[base]

    problem = next(p for p in found if p.path == path)

    assert says in problem.message
    key = path.rsplit(".", 1)[-1]
    changed = next(line for line in new.splitlines() if f"{key}:" in line)
    assert changed.strip() in lines[problem.line - 1]


@pytest.mark.parametrize(
    "case", [*WRONG_VALUES.values(), *NOT_OURS.values()], ids=[*WRONG_VALUES, *NOT_OURS]
)
def test_a_wrong_value_is_refused_at_its_place(case: tuple[str, str, str, str, str]) -> None:
    base, old, new, path, says = case
    text = edited(base, old, new)
    at = base[: base.index(old)].count("\n") + 1

    found = [p for p in problems(text, "x.yaml") if p.path == path]

    assert len(found) == 1
    assert says in found[0].message
    # On the changed lines, or on the line that opens the section they are in.
    assert found[0].line <= at + new.count("\n")
    last = path.rsplit(".", 1)[-1]
    assert last in text.splitlines()[found[0].line - 1]


@pytest.mark.parametrize("bound", ["", "        max_queued_requests: -1\n"])
def test_every_queue_is_bounded(bound: str) -> None:
    text = re.sub(r" +max_queued_requests: .*\n", bound, CPU)

    found = problems(text, "x.yaml")

    assert [p.path for p in found] == [
        f"{DEPLOYMENTS}.{name}.max_queued_requests" for name in DEPLOYMENT_NAMES
    ]
    assert all("1 or more" in p.message for p in found)


@pytest.mark.parametrize(
    "wrong",
    [
        "        num_replicas: 2\n",
        (
            "        autoscaling_config:\n"
            "          {min_replicas: 1, max_replicas: 3, target_ongoing_requests: 64}\n"
        ),
        "        num_replicas: auto\n",
    ],
)
def test_jobs_in_sqlite_have_one_replica(wrong: str) -> None:
    before, jobs = CPU.split("      - name: Jobs\n")
    jobs = jobs.replace("        num_replicas: 1\n", wrong)
    found = problems(f"{before}      - name: Jobs\n{jobs}", "x.yaml")
    assert "SQLite allows one replica" in "\n".join(problem.message for problem in found)


def test_a_password_in_the_settings_is_sent_to_the_environment() -> None:
    url = "postgresql://me:secret@db:5432/jobs"
    text = edited(CPU, "        images_concurrency: 2 ", f"        database_url: {url} ")
    (found,) = problems(text, "x.yaml")
    assert "GENSERVE_JOBS_DATABASE_URL" in found.message
    assert "secret" not in found.message


def test_a_deployment_left_out_would_run_unbounded() -> None:
    start = CPU.index("      - name: Parser")
    text = CPU[:start] + CPU[CPU.index("      - name: Retriever") :]

    problem = only_problem(text)

    assert "`Parser` is not listed" in problem.message
    assert problem.line == text.splitlines().index("    deployments:") + 1


def test_a_key_given_twice_is_refused() -> None:
    text = edited(CPU, "        threads: 1", "        device: auto\n        threads: 1")

    problem = only_problem(text)

    assert problem.path == f"{APPLICATION}.args.embedder.device"
    first = text.splitlines().index("        device: cpu") + 1
    assert problem.line == first + 1
    assert f"already on line {first}" in problem.message


def test_every_problem_is_listed_in_order() -> None:
    text = CPU
    for old, new in (
        ("port: 8000", "port: eight"),
        ("max_num_seqs: 32 ", "max_num_seqs: 32\n          model: other"),
        ("threads: 1 ", "threads: 0 "),
        ("- name: Scraper", "- name: Skraper"),
        ("max_queued_requests: 16\n", "max_queued_requests: -1\n"),
        ("chunk_tokens: 90", "chunk_tokens: 2"),
    ):
        text = edited(text, old, new)

    found = problems(text, "x.yaml")

    # `model` is a contradiction of settings that are each good, and these are not.
    assert [p.path.removeprefix(f"{APPLICATION}.") for p in found] == [
        "http_options.port",
        "args.embedder.threads",
        "args.parser.chunk_tokens",
        "deployments",
        "deployments.Skraper.name",
        "deployments.Parser.max_queued_requests",
    ]
    assert [p.line for p in found] == sorted(p.line for p in found)


def test_settings_at_odds_are_listed_together() -> None:
    text = edited(CPU, "max_num_seqs: 32", "model: other")
    text = edited(text, "top_k: 4 ", "top_k: 40 ")

    found = problems(text, "x.yaml")

    assert [p.path.removeprefix(f"{APPLICATION}.args.") for p in found] == [
        "llm.engine_args.model",
        "answer.top_k",
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("# nothing\n", "empty"),
        ("a: [1\nb: 2\n", "not YAML"),
        ("a: 1\n---\nb: 2\n", "none of them is a RayService"),
        ("a: !!python/object:os.system {}\n", "not YAML"),
        ("? [1, 2]\n: 3\n", "not YAML"),
        ("a: 2026-99-99\n", "not YAML"),
        ("just words\n", "application"),
        ("applications: &a [{args: *a}]\n", "nested without end"),
        ("[" * 3000, "n"),
        ("applications: []\n", "must list one application"),
        ("applications: {name: genserve}\n", "must list one application"),
        ("applications: [1]\n", "must list one application"),
        ("applications: [{name: genserve, deployments: 3, args: 4}]\n", "import_path"),
        ("applications: [{deployments: [1, {}, {name: 3}], args: [4]}]\n", "import_path"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused_and_not_a_crash(text: str, says: str) -> None:
    found = problems(text, "x.yaml")

    assert says in "\n".join(map(str, found))
    assert all(p.line >= 1 for p in found)


def test_shared_parts_of_a_file_are_read_as_serve_reads_them() -> None:
    text = edited(CPU, "{num_cpus: 0.1}  # mostly", "&little {num_cpus: 0.1}  # mostly")
    text = edited(text, "ray_actor_options: {num_cpus: 0.2}", "ray_actor_options: *little")

    assert problems(text, "x.yaml") == []


def test_a_mistake_in_a_shared_part_is_reported_wherever_it_counts() -> None:
    text = edited(CPU, "{num_cpus: 0.1}  # mostly", "&little {num_cpu: 0.1}  # mostly")
    text = edited(text, "ray_actor_options: {num_cpus: 0.2}", "ray_actor_options: *little")

    found = problems(text, "x.yaml")

    assert [p.path.removeprefix(f"{DEPLOYMENTS}.") for p in found] == [
        "Ingress.ray_actor_options.num_cpu",
        "Parser.ray_actor_options.num_cpu",
    ]
    assert len({p.line for p in found}) == 1


def test_the_command_says_which_files_are_good_and_fails_for_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad, absent = tmp_path / "good.yaml", tmp_path / "bad.yaml", tmp_path / "absent.yaml"
    good.write_text(CPU, encoding="utf-8")
    bad.write_text(edited(CPU, "port: 8000", "prot: 8000"), encoding="utf-8")

    assert main([str(good)]) == 0
    assert capsys.readouterr().out == f"{good}: good\n"

    assert main([str(good), str(bad), str(absent)]) == 1
    lines = capsys.readouterr().out.splitlines()
    line = next(i for i, text in enumerate(CPU.splitlines(), 1) if "  port: 8000" in text)
    assert lines == [
        f"{good}: good",
        f"{bad}:{line}: http_options.prot: unknown key; did you mean `port`?",
        f"{absent}:1: cannot be read: No such file or directory",
    ]


OPEN = edited(CPU, "  host: 127.0.0.1", "  host: 0.0.0.0")


def test_a_host_that_others_reach_needs_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GENSERVE_API_KEYS", raising=False)
    problem = only_problem(OPEN)
    assert problem.path == "http_options.host"
    assert "GENSERVE_API_KEYS" in problem.message
    monkeypatch.setenv("GENSERVE_API_KEYS", "alice:0123456789abcdef")
    assert problems(OPEN, "x.yaml") == []


def test_keys_that_cannot_be_read_are_told_without_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENSERVE_API_KEYS", "alice:0123456")
    problem = only_problem(CPU)
    assert "the key of `alice` has less than 16 characters" in problem.message
    assert "0123456" not in problem.message
