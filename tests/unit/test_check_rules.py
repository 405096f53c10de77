"""What Serve and vLLM would take without a word, and what then hurts, is refused."""

from __future__ import annotations

import pytest

from serve_app.check import checked, problems
from serve_app.check.placement.nodes import read_spec
from tests.support.config_mistakes import Wrong, edited, shipped

CPU = "configs/cpu.yaml"
GPU = "configs/single-gpu.yaml"
CLUSTER = "serve_config.yaml"
SERVICE = "configs/rayservice.yaml"
_LLM = shipped(GPU)[
    shipped(GPU).index("        engine: vllm") : shipped(GPU).index("      embedder:")
]
_INTERRUPTED = "        graceful_shutdown_timeout_s: 10  # interrupted jobs"
_PARSED = "        num_replicas: 1\n        max_ongoing_requests: 8 "

LOAD = {
    "queue of the ingress": Wrong(
        CPU,
        "max_queued_requests: 512 ",
        "max_queued_requests: -1 ",
        "max_queued_requests: -1",
        "must be set, to 1 or more",
    ),
    "answer of a full ingress": Wrong(
        CPU,
        "        backpressure_config: {status_code: 429, retry_after_s: 2}  # from Serve's proxy\n",
        "",
        "- name: Ingress",
        "write {status_code: 429, retry_after_s: 2}",
    ),
    "status of a full ingress": Wrong(
        CPU,
        "status_code: 429",
        "status_code: 503",
        "backpressure_config",
        "write {status_code: 429, retry_after_s: 2}",
    ),
    "ingress for fewer replicas": Wrong(
        CLUSTER,
        "max_replicas: 4  # 16 GPUs",
        "max_replicas: 40",
        "max_ongoing_requests: 256",
        "8 replicas hold 2048 requests, and 40 of the LLM 5120",
    ),
    "as many replicas as Serve likes": Wrong(
        CPU,
        _PARSED,
        _PARSED.replace("1", "auto"),
        "num_replicas: auto",
        "write an `autoscaling_config`",
    ),
    "scaling by Serve's default": Wrong(
        CLUSTER,
        "          target_ongoing_requests: 128  # half, so that a burst finds room\n",
        "",
        "autoscaling_config:",
        "must be set: Serve's default is 2",
    ),
    "scaling to one": Wrong(
        CLUSTER,
        "          max_replicas: 4  # 256 pages at once\n",
        "",
        "autoscaling_config:",
        "it never grows",
    ),
    "scaling too late": Wrong(
        CLUSTER,
        "target_ongoing_requests: 128 ",
        "target_ongoing_requests: 300 ",
        "target_ongoing_requests: 300",
        "over `max_ongoing_requests` (256)",
    ),
    "model away": Wrong(
        CLUSTER,
        "min_replicas: 1  # a second one",
        "min_replicas: 0  # a second one",
        "min_replicas: 0",
        "must be 1 or more: only Images may be away",
    ),
    "embedder away": Wrong(
        CLUSTER,
        "min_replicas: 1  # every search",
        "min_replicas: 0  # every search",
        "min_replicas: 0",
        "whatever needs Embedder would wait",
    ),
    "delay that never counts": Wrong(
        CLUSTER,
        "min_replicas: 0  # nobody",
        "min_replicas: 1  # nobody",
        "downscale_to_zero_delay_s: ",
        "has no effect: `min_replicas` is not 0",
    ),
    "model never full": Wrong(
        GPU,
        "max_ongoing_requests: 128  # 64 computed",
        "max_ongoing_requests: 48  # 64 computed",
        "max_ongoing_requests: 48",
        "must be 64 or more",
    ),
    "pass never full": Wrong(
        CPU,
        "max_ongoing_requests: 96 ",
        "max_ongoing_requests: 3 ",
        "max_ongoing_requests: 3",
        "must be 4 or more: `images.max_batch`",
    ),
    "only watchers": Wrong(
        CPU,
        "max_ongoing_requests: 256  # mostly",
        "max_ongoing_requests: 64  # mostly",
        "max_ongoing_requests: 64",
        "must be 129 or more",
    ),
    "answers cut off": Wrong(
        CPU,
        "  port: 8000",
        "  port: 8000\n  request_timeout_s: 60",
        "request_timeout_s: 60",
        "must be over `answer.total_timeout_s` (300)",
    ),
    "no way in": Wrong(
        CPU, "HeadOnly ", "Disabled ", "proxy_location: Disabled", "write EveryNode or HeadOnly"
    ),
    "settings of a replica": Wrong(
        CPU,
        _PARSED,
        "        user_config: {chunk_tokens: 50}\n" + _PARSED,
        "user_config:",
        "behaviour is set under `args`",
    ),
    "secret for all to see": Wrong(
        CPU,
        'HF_HUB_OFFLINE: "1"',
        'QDRANT_API_KEY: "1"',
        "QDRANT_API_KEY",
        "is a secret, and the dashboard shows this file",
    ),
    "secret of one deployment": Wrong(
        CPU,
        'VLLM_CPU_KVCACHE_SPACE: "1"',
        'HF_TOKEN: "hf_1"',
        "HF_TOKEN",
        "is a secret, and the dashboard shows this file",
    ),
    "environment that is a list": Wrong(
        CPU,
        "      env_vars:  # for every replica\n",
        "      env_vars: []\n      excludes:\n",
        "env_vars: []",
        "must map names to strings",
    ),
    "what Serve called it once": Wrong(
        CPU,
        "max_ongoing_requests: 8 ",
        "max_concurrent_queries: 8 ",
        "max_concurrent_queries: 8",
        "it is called `max_ongoing_requests` now",
    ),
    "what autoscaling called it once": Wrong(
        CLUSTER,
        "target_ongoing_requests: 128 ",
        "target_num_ongoing_requests_per_replica: 128 ",
        "target_num_ongoing_requests_per_replica: 128",
        "it is called `target_ongoing_requests` now",
    ),
}

