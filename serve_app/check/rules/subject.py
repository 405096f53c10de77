"""The subject of the rules: a configuration whose sections are valid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from serve_app.check.file.deployment import Deployment
    from serve_app.check.file.document import ConfigFile, Problem
    from serve_app.check.placement.nodes import Node
    from serve_app.settings import AppSettings


@dataclass(frozen=True, slots=True)
class Subject:
    """A configuration: its settings, its deployments by name, and all nodes there may be."""

    file: ConfigFile
    settings: AppSettings
    deployments: Mapping[str, Deployment]
    nodes: Sequence[Node]

    def setting(self, path: str, message: str) -> Problem:
        """Make a problem of a setting, whose path is dotted."""
        return self.file.problem(("applications", 0, "args", *path.split(".")), message)

    def option(self, deployment: Deployment, path: str, message: str) -> Problem:
        """Make a problem of an option of a deployment, whose path is dotted."""
        return self.file.problem((*deployment.path, *path.split(".")), message)
