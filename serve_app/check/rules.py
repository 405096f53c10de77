"""What GenServe asks of a configuration beyond what Serve does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from deployments.settings import Secrets
from serve_app.access.guard import is_loopback
from serve_app.access.keys import OPEN_DOOR, Keys
from serve_app.check.schema import complaints, hint, unknown_keys, without
from serve_app.settings import APPLICATION_NAME, DEPLOYMENT_NAMES, IMPORT_PATH, AppSettings

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from serve_app.check.config_file import ConfigFile, Place, Problem

SERVE_MAX_ONGOING_REQUESTS = 5
"""Serve's default, the ingress included."""


@dataclass(frozen=True, slots=True)
class _Deployment:
    """One entry under `deployments:`, and its place."""

    path: Place
    options: Mapping[str, Any]

    @property
    def max_ongoing_requests(self) -> float:
        return _number(self.options.get("max_ongoing_requests", SERVE_MAX_ONGOING_REQUESTS))

    @property
    def num_gpus(self) -> float:
        return _number(_section(self.options, "ray_actor_options").get("num_gpus"))


def rule_problems(file: ConfigFile) -> Iterator[Problem]:
    """List where the file is not a configuration of this application."""
    listed = file.data.get("applications") if isinstance(file.data, dict) else None
    if not isinstance(listed, list) or len(listed) != 1 or not isinstance(listed[0], dict):
        yield file.problem(("applications",), f"must list one application, `{APPLICATION_NAME}`")
        return
    application, path = listed[0], ("applications", 0)
    for key, unset, right in (
        ("name", None, APPLICATION_NAME),
        ("import_path", None, IMPORT_PATH),
        ("route_prefix", "/", "/"),
    ):
        if application.get(key, unset) != right:
            yield file.problem((*path, key), f"must be `{right}`")
    yield from _door(file)
    settings = yield from _settings(file, application.get("args"), (*path, "args"))
    deployments = yield from _deployments(file, application, path)
    yield from _queues(file, deployments)
    if settings is not None:
        yield from _one_writer(file, settings, deployments.get("Retriever"))
        yield from _jobs_on_one_machine(file, settings, deployments.get("Jobs"))
        yield from _gpus_of_llm(file, settings, deployments.get("LLM"))
        for name, device in (
            ("Embedder", settings.embedder.device),
            ("Images", settings.images.device),
        ):
            yield from _gpu_of(file, name.lower(), device, deployments.get(name))


def _door(file: ConfigFile) -> Iterator[Problem]:
    """The environment is that of the check, which should be that of the service."""
    try:
        keys = Keys.read(Secrets().api_keys)
    except ValueError as error:
        yield file.problem((), str(error))
        return
    host = _section(file.data, "http_options").get("host", "127.0.0.1")
    if not keys and not is_loopback(str(host)):
        yield file.problem(("http_options", "host"), OPEN_DOOR)


def _settings(
    file: ConfigFile, args: object, path: Place
) -> Generator[Problem, None, AppSettings | None]:
    strangers = dict(unknown_keys(AppSettings, args))
    for inner, message in strangers.items():
        yield file.problem((*path, *inner), message)
    try:
        return AppSettings.model_validate({} if args is None else without(args, strangers))
    except ValidationError as error:
        yield from complaints(error, file, path)
        return None


def _deployments(
    file: ConfigFile, application: Mapping[str, Any], path: Place
) -> Generator[Problem, None, dict[str, _Deployment]]:
    listed = application.get("deployments")
    path = (*path, "deployments")
    found: dict[str, _Deployment] = {}
    for i, options in enumerate(listed if isinstance(listed, list) else []):
        name = options.get("name") if isinstance(options, dict) else None
        if not isinstance(name, str):
            continue  # Serve's schema complains
        if name not in DEPLOYMENT_NAMES:
            message = f"no such deployment{hint(name, DEPLOYMENT_NAMES)}"
            yield file.problem((*path, i, "name"), message)
        elif name in found:
            yield file.problem((*path, i, "name"), "this deployment is already listed")
        else:
            found[name] = _Deployment((*path, i), options)
    for name in DEPLOYMENT_NAMES:
        if name not in found:
            message = f"`{name}` is not listed: it would run with Serve's defaults, unbounded"
            yield file.problem(path, message)
    return found