# Where nothing is replaced, the nodes are the mistake.
STATE = {
    "embedded store on several nodes": Wrong(
        CPU, "edge", "edge", "store: edge", "use `store: qdrant` with the `url`", "a=2x4"
    ),
    "SQLite on several nodes": Wrong(
        CPU, "edge", "edge", "      jobs:", "write postgresql://USER@HOST", "a=2x4"
    ),
    "files in a folder by default": Wrong(
        CPU, "edge", "edge", "    args:", "use an object store like s3://BUCKET/FOLDER", "a=2x4"
    ),
    "files in a folder": Wrong(
        CLUSTER,
        "files: s3://genserve-files/production",
        "files: /srv/files",
        "files: /srv/files",
        "Ingress and Jobs may start on any of head, large-0, large-1: use an object store",
    ),
    "files in memory": Wrong(
        CLUSTER,
        "files: s3://genserve-files/production",
        "files: memory://files",
        "files: memory://files",
        "in another process: name a folder, or an object store",
    ),
    "documents in memory": Wrong(
        CLUSTER,
        "url: http://qdrant.internal:6333",
        'url: ":memory:"',
        'url: ":memory:"',
        "write the server's address",
    ),
    "documents on each node's own": Wrong(
        CLUSTER,
        "url: http://qdrant.internal:6333",
        "url: http://localhost:6333",
        "url: http://localhost:6333",
        "write a name that all nodes reach",
    ),
    "jobs on each node's own": Wrong(
        CLUSTER,
        "genserve@postgres.internal:5432",
        "genserve@127.0.0.1:5432",
        "genserve@127.0.0.1:5432",
        "127.0.0.1 is another machine on each node, and Jobs may start on",
    ),
    "two holders of SQLite while updating": Wrong(
        CPU,
        _INTERRUPTED,
        "        max_surge_percent: 100\n" + _INTERRUPTED,
        "max_surge_percent: 100",
        "must be 0 with SQLite",
    ),
}

