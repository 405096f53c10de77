"""Refuse a wrong configuration file before anything starts: `python -m serve_app.check FILE`."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from serve_app.check.config_file import Problem, read
from serve_app.check.nodes import read_comment
from serve_app.check.plan import Size, plan
from serve_app.check.rules import rule_problems
from serve_app.check.serve import serve_problems

if TYPE_CHECKING:
    from collections.abc import Sequence

    from serve_app.check.config_file import ConfigFile
    from serve_app.check.nodes import Node
    from serve_app.check.plan import Plan

__all__ = ["Problem", "checked", "problems"]


def problems(text: str, name: str) -> list[Problem]:
    """List everything wrong with a configuration, in the order of its lines."""
    return checked(text, name)[0]


def checked(text: str, name: str, nodes: Sequence[Node] = ()) -> tuple[list[Problem], list[Plan]]:
    """List everything wrong with a configuration, and where its replicas would be.

    Without `nodes` they are those that the comment at its head says it is made for, if any.
    """
    try:
        file, found = read(text, name)
        if file is not None:
            found += [*serve_problems(file), *rule_problems(file)]
    except RecursionError:  # an alias inside of what it stands for
        return [Problem(name, 1, "", "nested without end")], []
    if file is None or found:
        return sorted(set(found)), []
    nodes = nodes or read_comment(text)
    application = file.data["applications"][0]
    plans = [plan(application, nodes, size) for size in get_args(Size)] if nodes else []
    return [problem for each in plans for problem in _homeless(file, each)], plans


def _homeless(file: ConfigFile, each: Plan) -> list[Problem]:
    listed = file.data["applications"][0]["deployments"]
    places = {options["name"]: i for i, options in enumerate(listed)}
    return [
        file.problem(
            ("applications", 0, "deployments", places[name]),
            f"{count} replicas find no node at {each.size} replicas",
        )
        for name, count in each.homeless.items()
    ]
