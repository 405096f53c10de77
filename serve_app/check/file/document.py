"""A YAML document whose values know the lines they stand on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

Place = tuple[str | int, ...]
"""The keys and list positions that lead to a value."""


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """A problem in a file: `line` counts from 1, `path` is dotted and may be empty."""

    name: str
    line: int
    path: str
    message: str

    def __str__(self) -> str:
        where = f"{self.path}: " if self.path else ""
        return f"{self.name}:{self.line}: {where}{self.message}"


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """One YAML document: its values, as `yaml.safe_load` returns them, and its YAML nodes.

    `above` is the number of lines before it, in a file of which it is a part.
    """

    name: str
    data: Any
    node: yaml.Node
    above: int = 0

    def problem(self, path: Place, message: str) -> Problem:
        """Make a problem at `path`, or at its innermost part that is in the file."""
        line = self.above + self._find(path)[1] + 1
        return Problem(self.name, line, self.dotted(path), message)

    def known(self, path: Place) -> Place:
        """Cut `path` to the part that is in the file."""
        value = self.data
        for depth, part in enumerate(path):
            try:
                value = value[part]
            except (KeyError, IndexError, TypeError):
                return path[:depth]
        return path

    def node_at(self, path: Place) -> yaml.Node:
        """Return the YAML node at `path`, or at its innermost part that is in the file."""
        return self._find(path)[0]

    def _find(self, path: Place) -> tuple[yaml.Node, int]:
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
        return node, line

    def dotted(self, path: Place) -> str:
        """Write a path with dots; list items that have a `name` go by it."""
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


def read(text: str, name: str, above: int = 0) -> tuple[list[ConfigFile], list[Problem]]:
    """Read YAML documents as Serve does, and list keys that are given twice.

    Returns no documents if the text is not YAML. `above` is the number of lines before the text.
    """
    loader = yaml.CSafeLoader(text)
    files: list[ConfigFile] = []
    found: list[Problem] = []
    try:
        while loader.check_node():
            node = loader.get_node()
            if node is None:  # for mypy: `check_node` has excluded it
                break
            # Before loading, which merges `<<` into the nodes and makes equal keys legal.
            equal = list(_equal_keys(node))
            file = ConfigFile(name, loader.construct_document(node), node, above)
            if file.data is None:
                continue
            files.append(file)
            for path, line, first in equal:
                message = f"this key is already on line {above + first}"
                found.append(Problem(name, above + line, file.dotted(path), message))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = " ".join(filter(None, (error.context, error.problem)))
        line = above + (mark.line if mark else 0) + 1
        return [], [Problem(name, line, "", f"not YAML: {what}")]
    except (yaml.YAMLError, ValueError) as error:
        return [], [Problem(name, above + 1, "", f"not YAML: {' '.join(str(error).split())}")]
    finally:
        loader.dispose()
    if not files:
        return [], [Problem(name, above + 1, "", "the file is empty")]
    return files, found


def infinite_numbers(value: object, at: Place = ()) -> Iterator[Place]:
    """Find `.inf` and `.nan`: most schemas accept them, and they bound nothing."""
    if isinstance(value, float) and not math.isfinite(value):
        yield at
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from infinite_numbers(inner, (*at, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from infinite_numbers(inner, (*at, index))


def _equal_keys(root: yaml.Node) -> Iterator[tuple[Place, int, int]]:
    """Find keys that are given twice: path, line, and line of the first; lines count from 1."""
    seen: set[int] = set()
    pending: list[tuple[yaml.Node, Place]] = [(root, ())]
    while pending:
        node, path = pending.pop()
        if id(node) in seen:  # an alias
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            pending.extend((value, (*path, i)) for i, value in enumerate(node.value))
        elif isinstance(node, yaml.MappingNode):
            first: dict[str, int] = {}
            for key, value in node.value:
                if not isinstance(key, yaml.ScalarNode):  # loading will refuse it
                    continue
                line = key.start_mark.line + 1
                if key.value in first:
                    yield (*path, key.value), line, first[key.value]
                first.setdefault(key.value, line)
                pending.append((value, (*path, key.value)))
