"""Rules of GPUs: what Serve reserves for a replica is what its model uses."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from serve_app.check.file.deployment import number

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from serve_app.check.file.deployment import Deployment
    from serve_app.check.file.document import ConfigFile, Problem
    from serve_app.settings import AppSettings

_VLLM_UTILIZATION = 0.92  # vLLM's default share of a card's memory
_TOLERANCE = 1e-6
_SPREADING = {"PACK", "SPREAD", "STRICT_SPREAD"}  # the first one when a node is too small


def gpu_problems(
    file: ConfigFile, deployments: Mapping[str, Deployment], settings: AppSettings
) -> Iterator[Problem]:
    """List GPUs that are reserved and unused, used and not reserved, or reserved twice."""
    if llm := deployments.get("LLM"):
        if settings.llm.engine == "vllm":
            yield from _of_llm(file, settings, llm)
        elif llm.num_gpus or llm.gpu_bundles:
            yield from _idle(file, llm, "the `openai` engine computes elsewhere")
    for name, device in (
        ("Embedder", settings.embedder.device),
        ("Images", settings.images.device),
    ):
        if deployment := deployments.get(name):
            yield from _of_device(file, name.lower(), device, deployment)


def _of_llm(file: ConfigFile, settings: AppSettings, llm: Deployment) -> Iterator[Problem]:
    arguments = settings.llm.engine_args
    size = {
        key: int(number(arguments.get(key)) or 1)
        for key in ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")
    }
    if size["data_parallel_size"] > 1:
        yield file.problem(
            ("applications", 0, "args", "llm", "engine_args", "data_parallel_size"),
            "leave it out: copies of the model are replicas, which Serve scales",
        )
    workers = size["tensor_parallel_size"] * size["pipeline_parallel_size"]
    backend = arguments.get("distributed_executor_backend")
    if llm.gpu_bundles:
        yield from _of_group(file, llm, workers, backend)
        if size["pipeline_parallel_size"] == 1:
            yield from _of_strategy(file, llm, workers)
    elif llm.num_gpus and ceil(llm.num_gpus) != workers:
        yield file.problem(
            (*llm.path, "ray_actor_options", "num_gpus"),
            f"vLLM starts {workers} workers: book {workers} GPUs, or `placement_group_bundles`",
        )
    elif workers > 1 and backend == "ray":
        yield file.problem(
            (*llm.path, "placement_group_bundles"),
            f"must be set: {workers} times {{GPU: 1, CPU: 1}}, for vLLM's {workers} workers",
        )
    share = number(arguments.get("gpu_memory_utilization", _VLLM_UTILIZATION))
    if 0 < llm.num_gpus < 1 and share > llm.num_gpus + _TOLERANCE:
        yield file.problem(
            (*llm.path, "ray_actor_options", "num_gpus"),
            f"vLLM takes {share:g} of the card's memory, and {llm.num_gpus:g} of the card is "
            "booked: set `llm.engine_args.gpu_memory_utilization` to the same",
        )


def _of_group(
    file: ConfigFile, llm: Deployment, workers: int, backend: object
) -> Iterator[Problem]:
    if llm.gpu_bundles != [1] * workers:
        yield file.problem(
            (*llm.path, "placement_group_bundles"),
            f"must hold {workers} bundles of one GPU each, for vLLM's {workers} workers",
        )
    if llm.num_gpus:
        yield file.problem(
            (*llm.path, "ray_actor_options", "num_gpus"),
            "must be 0 beside bundles: the workers take their GPUs, the replica none",
        )
    elif backend != "ray":
        yield file.problem(
            ("applications", 0, "args", "llm", "engine_args", "distributed_executor_backend"),
            "must be `ray` beside bundles: other workers see only the replica's GPUs, none",
        )


def _of_strategy(file: ConfigFile, llm: Deployment, workers: int) -> Iterator[Problem]:
    strategy = str(llm.options.get("placement_group_strategy", "PACK"))
    if workers > 1 and strategy in _SPREADING:
        yield file.problem(
            (*llm.path, "placement_group_strategy"),
            f"write STRICT_PACK: {strategy} may spread the {workers} workers over nodes, and "
            "tensor parallelism is slow over a network",
        )


def _of_device(
    file: ConfigFile, section: str, device: str, deployment: Deployment
) -> Iterator[Problem]:
    booked = deployment.num_gpus
    if device.startswith("cuda:"):
        yield file.problem(
            ("applications", 0, "args", section, "device"),
            "write `cuda`: a replica sees only the card that Ray gives it",
        )
    if device.startswith("cuda") and not booked:
        yield file.problem(
            (*deployment.path, "ray_actor_options", "num_gpus"),
            f"`{section}.device` is cuda: book a GPU or part of one",
        )
    if device == "cpu" and (booked or deployment.gpu_bundles):
        yield from _idle(file, deployment, f"`{section}.device` is cpu")
    elif (
        booked > 1 and float(booked).is_integer()
    ):  # fractions over 1 are refused by the Serve rules
        yield file.problem(
            (*deployment.path, "ray_actor_options", "num_gpus"),
            "must be 1 or less: the model is on one card, the others would be idle",
        )


def _idle(file: ConfigFile, deployment: Deployment, why: str) -> Iterator[Problem]:
    yield file.problem(
        (*deployment.path, "ray_actor_options", "num_gpus"),
        f"leave it out, and GPUs in bundles too: {why}",
    )