def _queues(file: ConfigFile, deployments: Mapping[str, _Deployment]) -> Iterator[Problem]:
    for name, deployment in deployments.items():
        bound = deployment.options.get("max_queued_requests", -1)
        if name != "Ingress" and bound == -1:
            yield file.problem(
                (*deployment.path, "max_queued_requests"),
                "must be set, to 1 or more: without it the queue is unbounded",
            )
    ingress, llm = deployments.get("Ingress"), deployments.get("LLM")
    if ingress and llm and 0 < ingress.max_ongoing_requests < llm.max_ongoing_requests:
        yield file.problem(
            (*ingress.path, "max_ongoing_requests"),
            f"{ingress.max_ongoing_requests} is less than the LLM's "
            f"{llm.max_ongoing_requests}: the ingress would keep the model idle",
        )


def _one_writer(
    file: ConfigFile, settings: AppSettings, retriever: _Deployment | None
) -> Iterator[Problem]:
    """Allow the embedded store one replica: it is a folder that one process holds."""
    if settings.retriever.store != "edge" or retriever is None:
        return
    yield from _more_than_one(
        file,
        retriever,
        "the `edge` store allows one replica; use `retriever.store: qdrant` for more",
    )
    if _number(retriever.options.get("max_surge_percent")) > 0:
        yield file.problem(
            (*retriever.path, "max_surge_percent"),
            "must be 0 with the `edge` store: the old replica has to let go of the folder first",
        )


def _jobs_on_one_machine(
    file: ConfigFile, settings: AppSettings, jobs: _Deployment | None
) -> Iterator[Problem]:
    """Allow SQLite one replica: its file does not span machines."""
    if jobs is None or not (settings.jobs.database_url or "").startswith("sqlite"):
        return
    yield from _more_than_one(
        file, jobs, "SQLite allows one replica; set `jobs.database_url` to a PostgreSQL for more"
    )


def _more_than_one(file: ConfigFile, deployment: _Deployment, message: str) -> Iterator[Problem]:
    options = deployment.options
    for path, replicas in (
        (("num_replicas",), options.get("num_replicas")),
        (
            ("autoscaling_config", "max_replicas"),
            _section(options, "autoscaling_config").get("max_replicas"),
        ),
    ):
        if replicas == "auto" or _number(replicas) > 1:
            yield file.problem((*deployment.path, *path), message)


def _gpus_of_llm(
    file: ConfigFile, settings: AppSettings, llm: _Deployment | None
) -> Iterator[Problem]:
    """Serve books the GPUs, vLLM uses them: both have to mean the same ones."""
    if llm is None or settings.llm.engine != "vllm":
        return
    arguments = settings.llm.engine_args
    workers = int(
        (_number(arguments.get("tensor_parallel_size")) or 1)
        * (_number(arguments.get("pipeline_parallel_size")) or 1)
    )
    bundles = llm.options.get("placement_group_bundles")
    if isinstance(bundles, list):
        gpus = [_number(b.get("GPU")) for b in bundles if isinstance(b, dict)]
        if any(gpus) and [g for g in gpus if g] != [1] * workers:
            yield file.problem(
                (*llm.path, "placement_group_bundles"),
                f"must hold {workers} bundles of one GPU each, for vLLM's {workers} workers",
            )
        if any(gpus) and llm.num_gpus:
            yield file.problem(
                (*llm.path, "ray_actor_options", "num_gpus"),
                "must be 0 beside bundles: the workers take their GPUs, the replica none",
            )
    elif llm.num_gpus and ceil(llm.num_gpus) != workers:
        yield file.problem(
            (*llm.path, "ray_actor_options", "num_gpus"),
            f"vLLM starts {workers} workers: book {workers} GPUs, or `placement_group_bundles`",
        )
    elif workers > 1 and arguments.get("distributed_executor_backend") == "ray":
        yield file.problem(
            (*llm.path, "placement_group_bundles"),
            f"must be set: {workers} times {{GPU: 1, CPU: 1}}, for vLLM's {workers} workers",
        )


def _gpu_of(
    file: ConfigFile, section: str, device: str, deployment: _Deployment | None
) -> Iterator[Problem]:
    if deployment and device.startswith("cuda") and not deployment.num_gpus:
        yield file.problem(
            (*deployment.path, "ray_actor_options", "num_gpus"),
            f"`{section}.device` is cuda: book a GPU or part of one",
        )


def _section(options: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = options.get(key)
    return value if isinstance(value, Mapping) else {}


def _number(value: object) -> float:
    return value if isinstance(value, int | float) else 0
