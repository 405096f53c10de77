"""Rules of single-node state: embedded Qdrant, SQLite and local files have one replica only."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from deployments.settings import Secrets, database_url
from serve_app.check.file.deployment import number
from serve_app.check.placement.plan import hosts
from serve_app.http.urls import is_loopback

if TYPE_CHECKING:
    from collections.abc import Iterator

    from serve_app.check.file.document import Problem
    from serve_app.check.rules.subject import Subject
    from serve_app.settings import AppSettings

_FILE_USERS = ("Ingress", "Jobs", "Parser", "Scraper")
_LISTED = 3  # nodes in a message


def state_problems(subject: Subject) -> Iterator[Problem]:
    """List state that a second replica, another node or a restart would not find."""
    settings = subject.settings
    if settings.retriever.url == ":memory:":
        yield subject.setting(
            "retriever.url",
            "is for tests: every replica has documents of its own, and loses them as it stops; "
            "write the server's address",
        )
    if settings.retriever.store == "edge":
        yield from _single_replica(
            subject,
            "Retriever",
            "the `edge` store",
            "use `retriever.store: qdrant` for more",
        )
        if where := _places(subject, "Retriever"):
            yield subject.setting(
                "retriever.store",
                f"`edge` keeps documents on one node, and Retriever may start on {where}: use "
                "`store: qdrant` with the `url` of a server",
            )
    if _database(settings).startswith("sqlite"):
        yield from _single_replica(
            subject, "Jobs", "SQLite", "set `database_url` to a PostgreSQL for more"
        )
        if where := _places(subject, "Jobs", "Ingress", "Retriever"):
            yield subject.setting(
                "database_url",
                f"SQLite keeps jobs and the catalogue on one node, and Jobs, Ingress and Retriever "
                f"may start on {where}: write postgresql://USER@HOST:5432/DATABASE",
            )
    yield from _files(subject)
    yield from _addresses(subject)


def _files(subject: Subject) -> Iterator[Problem]:
    files = subject.settings.files
    if files.startswith("memory:"):
        yield subject.setting(
            "files",
            "several processes share it: name a folder, or an object store",
        )
    elif "://" not in files and (where := _places(subject, *_FILE_USERS)):
        yield subject.setting(
            "files",
            f"a folder is on one node, and Ingress, Jobs, Parser and Scraper share it but may "
            f"start on {where}: use an object store like s3://BUCKET/FOLDER, or file:///FOLDER "
            "for one that all nodes mount",
        )


def _addresses(subject: Subject) -> Iterator[Problem]:
    """Check that no loopback address is used by a deployment that may start on several nodes."""
    settings = subject.settings
    for name, path, url in (
        ("Retriever", "retriever.url", settings.retriever.url),
        ("Jobs", "database_url", _database(settings)),
        ("Ingress", "database_url", _database(settings)),
        ("Retriever", "database_url", _database(settings)),
        ("LLM", "llm.base_url", settings.llm.base_url),
    ):
        host = urlsplit(url or "").hostname
        if host and is_loopback(host) and (where := _places(subject, name)):
            yield subject.setting(
                path,
                f"{host} is another machine on each node, and {name} may start on {where}: "
                "write a name that all nodes reach",
            )


def _database(settings: AppSettings) -> str:
    return database_url(settings.database_url, Secrets())


def _single_replica(subject: Subject, name: str, store: str, instead: str) -> Iterator[Problem]:
    if (deployment := subject.deployments.get(name)) is None:
        return
    options = deployment.options
    for path, replicas in (
        ("num_replicas", options.get("num_replicas")),
        ("autoscaling_config.max_replicas", deployment.scaling.get("max_replicas")),
    ):
        if replicas == "auto" or number(replicas) > 1:
            yield subject.option(deployment, path, f"{store} allows one replica; {instead}")
    if number(options.get("max_surge_percent")) > 0:
        yield subject.option(
            deployment,
            "max_surge_percent",
            f"must be 0 with {store}: the old replica must release it first; or {instead}",
        )


def _places(subject: Subject, *names: str) -> str:
    """Name the nodes on which any of the deployments may start; empty if there is only one."""
    users = [subject.deployments[name] for name in names if name in subject.deployments]
    found = {node.name for each in users for node in hosts(each, subject.nodes)}
    if len(found) < 2:  # noqa: PLR2004
        return ""
    listed = [node.name for node in subject.nodes if node.name in found]
    more = f" and {len(listed) - _LISTED} more" if len(listed) > _LISTED else ""
    return f"any of {', '.join(listed[:_LISTED])}{more}"
