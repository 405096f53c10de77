"""The check of one configuration: its problems, and the placement of its replicas."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, get_args

from serve_app.check.file.deployment import Deployment, Size, section
from serve_app.check.file.document import Problem, infinite_numbers, read
from serve_app.check.file.rayservice import is_rayservice, serve_config
from serve_app.check.placement.groups import read_cluster
from serve_app.check.placement.machine import is_this_machine, this_machine
from serve_app.check.placement.nodes import Cluster, read_nodes
from serve_app.check.placement.plan import plan
from serve_app.check.rules.application import application_problems
from serve_app.check.rules.rayservice import rayservice_problems
from serve_app.check.rules.serve import serve_problems

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from serve_app.check.file.document import ConfigFile
    from serve_app.check.placement.nodes import Node
    from serve_app.check.placement.plan import Plan


@dataclass(frozen=True, slots=True)
class Report:
    """The problems of a configuration in the order of its lines, and its placement plans."""

    problems: list[Problem] = field(default_factory=list)
    plans: list[Plan] = field(default_factory=list)

    @property
    def is_local(self) -> bool:
        """Whether the replicas are placed on this machine."""
        return any(is_this_machine(plan.nodes) for plan in self.plans)


def check(text: str, name: str, nodes: Sequence[Node] = (), host: str | None = None) -> Report:
    """Check a Serve configuration, or a Kubernetes manifest that holds one RayService.

    The replicas are placed on `nodes`, else on the groups of the RayService, else on the nodes
    that the file names, else on this machine. `host` replaces the host of a Serve configuration.
    """
    try:
        files, found = read(text, name)
        if not files:
            return Report(found)
        service = next(filter(is_rayservice, files), None)
        if service is not None:
            return _check_service(service, found, nodes)
        if len(files) > 1:
            message = "more than one document, and none of them is a RayService"
            line = files[1].node.start_mark.line + 1
            return Report([*found, Problem(name, line, "", message)])
        named, unread = read_nodes(files[0])
        if unread and not nodes:
            return Report(sorted({*found, *unread, *serve_problems(files[0])}))
        nodes = nodes or named or [this_machine()]
        if host is not None and isinstance(files[0].data, dict):
            files[0].data["http_options"] = {**section(files[0].data, "http_options"), "host": host}
        found += [*unread, *_problems(files[0], nodes)]
        return _placed(files[0], found, Cluster(nodes, nodes))
    except RecursionError:  # an alias inside the value that it stands for
        return Report([Problem(name, 1, "", "nested without end")])


def _check_service(service: ConfigFile, found: list[Problem], nodes: Sequence[Node]) -> Report:
    cluster = Cluster(nodes, nodes) if nodes else read_cluster(service)
    file, unread = serve_config(service)
    found += [*unread, *rayservice_problems(service, file)]
    found += _infinite(service, found)
    if file is None:
        return Report(sorted(set(found)))
    found += _problems(file, cluster.maximum, same_environment=False)
    return _placed(file, found, cluster)


def _problems(
    file: ConfigFile, nodes: Sequence[Node], *, same_environment: bool = True
) -> list[Problem]:
    found = list(serve_problems(file))
    found += application_problems(file, nodes, same_environment=same_environment)
    return [*found, *_infinite(file, found)]


def _infinite(file: ConfigFile, found: Sequence[Problem]) -> list[Problem]:
    """List infinite numbers, except in settings, which already refuse them."""
    refused = {problem.path for problem in found if "finite" in problem.message}
    places = [path for path in infinite_numbers(file.data) if file.dotted(path) not in refused]
    return [file.problem(path, "must be a finite number") for path in places]


def _placed(file: ConfigFile, found: list[Problem], cluster: Cluster) -> Report:
    if found:
        return Report(sorted(set(found)))
    application = file.data["applications"][0]
    plans = [plan(application, cluster.of(size), size) for size in get_args(Size)]
    problems = (
        list(_unplaced(file, plans[0]))
        or list(_unplaced(file, plans[1]))
        or list(_stuck_updates(file, cluster.maximum))
    )
    return Report(problems, plans)


def _unplaced(file: ConfigFile, plan: Plan) -> Iterator[Problem]:
    where = ""
    if is_this_machine(plan.nodes):
        (node,) = plan.nodes
        where = (
            f"; this machine has {node.cpus:g} CPUs and {node.gpus} GPUs: lower the demand, or "
            "name the nodes of a cluster under `x-nodes` or with --nodes"
        )
    for deployment in _deployments(file):
        if count := plan.unplaced[deployment.name]:
            yield file.problem(
                deployment.path,
                f"{count} of {deployment.replicas(plan.size)} replicas fit on no node at "
                f"{plan.size} replicas: each needs {plan.kinds[deployment.name].needs}{where}",
            )


def _stuck_updates(file: ConfigFile, nodes: Sequence[Node]) -> Iterator[Problem]:
    """Find rolling updates that would wait for ever for room for the new replicas."""
    application = file.data["applications"][0]
    for deployment in _deployments(file):
        name = deployment.name
        if plan(application, nodes, "minimum", updating=name).unplaced[name]:
            yield file.problem(
                (*deployment.path, "max_surge_percent"),
                "an update would wait for ever: no node has room for "
                f"{deployment.surge('minimum')} more beside the old ones; write 0, or add a node",
            )


def _deployments(file: ConfigFile) -> Iterator[Deployment]:
    at = ("applications", 0, "deployments")
    for i, options in enumerate(file.data["applications"][0]["deployments"]):
        yield Deployment((*at, i), options)
