"""Rules of concurrency, queues and autoscaling that Serve does not enforce."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deployments.bounds import MAX_WATCHERS
from serve_app.access.shares import divided
from serve_app.check.file.deployment import number, section

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from serve_app.check.file.deployment import Deployment
    from serve_app.check.file.document import ConfigFile, Problem
    from serve_app.check.rules.subject import Subject

_TOO_MANY_REQUESTS = 429
_MAY_BE_AWAY = "Images"


Finding = tuple[str, str]
"""The dotted path of an option of a deployment, and what is wrong with it."""


def load_problems(file: ConfigFile, deployments: Mapping[str, Deployment]) -> Iterator[Problem]:
    """List bounds that are missing or contradict each other."""
    for deployment in deployments.values():
        found = [*_bounds(deployment)]
        if deployment.name == "Ingress":
            found += _ingress(deployment, deployments.get("LLM"))
        for path, message in found:
            yield file.problem((*deployment.path, *path.split(".")), message)


def _bounds(deployment: Deployment) -> Iterator[Finding]:
    options, scaling = deployment.options, deployment.scaling
    if options.get("max_queued_requests", -1) == -1:
        yield (
            "max_queued_requests",
            "must be set, to 1 or more: without it the queue is unbounded",
        )
    if options.get("num_replicas") == "auto":
        yield (
            "num_replicas",
            "`auto` is 1 to 100 replicas at 2 requests each: write an `autoscaling_config`",
        )
    if not scaling:
        return
    for key, default in (("max_replicas", "1: it never grows"), ("target_ongoing_requests", "2")):
        if key not in scaling:
            yield f"autoscaling_config.{key}", f"must be set: Serve's default is {default}"
    target, most = number(scaling.get("target_ongoing_requests")), deployment.max_ongoing_requests
    if target > most > 0:
        yield (
            "autoscaling_config.target_ongoing_requests",
            (
                f"{target:g} is over `max_ongoing_requests` ({most}): it would only grow once "
                "callers queue; write less"
            ),
        )
    may_sleep = scaling.get("min_replicas") == 0
    if may_sleep and deployment.name != _MAY_BE_AWAY:
        yield (
            "autoscaling_config.min_replicas",
            (
                f"must be 1 or more: only {_MAY_BE_AWAY} may be away; whatever needs "
                f"{deployment.name} would wait for a cold start"
            ),
        )
    if "downscale_to_zero_delay_s" in scaling and not may_sleep:
        yield (
            "autoscaling_config.downscale_to_zero_delay_s",
            "has no effect: `min_replicas` is not 0",
        )


def _ingress(ingress: Deployment, llm: Deployment | None) -> Iterator[Finding]:
    refusal = section(ingress.options, "backpressure_config")
    if refusal.get("status_code") != _TOO_MANY_REQUESTS or refusal.get("retry_after_s") is None:
        yield (
            "backpressure_config",
            (
                "write {status_code: 429, retry_after_s: 2}: Serve answers a full queue with 503 "
                "and no Retry-After"
            ),
        )
    if llm is None:
        return
    one, of_llm = divided(ingress.max_ongoing_requests).keys, llm.max_ongoing_requests
    replicas, of_llms = ingress.replicas("maximum"), llm.replicas("maximum")
    if one < of_llm:
        yield (
            "max_ongoing_requests",
            (
                f"three quarters are for API keys: {one} are less than the LLM's {of_llm}, and "
                "the ingress would keep the model idle"
            ),
        )
    elif one * replicas < of_llm * of_llms:
        yield (
            "max_ongoing_requests",
            (
                f"{replicas} replicas hold {one * replicas} requests of API keys, and {of_llms} "
                f"of the LLM {of_llm * of_llms}: raise this or the number of replicas"
            ),
        )


def capacity_problems(subject: Subject) -> Iterator[Problem]:
    """List deployments that Serve would keep below their own capacity, and cut answers."""
    settings = subject.settings
    sequences = int(number(settings.llm.engine_args.get("max_num_seqs")))
    pages = settings.renderer.max_pages if settings.renderer else 0
    for name, least, why in (
        ("LLM", sequences, f"`llm.engine_args.max_num_seqs` ({sequences}) are computed at once"),
        ("Images", settings.images.max_batch, "`images.max_batch` pictures share a pass"),
        ("Jobs", MAX_WATCHERS + 1, f"{MAX_WATCHERS} callers that watch jobs may take them all"),
        ("Renderer", pages, f"`renderer.max_pages` ({pages}) are loaded at once"),
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
