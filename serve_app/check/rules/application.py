"""Rules of GenServe for a configuration, beyond those of Serve."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from deployments.settings import Secrets
from serve_app.access.keys import KEYS_NEEDED, Keys
from serve_app.check.file.deployment import Deployment, section
from serve_app.check.file.schema import complaints, hint, unknown_keys, without
from serve_app.check.rules.capacity import capacity_problems, load_problems
from serve_app.check.rules.engine import engine_problems
from serve_app.check.rules.gpus import gpu_problems
from serve_app.check.rules.models import model_problems
from serve_app.check.rules.renderer import renderer_problems
from serve_app.check.rules.state import state_problems
from serve_app.check.rules.subject import Subject
from serve_app.http.urls import is_loopback
from serve_app.settings import (
    APPLICATION_NAME,
    DEPLOYMENT_NAMES,
    IMPORT_PATH,
    NEXT_EMBEDDER,
    RENDERER,
    AppSettings,
)
from serve_app.settings.removed import REMOVED
from serve_app.settings.tree import LAST_PORT, SERVE_HOST

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence

    from serve_app.check.file.document import ConfigFile, Place, Problem
    from serve_app.check.placement.nodes import Node

SECRET_NAMES = frozenset(
    {str(field.validation_alias) for field in Secrets.model_fields.values()}
    | {"HF_TOKEN", "RAY_AUTH_TOKEN", "AWS_SECRET_ACCESS_KEY"}
)
"""Environment variables that hold a secret."""

_OPTIONAL = {
    NEXT_EMBEDDER: "name the next model as `embedder.next`",
    RENDERER: "set `renderer`, which may be {}",
}
"""Deployments that only some configurations have, and what to set for them."""

ROOT_PATH = re.compile(r"(/[\w.~-]+)*", re.ASCII)


def application_problems(
    file: ConfigFile, nodes: Sequence[Node], *, same_environment: bool = True
) -> Iterator[Problem]:
    """List where the file is not a valid configuration of GenServe.

    Args:
        file: the configuration.
        nodes: all nodes there may be.
        same_environment: whether they have the Python packages and environment variables of
            this process; an image on Kubernetes has its own.
    """
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
    if same_environment:
        yield from _access(file)
    yield from _address(file)
    if file.data.get("proxy_location") == "Disabled":
        yield file.problem(
            ("proxy_location",), "nobody could reach the service: write EveryNode or HeadOnly"
        )
    settings = yield from _settings(file, application.get("args"), (*path, "args"))
    if settings is not None:
        yield from _public_path(file, settings, (*path, "args", "public_url"))
    deployments = yield from _deployments(file, application, path, settings)
    yield from _secrets(file, application, path)
    yield from load_problems(file, deployments)
    if settings is not None:
        subject = Subject(file, settings, deployments, nodes)
        rules = [capacity_problems, state_problems, gpu_problems, engine_problems]
        if same_environment:
            rules += [model_problems, renderer_problems]
        for rule in rules:
            yield from rule(subject)


def _access(file: ConfigFile) -> Iterator[Problem]:
    """Refuse a public address without API keys."""
    try:
        keys = Keys.read(Secrets().api_keys)
    except ValueError as error:
        yield file.problem((), str(error))
        return
    host = str(section(file.data, "http_options").get("host", SERVE_HOST))
    if not keys and not is_loopback(host):
        yield file.problem(("http_options", "host"), KEYS_NEEDED)


def _address(file: ConfigFile) -> Iterator[Problem]:
    """Check the port, and the path prefix that a reverse proxy in front removes."""
    options = section(file.data, "http_options")
    port, root_path = options.get("port"), options.get("root_path")
    if type(port) is int and not 1 <= port <= LAST_PORT:
        yield file.problem(("http_options", "port"), f"must be from 1 to {LAST_PORT}")
    if isinstance(root_path, str) and not ROOT_PATH.fullmatch(root_path):
        message = "must begin with `/` and not end with it, as `/genserve`"
        yield file.problem(("http_options", "root_path"), message)


def _public_path(file: ConfigFile, settings: AppSettings, path: Place) -> Iterator[Problem]:
    """Refuse a public address without the prefix that the proxy in front removes."""
    root_path = section(file.data, "http_options").get("root_path")
    public = settings.public_url
    if public and isinstance(root_path, str) and not urlsplit(public).path.endswith(root_path):
        yield file.problem(path, f"must end with http_options.root_path, `{root_path}`")


def _settings(
    file: ConfigFile, args: object, path: Place
) -> Generator[Problem, None, AppSettings | None]:
    unknown = dict(unknown_keys(AppSettings, args))
    for inner, message in unknown.items():
        gone = REMOVED.get(".".join(map(str, inner)))
        yield file.problem((*path, *inner), f"remove it: {gone}" if gone else message)
    try:
        return AppSettings.model_validate({} if args is None else without(args, unknown))
    except ValidationError as error:
        yield from complaints(error, file, path)
        return None


def _deployments(
    file: ConfigFile, application: Mapping[str, Any], path: Place, settings: AppSettings | None
) -> Generator[Problem, None, dict[str, Deployment]]:
    listed = application.get("deployments")
    path = (*path, "deployments")
    found: dict[str, Deployment] = {}
    known = (*DEPLOYMENT_NAMES, *_OPTIONAL)
    off = {name for name in _OPTIONAL if settings is not None and not _wanted(settings, name)}
    for i, options in enumerate(listed if isinstance(listed, list) else []):
        name = options.get("name") if isinstance(options, dict) else None
        if not isinstance(name, str):
            continue  # refused by Serve's schema
        if options.get("user_config") is not None:
            message = "no deployment here takes one: behaviour is set under `args`"
            yield file.problem((*path, i, "user_config"), message)
        if name not in known:
            message = f"no such deployment{hint(name, known)}"
            yield file.problem((*path, i, "name"), message)
        elif name in off:
            yield file.problem((*path, i, "name"), f"remove it, or {_OPTIONAL[name]}")
        elif name in found:
            yield file.problem((*path, i, "name"), "this deployment is already listed")
        else:
            found[name] = Deployment((*path, i), options)
    for name in known:
        optional = name in _OPTIONAL and (settings is None or name in off)
        if name not in found and not optional:
            message = f"`{name}` is not listed: it would run with Serve's defaults, unbounded"
            yield file.problem(path, message)
    return found


def _wanted(settings: AppSettings, name: str) -> bool:
    """Tell whether the settings ask for an optional deployment."""
    setting = {NEXT_EMBEDDER: settings.embedder.next, RENDERER: settings.renderer}[name]
    return setting is not None


def _secrets(file: ConfigFile, application: Mapping[str, Any], path: Place) -> Iterator[Problem]:
    """Refuse secrets in the file: the dashboard shows it."""
    owners: list[tuple[Place, object]] = [(path, application)]
    listed = application.get("deployments")
    for i, options in enumerate(listed if isinstance(listed, list) else []):
        at = (*path, "deployments", i, "ray_actor_options")
        owners.append((at, section(options, "ray_actor_options")))
    for at, owner in owners:
        for name in section(section(owner, "runtime_env"), "env_vars"):
            if name in SECRET_NAMES:
                yield file.problem(
                    (*at, "runtime_env", "env_vars", name),
                    "is a secret, and the dashboard shows this file: set it in the environment "
                    "of the nodes",
                )
