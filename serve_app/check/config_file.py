"""A configuration file as data that remembers on which line each value stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

Place = tuple[str | int, ...]
"""The keys and list positions that lead to a value."""


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """Something wrong in a file: `line` counts from 1, `path` is dotted and may be empty."""

    name: str
    line: int
    path: str
    message: str

    def __str__(self) -> str:
        where = f"{self.path}: " if self.path else ""
        return f"{self.name}:{self.line}: {where}{self.message}"


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """The values of one YAML file, as `yaml.safe_load` gives them to Serve, and its nodes."""

    name: str
    data: Any
    node: yaml.Node

    def problem(self, path: Place, message: str) -> Problem:
        """Place `message` at `path`, or as near to it as the file goes."""
        return Problem(self.name, self._line(path), self.dotted(path), message)

    def known(self, path: Place) -> Place:
        """Cut `path` to the part that is in the file."""
        value = self.data
        for depth, part in enumerate(path):
            try:
                value = value[part]
            except (KeyError, IndexError, TypeError):
                return path[:depth]
        return path

    def _line(self, path: Place) -> int:
        node, line = self.node, self.node.start_mark.line
        for part in path:
            if isinstance(node, yaml.MappingNode):
                # The last of equal keys wins, as it does in loading.
                pairs = [(k, v) for k, v in node.value if k.value == str(part)]
                if not pairs:
                    break
                key, node = pairs[-1]
                line = key.start_mark.line
            elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
                if part >= len(node.value):
                    break
                node = node.value[part]
                line = node.start_mark.line
            else:
                break
        return line + 1

    def dotted(self, path: Place) -> str:
        """Write a path, with things that have a name by their name instead of their position."""
        value, parts = self.data, []
        for part in path:
            try:
                value = value[part]
            except (KeyError, IndexError, TypeError):
                value = None
            named = isinstance(part, int) and isinstance(value, dict)
            name = value.get("name") if named else None
            parts.append(name if isinstance(name, str) else str(part))
        return ".".join(parts)


def read(text: str, name: str) -> tuple[ConfigFile | None, list[Problem]]:
    """Read YAML as Serve does, and list what that reading hides: a later equal key wins."""
    loader = yaml.CSafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None, [Problem(name, 1, "", "the file is empty")]
        # Looked for first: loading merges `<<` into the nodes, which makes equal keys rightful.
        equal = list(_equal_keys(node))
        file = ConfigFile(name, loader.construct_document(node), node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = " ".join(filter(None, (error.context, error.problem)))
        return None, [Problem(name, mark.line + 1 if mark else 1, "", f"not YAML: {what}")]
    except (yaml.YAMLError, ValueError) as error:
        return None, [Problem(name, 1, "", f"not YAML: {' '.join(str(error).split())}")]
    finally:
        loader.dispose()
    return file, [
        Problem(name, line, file.dotted(path), f"this key is already on line {first}")
        for path, line, first in equal
    ]


def _equal_keys(root: yaml.Node) -> Iterator[tuple[Place, int, int]]:
    seen: set[int] = set()
    pending: list[tuple[yaml.Node, Place]] = [(root, ())]
    while pending:
        node, path = pending.pop()
        if id(node) in seen:  # an alias: the same node again
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            first: dict[str, int] = {}
            for key, value in node.value:
                if not isinstance(key, yaml.ScalarNode):  # loading will refuse it
                    continue
                line = key.start_mark.line + 1
                if key.value in first:
                    yield (*path, key.value), line, first[key.value]
                first.setdefault(key.value, line)
                pending.append((value, (*path, key.value)))
        elif isinstance(node, yaml.SequenceNode):
            pending.extend((value, (*path, i)) for i, value in enumerate(node.value))
