"""Refuse a wrong configuration file before anything starts: `python -m serve_app.check FILE`."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from serve_app.check.config_file import Problem, endless_numbers, read
from serve_app.check.deployment import Deployment, Size
from serve_app.check.nodes import Cluster, read_comment
from serve_app.check.plan import plan
from serve_app.check.rayservice import is_rayservice, read_cluster, serve_config
from serve_app.check.rayservice_rules import rayservice_problems
from serve_app.check.rules import rule_problems
from serve_app.check.serve import serve_problems

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from serve_app.check.config_file import ConfigFile
    from serve_app.check.nodes import Node
    from serve_app.check.plan import Plan

__all__ = ["Problem", "checked", "problems"]


def problems(text: str, name: str) -> list[Problem]:
    """List everything wrong with a configuration, in the order of its lines."""
    return checked(text, name)[0]


def checked(text: str, name: str, nodes: Sequence[Node] = ()) -> tuple[list[Problem], list[Plan]]:
    """List everything wrong with a configuration, and where its replicas would be.

    A configuration is a file of Serve's, or of Kubernetes with one RayService. Without `nodes`
    they are those that the comment at its head says it is made for, or the RayService's groups.
    """
    try:
        files, found = read(text, name)
        if not files:
            return found, []
        service = next(filter(is_rayservice, files), None)
        if service is not None:
            return _checked_service(service, found, Cluster(nodes, nodes))
        if len(files) > 1:
            line = files[1].node.start_mark.line + 1
            message = "more than one document, and none of them is a RayService"
            return [*found, Problem(name, line, "", message)], []
        nodes = nodes or read_comment(text)
        found += _problems(files[0], nodes)
        return _planned(files[0], found, Cluster(nodes, nodes))
    except RecursionError:  # an alias inside of what it stands for
        return [Problem(name, 1, "", "nested without end")], []


def _checked_service(
    service: ConfigFile, found: list[Problem], cluster: Cluster
) -> tuple[list[Problem], list[Plan]]:
    cluster = cluster if cluster.maximum else read_cluster(service)
    file, unread = serve_config(service)
    found += [*unread, *rayservice_problems(service, file)]
    found += _endless(service, found)
    if file is None:
        return sorted(set(found)), []
    found += _problems(file, cluster.maximum, own_machine=False)
    return _planned(file, found, cluster)


def _problems(
    file: ConfigFile, nodes: Sequence[Node], *, own_machine: bool = True
) -> Iterator[Problem]:
    found = [*serve_problems(file), *rule_problems(file, nodes, own_machine=own_machine)]
    yield from found
    yield from _endless(file, found)


def _endless(file: ConfigFile, found: Sequence[Problem]) -> list[Problem]:
    """List numbers without an end; those of the settings are refused for it already."""
    refused = {problem.path for problem in found if "finite" in problem.message}
    places = [path for path in endless_numbers(file.data) if file.dotted(path) not in refused]
    return [file.problem(path, "must be a finite number") for path in places]


def _planned(
    file: ConfigFile, found: list[Problem], cluster: Cluster
) -> tuple[list[Problem], list[Plan]]:
    if found or not cluster.maximum:
        return sorted(set(found)), []
    application = file.data["applications"][0]
    of_size: dict[Size, Sequence[Node]] = {
        "minimum": cluster.minimum,
        "maximum": cluster.maximum,
    }
    plans = [plan(application, of_size[size], size) for size in get_args(Size)]
    homeless = [problem for each in plans for problem in _homeless(file, each)]
    return homeless or list(_stuck(file, cluster.maximum)), plans


def _homeless(file: ConfigFile, each: Plan) -> Iterator[Problem]:
    for deployment in _deployments(file):
        if count := each.homeless[deployment.name]:
            yield file.problem(
                deployment.path,
                f"{count} of {deployment.replicas(each.size)} replicas find no node at "
                f"{each.size} replicas: each needs {each.kinds[deployment.name].needs}",
            )


def _stuck(file: ConfigFile, nodes: Sequence[Node]) -> Iterator[Problem]:
    """Find updates that would wait for room that never comes."""
    application = file.data["applications"][0]
    for deployment in _deployments(file):
        name = deployment.name
        if plan(application, nodes, "minimum", updating=name).homeless[name]:
            yield file.problem(
                (*deployment.path, "max_surge_percent"),
                "an update would wait for ever: no node has room for "
                f"{deployment.surge('minimum')} more beside the old ones; write 0, or add a node",
            )


def _deployments(file: ConfigFile) -> Iterator[Deployment]:
    at = ("applications", 0, "deployments")
    for i, options in enumerate(file.data["applications"][0]["deployments"]):
        yield Deployment((*at, i), options)