GPUS = {
    "workers over a network": Wrong(
        CLUSTER,
        "placement_group_strategy: STRICT_PACK",
        "placement_group_strategy: PACK",
        "placement_group_strategy: PACK",
        "write STRICT_PACK",
    ),
    "workers without cards": Wrong(
        CLUSTER,
        "distributed_executor_backend: ray",
        "distributed_executor_backend: mp",
        "distributed_executor_backend: mp",
        "must be `ray` beside bundles",
    ),
    "workers without a group": Wrong(
        CLUSTER,
        "        placement_group_bundles:\n" + "          - {GPU: 1, CPU: 1}\n" * 4,
        "",
        "- name: LLM",
        "must be set: 4 times {GPU: 1, CPU: 1}, for vLLM's 4 workers",
    ),
    "copies inside of a replica": Wrong(
        CLUSTER,
        "          tensor_parallel_size: 4 ",
        "          data_parallel_size: 2\n          tensor_parallel_size: 4 ",
        "data_parallel_size: 2",
        "copies of the model are replicas",
    ),
    "more of the card than is booked": Wrong(
        GPU,
        "gpu_memory_utilization: 0.60",
        "gpu_memory_utilization: 0.9",
        "num_gpus: 0.6",
        "vLLM takes 0.9 of the card's memory, and 0.6 of the card is booked",
    ),
    "as much of the card as vLLM likes": Wrong(
        GPU,
        "          gpu_memory_utilization: 0.60",
        "          #",
        "num_gpus: 0.6",
        "set `llm.engine_args.gpu_memory_utilization`",
    ),
    "workers for one card": Wrong(
        GPU,
        "          dtype: bfloat16",
        "          tensor_parallel_size: 2\n          dtype: bfloat16",
        "num_gpus: 0.6",
        "vLLM starts 2 workers: book 2 GPUs",
    ),
    "card for an endpoint": Wrong(
        GPU,
        _LLM,
        "        engine: openai\n        base_url: https://api.example.com/v1\n"
        "        model: theirs\n        served_name: theirs\n        context_tokens: 32000\n",
        "num_gpus: 0.6",
        "the `openai` engine computes elsewhere",
    ),
    "card by number": Wrong(
        GPU,
        "device: cuda  # a fraction of the same card, see Embedder",
        "device: cuda:1  # a fraction of the same card, see Embedder",
        "device: cuda:1",
        "write `cuda`",
    ),
    "card for nothing": Wrong(
        GPU,
        "device: cuda  # a fraction of the same card, see Embedder",
        "device: cpu  # a fraction of the same card, see Embedder",
        "num_gpus: 0.1",
        "`embedder.device` is cpu",
    ),
    "two cards for one model": Wrong(
        GPU, "num_gpus: 0.25 ", "num_gpus: 2 ", "num_gpus: 2", "must be 1 or less"
    ),
}

ROOM = {
    "part of a card that is taken": Wrong(
        GPU,
        "num_gpus: 0.25 ",
        "num_gpus: 0.5 ",
        "- name: Images",
        "1 of 1 replicas find no node at minimum replicas: each needs 0.5 CPU, 0.5 GPU",
        "box=1x8+1",
    ),
    "workers of one model on small nodes": Wrong(
        CLUSTER,
        "STRICT_PACK",
        "STRICT_PACK",
        "- name: LLM",
        "each needs 4 bundles of 1 CPU, 1 GPU on one node",
        "head=1x32,large=8x16+2,small=1x16+1@genserve-role=small,"
        "pictures=1x16+2@genserve-role=pictures",
    ),
    "label that no node has": Wrong(
        CLUSTER,
        "{genserve-role: small}",
        "{genserve-role: little}",
        "- name: Embedder",
        "each needs 2 CPUs, 0.25 GPU, genserve-role=little",
    ),
    "update without room": Wrong(
        GPU,
        "        health_check_period_s: 10\n",
        "        health_check_period_s: 10\n        max_surge_percent: 100\n",
        "max_surge_percent: 100",
        "an update would wait for ever",
        "box=1x16+1",
    ),
}

ENGINE = {
    "misspelt engine argument": Wrong(
        CLUSTER,
        "max_num_seqs: 128",
        "max_num_seq: 128",
        "max_num_seq: 128",
        "vLLM has no such engine argument; did you mean `max_num_seqs`?",
    ),
    "misspelt argument of the chat": Wrong(
        CLUSTER,
        "tool_call_parser: hermes",
        "tool_parser: hermes",
        "tool_parser: hermes",
        "vLLM has no such engine argument; did you mean `tool_call_parser`?",
    ),
    "more than the card": Wrong(
        CLUSTER,
        "gpu_memory_utilization: 0.90",
        "gpu_memory_utilization: 90",
        "gpu_memory_utilization: 90",
        "must be over 0 and at most 1",
    ),
    "nothing of the card": Wrong(
        GPU,
        "gpu_memory_utilization: 0.60",
        "gpu_memory_utilization: 0",
        "gpu_memory_utilization: 0",
        "must be over 0 and at most 1",
    ),
    "exporter that is not there": Wrong(
        CLUSTER,
        "enabled: false  # true: spans of every stage go where OTEL_EXPORTER_OTLP_ENDPOINT says\n"
        "  exporter_import_path: serve_app.telemetry:otlp_exporter",
        "enabled: true\n  exporter_import_path: serve_app.telemetry:otlp_export",
        "exporter_import_path: ",
        "cannot be imported: ",
    ),
}

