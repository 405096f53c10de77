"""Rules of concurrency, queues and autoscaling that Serve does not enforce."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deployments.bounds import MAX_WATCHERS
from serve_app.check.file.deployment import number, section

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from serve_app.check.file.deployment import Deployment
    from serve_app.check.file.document import ConfigFile, Problem
    from serve_app.check.rules.subject import Subject

_TOO_MANY_REQUESTS = 429
_MAY_BE_AWAY = "Images"


def load_problems(file: ConfigFile, deployments: Mapping[str, Deployment]) -> Iterator[Problem]:
    """List bounds that are missing or contradict each other."""
    for deployment in deployments.values():
        yield from _queue(file, deployment)
        yield from _scaling(file, deployment)
    if ingress := deployments.get("Ingress"):
        yield from _full_ingress(file, ingress)
        if llm := deployments.get("LLM"):
            yield from _narrow_ingress(file, ingress, llm)


def _queue(file: ConfigFile, deployment: Deployment) -> Iterator[Problem]:
    if deployment.options.get("max_queued_requests", -1) == -1:
        yield file.problem(
            (*deployment.path, "max_queued_requests"),
            "must be set, to 1 or more: without it the queue is unbounded",
        )


def _full_ingress(file: ConfigFile, ingress: Deployment) -> Iterator[Problem]:
    answer = section(ingress.options, "backpressure_config")
    if answer.get("status_code") != _TOO_MANY_REQUESTS or answer.get("retry_after_s") is None:
        yield file.problem(
            (*ingress.path, "backpressure_config"),
            "write {status_code: 429, retry_after_s: 2}: Serve answers a full queue with 503 "
            "and no Retry-After",
        )


def _narrow_ingress(file: ConfigFile, ingress: Deployment, llm: Deployment) -> Iterator[Problem]:
    one, of_llm = ingress.max_ongoing_requests, llm.max_ongoing_requests
    if 0 < one < of_llm:
        yield file.problem(
            (*ingress.path, "max_ongoing_requests"),
            f"{one} is less than the LLM's {of_llm}: the ingress would keep the model idle",
        )
        return
    together, of_all = one * ingress.replicas("maximum"), of_llm * llm.replicas("maximum")
    if 0 < together < of_all:
        yield file.problem(
            (*ingress.path, "max_ongoing_requests"),
            f"{ingress.replicas('maximum')} replicas hold {together} requests, and "
            f"{llm.replicas('maximum')} of the LLM {of_all}: raise this or the number of replicas",
        )


def _scaling(file: ConfigFile, deployment: Deployment) -> Iterator[Problem]:
    if deployment.options.get("num_replicas") == "auto":
        yield file.problem(
            (*deployment.path, "num_replicas"),
            "`auto` is 1 to 100 replicas at 2 requests each: write an `autoscaling_config`",
        )
    scaling, path = deployment.scaling, (*deployment.path, "autoscaling_config")
    if not scaling:
        return
    for key, default in (("max_replicas", "1: it never grows"), ("target_ongoing_requests", "2")):
        if key not in scaling:
            yield file.problem((*path, key), f"must be set: Serve's default is {default}")
    target, most = number(scaling.get("target_ongoing_requests")), deployment.max_ongoing_requests
    if target > most > 0:
        yield file.problem(
            (*path, "target_ongoing_requests"),
            f"{target:g} is over `max_ongoing_requests` ({most}): it would only grow once "
            "callers queue; write less",
        )
    asleep = scaling.get("min_replicas") == 0
    if asleep and deployment.name != _MAY_BE_AWAY:
        yield file.problem(
            (*path, "min_replicas"),
            f"must be 1 or more: only {_MAY_BE_AWAY} may be away; whatever needs "
            f"{deployment.name} would wait for a cold start",
        )
    if "downscale_to_zero_delay_s" in scaling and not asleep:
        yield file.problem(
            (*path, "downscale_to_zero_delay_s"),
            "has no effect: `min_replicas` is not 0",
        )


def capacity_problems(subject: Subject) -> Iterator[Problem]:
    """List deployments that Serve would keep below their own capacity, and cut answers."""
    settings = subject.settings
    sequences = int(number(settings.llm.engine_args.get("max_num_seqs")))
    for name, least, why in (
        ("LLM", sequences, f"`llm.engine_args.max_num_seqs` ({sequences}) are computed at once"),
        ("Images", settings.images.max_batch, "`images.max_batch` pictures share a pass"),
        ("Jobs", MAX_WATCHERS + 1, f"{MAX_WATCHERS} callers that watch jobs may take them all"),
    ):
        deployment = subject.deployments.get(name)
        if deployment and 0 < deployment.max_ongoing_requests < least:
            yield subject.option(
                deployment, "max_ongoing_requests", f"must be {least} or more: {why}"
            )
    timeout, answer_s = (
        section(subject.file.data, "http_options").get("request_timeout_s"),
        settings.answer.total_timeout_s,
    )
    if timeout is not None and number(timeout) < answer_s:
        yield subject.file.problem(
            ("http_options", "request_timeout_s"),
            f"must be over `answer.total_timeout_s` ({answer_s:g}), or left out: Serve would cut "
            "answers off",
        )
