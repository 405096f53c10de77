"""Rules of single-node state: embedded Qdrant, SQLite and local files have one replica only."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from deployments.settings import Secrets
from serve_app.check.file.deployment import number
from serve_app.check.placement.plan import hosts
from serve_app.http.urls import is_loopback

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from serve_app.check.file.deployment import Deployment
    from serve_app.check.file.document import ConfigFile, Place, Problem
    from serve_app.check.placement.nodes import Node
    from serve_app.settings import AppSettings

_ARGS: Place = ("applications", 0, "args")
_NAMED = 3  # nodes of a message


def state_problems(
    file: ConfigFile,
    deployments: Mapping[str, Deployment],
    settings: AppSettings,
    nodes: Sequence[Node],
) -> Iterator[Problem]:
    """Check that single-node state (embedded Qdrant, SQLite, local files) has one replica only."""
    yield from _documents(file, deployments.get("Retriever"), settings, nodes)
    yield from _jobs(file, deployments.get("Jobs"), settings, nodes)
    users = [deployments[name] for name in ("Ingress", "Jobs") if name in deployments]
    yield from _files(file, users, settings, nodes)
    yield from _addresses(file, deployments, settings, nodes)


def _documents(
    file: ConfigFile,
    retriever: Deployment | None,
    settings: AppSettings,
    nodes: Sequence[Node],
) -> Iterator[Problem]:
    if settings.retriever.url == ":memory:":
        yield file.problem(
            (*_ARGS, "retriever", "url"),
            "is for tests: every replica has documents of its own, and loses them as it stops; "
            "write the server's address",
        )
    if retriever is None or settings.retriever.store != "edge":
        return
    yield from _one_holder(
        file,
        retriever,
        "the `edge` store allows one replica; use `retriever.store: qdrant` for more",
        "must be 0 with the `edge` store: the old replica must release the folder first",
    )
    if where := _places([retriever], nodes):
        yield file.problem(
            (*_ARGS, "retriever", "store"),
            f"`edge` keeps documents on one node, and Retriever may start on {where}: use "
            "`store: qdrant` with the `url` of a server",
        )


def _jobs(
    file: ConfigFile, jobs: Deployment | None, settings: AppSettings, nodes: Sequence[Node]
) -> Iterator[Problem]:
    if jobs is None or not _database(settings).startswith("sqlite"):
        return
    yield from _one_holder(
        file,
        jobs,
        "SQLite allows one replica; set `jobs.database_url` to a PostgreSQL for more",
        "must be 0 with SQLite: the old replica must release the file first; or set "
        "`jobs.database_url` to a PostgreSQL",
    )
    if where := _places([jobs], nodes):
        yield file.problem(
            (*_ARGS, "jobs", "database_url"),
            f"SQLite keeps jobs on one node, and Jobs may start on {where}: write "
            "postgresql://USER@HOST:5432/DATABASE",
        )


def _files(
    file: ConfigFile,
    users: Sequence[Deployment],
    settings: AppSettings,
    nodes: Sequence[Node],
) -> Iterator[Problem]:
    if settings.files.startswith("memory:"):
        yield file.problem(
            (*_ARGS, "files"),
            "the ingress writes what the jobs read, in another process: name a folder, or an "
            "object store",
        )
    elif "://" not in settings.files and (where := _places(users, nodes)):
        yield file.problem(
            (*_ARGS, "files"),
            f"a folder is on one node, and Ingress and Jobs may start on {where}: use an object "
            "store like s3://BUCKET/FOLDER, or file:///FOLDER for one that all nodes mount",
        )


def _addresses(
    file: ConfigFile,
    deployments: Mapping[str, Deployment],
    settings: AppSettings,
    nodes: Sequence[Node],
) -> Iterator[Problem]:
    """Check that no loopback address is used by a deployment that may start on several nodes."""
    for name, place, url in (
        ("Retriever", ("retriever", "url"), settings.retriever.url),
        ("Jobs", ("jobs", "database_url"), _database(settings)),
        ("LLM", ("llm", "base_url"), settings.llm.base_url),
    ):
        host = urlsplit(url or "").hostname
        deployment = deployments.get(name)
        if host and deployment and is_loopback(host) and (where := _places([deployment], nodes)):
            yield file.problem(
                (*_ARGS, *place),
                f"{host} is another machine on each node, and {name} may start on {where}: "
                "write a name that all nodes reach",
            )


def _database(settings: AppSettings) -> str:
    """Return the database URL: the environment overrides the setting, as in the service."""
    secret = Secrets().jobs_database_url
    return secret.get_secret_value() if secret else settings.jobs.database_url or ""


def _one_holder(
    file: ConfigFile, deployment: Deployment, many: str, surging: str
) -> Iterator[Problem]:
    options = deployment.options
    for path, replicas in (
        (("num_replicas",), options.get("num_replicas")),
        (("autoscaling_config", "max_replicas"), deployment.scaling.get("max_replicas")),
    ):
        if replicas == "auto" or number(replicas) > 1:
            yield file.problem((*deployment.path, *path), many)
    if number(options.get("max_surge_percent")) > 0:
        yield file.problem((*deployment.path, "max_surge_percent"), surging)


def _places(deployments: Sequence[Deployment], nodes: Sequence[Node]) -> str:
    """Name the nodes on which any of the deployments may start; empty if there is only one."""
    names = {node.name for each in deployments for node in hosts(each, nodes)}
    if len(names) < 2:  # noqa: PLR2004
        return ""
    listed = [node.name for node in nodes if node.name in names]
    more = f" and {len(listed) - _NAMED} more" if len(listed) > _NAMED else ""
    return f"any of {', '.join(listed[:_NAMED])}{more}"
