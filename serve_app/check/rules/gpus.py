"""Rules of GPUs: what Serve reserves for a replica is what its model uses."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from serve_app.check.file.deployment import number
from serve_app.settings import NEXT_EMBEDDER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from serve_app.check.file.deployment import Deployment
    from serve_app.check.file.document import Problem
    from serve_app.check.rules.subject import Subject

_VLLM_UTILIZATION = 0.92  # vLLM's default share of a card's memory
_TOLERANCE = 1e-6
_SPREADING = {"PACK", "SPREAD", "STRICT_SPREAD"}  # PACK too, when a node is too small
_NUM_GPUS = "ray_actor_options.num_gpus"


def gpu_problems(subject: Subject) -> Iterator[Problem]:
    """List GPUs that are reserved and unused, used and not reserved, or reserved twice."""
    settings = subject.settings
    if llm := subject.deployments.get("LLM"):
        if settings.llm.engine == "vllm":
            yield from _vllm(subject, llm)
        elif llm.num_gpus or llm.gpu_bundles:
            yield _idle(subject, llm, "the `openai` engine computes elsewhere")
    following = settings.embedder.next
    for name, section, device in (
        ("Embedder", "embedder", settings.embedder.device),
        (NEXT_EMBEDDER, "embedder.next", following.device if following else None),
        ("Images", "images", settings.images.device),
    ):
        if device is not None and (deployment := subject.deployments.get(name)):
            yield from _single_card(subject, section, device, deployment)


def _vllm(subject: Subject, llm: Deployment) -> Iterator[Problem]:
    arguments = subject.settings.llm.engine_args
    tensor, pipeline, data = (
        int(number(arguments.get(f"{kind}_parallel_size")) or 1)
        for kind in ("tensor", "pipeline", "data")
    )
    if data > 1:
        yield subject.setting(
            "llm.engine_args.data_parallel_size",
            "leave it out: copies of the model are replicas, which Serve scales",
        )
    workers, backend = tensor * pipeline, arguments.get("distributed_executor_backend")
    if llm.gpu_bundles:
        yield from _group(subject, llm, workers, backend)
        strategy = str(llm.options.get("placement_group_strategy", "PACK"))
        if pipeline == 1 < workers and strategy in _SPREADING:
            yield subject.option(
                llm,
                "placement_group_strategy",
                f"write STRICT_PACK: {strategy} may spread the {workers} workers over nodes, and "
                "tensor parallelism is slow over a network",
            )
    elif llm.num_gpus and ceil(llm.num_gpus) != workers:
        yield subject.option(
            llm,
            _NUM_GPUS,
            f"vLLM starts {workers} workers: book {workers} GPUs, or `placement_group_bundles`",
        )
    elif workers > 1 and backend == "ray":
        yield subject.option(
            llm,
            "placement_group_bundles",
            f"must be set: {workers} times {{GPU: 1, CPU: 1}}, for vLLM's {workers} workers",
        )
    share = number(arguments.get("gpu_memory_utilization", _VLLM_UTILIZATION))
    if 0 < llm.num_gpus < 1 and share > llm.num_gpus + _TOLERANCE:
        yield subject.option(
            llm,
            _NUM_GPUS,
            f"vLLM takes {share:g} of the card's memory, and {llm.num_gpus:g} of the card is "
            "booked: set `llm.engine_args.gpu_memory_utilization` to the same",
        )


def _group(subject: Subject, llm: Deployment, workers: int, backend: object) -> Iterator[Problem]:
    if llm.gpu_bundles != [1] * workers:
        yield subject.option(
            llm,
            "placement_group_bundles",
            f"must hold {workers} bundles of one GPU each, for vLLM's {workers} workers",
        )
    if llm.num_gpus:
        yield subject.option(
            llm,
            _NUM_GPUS,
            "must be 0 beside bundles: the workers take their GPUs, the replica none",
        )
    elif backend != "ray":
        yield subject.setting(
            "llm.engine_args.distributed_executor_backend",
            "must be `ray` beside bundles: other workers see only the replica's GPUs, none",
        )


def _single_card(
    subject: Subject, section: str, device: str, deployment: Deployment
) -> Iterator[Problem]:
    booked = deployment.num_gpus
    if device.startswith("cuda:"):
        yield subject.setting(
            f"{section}.device", "write `cuda`: a replica sees only the card that Ray gives it"
        )
    if device.startswith("cuda") and not booked:
        yield subject.option(
            deployment, _NUM_GPUS, f"`{section}.device` is cuda: book a GPU or part of one"
        )
    if device == "cpu" and (booked or deployment.gpu_bundles):
        yield _idle(subject, deployment, f"`{section}.device` is cpu")
    elif booked > 1 and float(booked).is_integer():  # fractions over 1 are refused by Serve's rules
        yield subject.option(
            deployment,
            _NUM_GPUS,
            "must be 1 or less: the model is on one card, the others would be idle",
        )


def _idle(subject: Subject, deployment: Deployment, why: str) -> Problem:
    return subject.option(deployment, _NUM_GPUS, f"leave it out, and GPUs in bundles too: {why}")