# Numbers to YAML that are none to anybody else, and a list for a word.
NO_VALUES = {
    "strategies": Wrong(
        CLUSTER,
        "placement_group_strategy: STRICT_PACK",
        "placement_group_strategy: [STRICT_PACK]",
        "placement_group_strategy: ",
        "Input should be a valid string",
    ),
    "cards without end": Wrong(
        CLUSTER, "num_gpus: 0.25", "num_gpus: .inf", "num_gpus: .inf", "must be a finite number"
    ),
    "CPUs of a bundle without end": Wrong(
        CLUSTER, "- {GPU: 1, CPU: 1}", "- {GPU: 1, CPU: .nan}", "CPU: .nan", "must be a finite"
    ),
    "workers without end": Wrong(
        CLUSTER,
        "tensor_parallel_size: 4",
        "tensor_parallel_size: .inf",
        "tensor_parallel_size: .inf",
        "must be a finite number",
    ),
    "sequences without end": Wrong(
        CLUSTER,
        "max_num_seqs: 128",
        "max_num_seqs: .nan",
        "max_num_seqs: .nan",
        "must be a finite number",
    ),
    "requests without end": Wrong(
        CLUSTER,
        "target_ongoing_requests: 128 ",
        "target_ongoing_requests: .inf ",
        "target_ongoing_requests: .inf",
        "must be a finite number",
    ),
    "replicas beyond any float": Wrong(
        CLUSTER,
        "max_surge_percent: 100",
        f"max_surge_percent: 1{'0' * 400}",
        "max_surge_percent: ",
        "100",
    ),
    "CPUs of a pod without end": Wrong(
        SERVICE, 'limits: {cpu: "8"', "limits: {cpu: .inf", "limits: {cpu: .inf", "Ray would take"
    ),
    "pods without end": Wrong(
        SERVICE, "        minReplicas: 2 ", "        minReplicas: .nan ", ".nan", "must be a finite"
    ),
}


@pytest.mark.parametrize(
    "wrong",
    [
        *LOAD.values(),
        *STATE.values(),
        *GPUS.values(),
        *ROOM.values(),
        *ENGINE.values(),
        *NO_VALUES.values(),
    ],
    ids=[*LOAD, *STATE, *GPUS, *ROOM, *ENGINE, *NO_VALUES],
)
def test_it_is_refused_with_its_line_and_what_to_write(
    wrong: Wrong, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GENSERVE_JOBS_DATABASE_URL", raising=False)
    wrong.assert_refused()


@pytest.mark.parametrize("nodes", ["", "laptop=1x8+1"])
@pytest.mark.parametrize("file", [CPU, GPU])
def test_state_of_one_node_is_fine_on_one_node(file: str, nodes: str) -> None:
    assert checked(shipped(file), file, read_spec(nodes))[0] == []


def test_state_of_one_node_is_fine_where_only_one_may_hold_it() -> None:
    text = shipped(CPU)
    for name in ("Ingress", "Retriever", "Jobs"):
        before, mark, after = text.partition(f"- name: {name}\n")
        options = "ray_actor_options: {num_cpus: 0.1"
        text = before + mark + edited(after, options, f"{options}, label_selector: {{disk: own}}")

    nodes = read_spec("head=1x2@disk=own,worker=3x4")

    assert checked(text, CPU, nodes)[0] == []


def test_a_folder_that_all_nodes_mount_is_named_as_such() -> None:
    text = edited(shipped(CLUSTER), "s3://genserve-files/production", "file:///mnt/genserve")
    assert problems(text, CLUSTER) == []


def test_the_environment_may_name_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    text = edited(
        shipped(CLUSTER),
        "        database_url: postgresql://genserve@postgres.internal:5432/genserve",
        "       ",
    )
    monkeypatch.delenv("GENSERVE_JOBS_DATABASE_URL", raising=False)
    assert "SQLite keeps jobs on one node" in "\n".join(map(str, problems(text, CLUSTER)))
    monkeypatch.setenv("GENSERVE_JOBS_DATABASE_URL", "postgresql://me:secret@db.internal/jobs")
    assert problems(text, CLUSTER) == []


def test_a_host_left_out_is_every_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GENSERVE_API_KEYS", raising=False)
    Wrong(
        CPU, "  host: 127.0.0.1 ", "  # ", "http_options:", "set GENSERVE_API_KEYS=NAME:KEY"
    ).assert_refused()


def test_an_exporter_that_is_there_may_be_turned_on() -> None:
    text = edited(shipped(CLUSTER), "  enabled: false  # true", "  enabled: true  #")
    assert problems(text, CLUSTER) == []
