"""Rules of Ray Serve: options that it refuses, ignores silently, or can never place."""

from __future__ import annotations

import copy
import json
import warnings
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from ray import serve
from ray._common.utils import import_attr
from ray.runtime_env import RuntimeEnv
from ray.serve.config import AutoscalingPolicy
from ray.serve.schema import DeploymentSchema, ServeDeploySchema

from serve_app.check.file.deployment import section
from serve_app.check.file.schema import complaints, hint, unknown_keys, without
from serve_app.check.placement.nodes import NODES_KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from serve_app.check.file.document import ConfigFile, Place, Problem

_RESOURCES = {"CPU", "GPU", "memory", "object_store_memory"}


class _Replica:
    """A placeholder for the class of a deployment."""


def serve_problems(file: ConfigFile) -> Iterator[Problem]:
    """List the problems of the file as a Serve configuration, except in `args`."""
    known = without(file.data, {(NODES_KEY,)})
    strangers = dict(unknown_keys(ServeDeploySchema, known))
    for i, application in _items(known, "applications"):
        # The schema has it as a plain dictionary.
        policy = application.get("autoscaling_policy")
        at: Place = ("applications", i, "autoscaling_policy")
        strangers |= dict(unknown_keys(AutoscalingPolicy, policy, at))
        # The schema knows them for old files, and refuses them in this kind of file.
        for key in ("host", "port"):
            if key in application:
                strangers["applications", i, key] = "it belongs under `http_options`"
    for path, message in strangers.items():
        yield file.problem(path, message)
    data = without(known, strangers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations, not refusals
        yield from _schema_problems(file, data)
        yield from _tracing_problems(file)
        for i, application in _items(data, "applications"):
            at = ("applications", i)
            yield from _runtime_env_problems(file, application, at)
            for j, deployment in _items(application, "deployments"):
                yield from _deployment_problems(file, deployment, (*at, "deployments", j))


def _items(value: object, key: str) -> list[tuple[int, dict[str, Any]]]:
    listed = value.get(key) if isinstance(value, dict) else None
    entries = listed if isinstance(listed, list) else []
    return [(i, entry) for i, entry in enumerate(entries) if isinstance(entry, dict)]


def _schema_problems(file: ConfigFile, data: object) -> Iterator[Problem]:
    try:
        ServeDeploySchema.model_validate(data)
    except ValidationError as error:
        yield from complaints(error, file)
    except Exception:  # noqa: BLE001 - of a deployment's validator, reported there
        return


def _tracing_problems(file: ConfigFile) -> Iterator[Problem]:
    """Check that the exporter can be imported: without it no replica or proxy starts."""
    tracing = section(file.data, "tracing_config")
    path = tracing.get("exporter_import_path")
    if tracing.get("enabled") is not True or not path or not isinstance(path, str):
        return
    try:
        import_attr(path)
    except Exception as error:  # noqa: BLE001 - importing may raise anything
        message = f"cannot be imported: {_said(error)}"
        yield file.problem(("tracing_config", "exporter_import_path"), message)


def _deployment_problems(
    file: ConfigFile, deployment: dict[str, Any], path: Place
) -> Iterator[Problem]:
    actor = deployment.get("ray_actor_options")
    if isinstance(actor, dict):
        inner = (*path, "ray_actor_options")
        yield from _runtime_env_problems(file, actor, inner)
        yield from _resource_problems(file, actor, inner)
        yield from _resource_problems(file, actor.get("resources"), (*inner, "resources"))
    bundles = deployment.get("placement_group_bundles")
    for i, bundle in enumerate(bundles if isinstance(bundles, list) else []):
        yield from _resource_problems(file, bundle, (*path, "placement_group_bundles", i))
    try:
        DeploymentSchema.model_validate(deployment)
    except ValidationError as error:
        yield from complaints(error, file, path)
    except Exception as error:  # noqa: BLE001 - Serve imports the classes that are named
        culprit = _culprit(deployment, DeploymentSchema.model_validate)
        yield file.problem((*path, culprit), _said(error))
    else:
        for part, message in _refusals(json.dumps(deployment, default=str)):
            yield file.problem(file.known((*path, *part)), message)


@lru_cache
def _refusals(deployment: str) -> list[tuple[Place, str]]:
    """Try options as Serve does when it deploys, leaving out each refused one in turn.

    Takes a tenth of a second, so the result is cached for each deployment, given as JSON.
    """
    written = json.loads(deployment)
    options = DeploymentSchema.model_validate(written).model_dump(exclude_unset=True)
    refusals: list[tuple[Place, str]] = []
    while (error := _error(_deploy, options)) is not None:
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            loc = first["loc"]
            if not loc or loc[0] not in written:  # `num_replicas: auto` tries it on its own
                loc = ("autoscaling_config", *loc)
            message = first["msg"].removeprefix("Value error, ")
        else:
            loc, message = (_culprit(options, _deploy),), _said(error)
        refusals.append((loc, message))
        options = {k: v for k, v in options.items() if k != loc[0]}
    return refusals


def _deploy(options: dict[str, Any]) -> None:
    # Serve fills its defaults into the actor options it is given.
    serve.deployment(**copy.deepcopy(options))(_Replica)


def _error(
    attempt: Callable[[dict[str, Any]], object], options: dict[str, Any]
) -> Exception | None:
    try:
        attempt(options)
    except Exception as error:  # noqa: BLE001 - importing a policy or router may raise anything
        return error
    return None


def _culprit(options: dict[str, Any], attempt: Callable[[dict[str, Any]], object]) -> str:
    """Name the option whose removal removes the error, or at least changes it."""
    said = str(_error(attempt, options))
    left = {k: _error(attempt, {o: v for o, v in options.items() if o != k}) for k in options}
    return next(
        (k for k, error in left.items() if error is None),
        next((k for k, error in left.items() if str(error) != said), next(iter(options))),
    )


def _runtime_env_problems(file: ConfigFile, owner: dict[str, Any], at: Place) -> Iterator[Problem]:
    env = owner.get("runtime_env")
    if not isinstance(env, dict):
        return
    known = {name for name in RuntimeEnv.known_fields if not name.startswith("_")}
    for key in env:
        if key not in known:
            message = f"unknown key{hint(str(key), known)}"
            yield file.problem((*at, "runtime_env", key), message)
    variables = env.get("env_vars", {})
    if not isinstance(variables, dict):
        yield file.problem((*at, "runtime_env", "env_vars"), "must map names to strings")
        return
    for key, value in variables.items():
        if not isinstance(value, str):
            message = f"must be a string: write {key}: {str(value)!r}"
            yield file.problem((*at, "runtime_env", "env_vars", key), message)


def _resource_problems(file: ConfigFile, resources: object, at: Place) -> Iterator[Problem]:
    """Find misspelt resources, which no node has, and fractions of several GPUs."""
    for name, amount in resources.items() if isinstance(resources, dict) else ():
        bare = str(name).lower().removeprefix("num_")
        for right in _RESOURCES - {name} if at[-1] != "ray_actor_options" else ():
            if bare in {right.lower(), right.lower() + "s"}:
                yield file.problem((*at, name), f"no such resource; did you mean `{right}`?")
        is_gpu = name in {"num_gpus", "GPU"}
        if is_gpu and isinstance(amount, float) and amount > 1 and not amount.is_integer():
            yield file.problem((*at, name), "over 1, GPUs are whole: only one can be shared")


def _said(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
