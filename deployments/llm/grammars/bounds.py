"""Bounds of the schemas and grammars of one request, checked without compiling anything.

The walk keeps a stack instead of recursing and stops at the first bound, so its own cost is
bounded by those bounds and not by the request.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deployments.errors import InvalidRequest
from deployments.llm.grammars.patterns import pattern_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

GRAMMAR_FIELDS = ("response_format", "tools", "tool_choice")
"""Fields of a request that may hold a schema, a regular expression or a grammar."""

MAX_BYTES = 128 * 1024
MAX_LEVELS = 50  # vLLM refuses 64
MAX_VALUES = 10_000
MAX_ENUM_ENTRIES = 1000  # as OpenAI
MAX_BRANCHES = 500
MAX_REFERENCES = 500
MAX_PATTERN_CHARS = 1000
MAX_REPETITIONS = 1000
MAX_PATTERN_STATES = 4000
MAX_GRAMMAR_CHARS = 8000

# What xgrammar compiles in well under a second, whatever the text is.
_CHEAP_BYTES = 8 * 1024
_CHEAP_LEVELS = 12
_CHEAP_VALUES = 400
_CHEAP_ENUM_ENTRIES = 200
_CHEAP_BRANCHES = 20
_CHEAP_KEYS = frozenset(
    {
        # `additionalProperties` only if false: 100 other names take a minute to compile.
        *("type", "properties", "required", "additionalProperties", "items", "enum", "const"),
        *("anyOf", "title", "description", "default", "$schema", "$id"),
        # of what encloses a schema
        *("function", "name", "parameters", "strict", "json_schema", "schema"),
    }
)

_MEASURED_KEYS = frozenset(
    {
        *("patternProperties", "pattern", "grammar", "$ref", "$dynamicRef", "$recursiveRef"),
        *("enum", "anyOf", "oneOf", "allOf", "prefixItems", "elements", "tags"),
    }
)


@dataclass
class ConstraintSize:
    """What the constraints of one request add up to; `cheap` if they need no judging."""

    bytes: int = 0
    levels: int = 0
    values: int = 0
    enum_entries: int = 0
    branches: int = 0
    references: int = 0
    pattern_states: int = 0
    known_keys_only: bool = True

    @property
    def cheap(self) -> bool:
        return (
            self.known_keys_only
            and self.bytes <= _CHEAP_BYTES
            and self.levels <= _CHEAP_LEVELS
            and self.values <= _CHEAP_VALUES
            and self.enum_entries <= _CHEAP_ENUM_ENTRIES
            and self.branches <= _CHEAP_BRANCHES
        )


def check_constraints(body: Mapping[str, Any]) -> ConstraintSize:
    """Measure every constraint of a request; raise InvalidRequest, naming the bound, if over one.

    The fields of GRAMMAR_FIELDS share one budget. vLLM may not compile the tools at all, so only
    their bytes, values and levels are bounded here; `check_compiled` bounds what it compiles.
    """
    size = ConstraintSize()
    for field in GRAMMAR_FIELDS:
        if isinstance(body.get(field), dict | list):
            _Walk(field, size, compiled=field == "response_format").measure(body[field])
    return size


async def check_constraints_in_thread(body: Mapping[str, Any]) -> ConstraintSize:
    """Do as `check_constraints`, which takes up to 80 ms for a large schema."""
    if any(isinstance(body.get(field), dict | list) for field in GRAMMAR_FIELDS):
        return await asyncio.to_thread(check_constraints, body)
    return ConstraintSize()


def check_compiled(constraint: Constraint) -> None:
    """Raise InvalidRequest, naming the bound, if what vLLM compiles is over one.

    Equal schemas count once: vLLM writes each tool into a structural tag several times.
    """
    seen: set[str] = set()

    def once(value: dict[str, Any]) -> dict[str, Any]:
        if value.get("type") == "json_schema":
            text = json.dumps(value)
            if text in seen:
                return {}
            seen.add(text)
        return value

    distinct = json.loads(constraint.spec, object_hook=once)
    _Walk(constraint.field, ConstraintSize(), compiled=True).measure(distinct)


class _Walk:
    """Adds the size of one field to that of the request."""

    def __init__(self, field: str, size: ConstraintSize, *, compiled: bool) -> None:
        """`compiled` also bounds what makes a schema slow to compile, such as patterns."""
        self._field = field
        self._size = size
        self._compiled = compiled

    def measure(self, constraint: object) -> None:
        size = self._size
        # Containers, their level, and whether their keys are names that the caller chose.
        waiting: list[tuple[dict[Any, Any] | list[Any], int, bool]] = []
        if isinstance(constraint, dict | list):
            waiting.append((constraint, 1, False))
        children: Iterable[tuple[Any, Any]]
        while waiting:
            container, level, named = waiting.pop()
            size.levels = max(size.levels, level)
            size.values += len(container)
            if isinstance(container, dict):
                self._measure_keys(container, named=named)
                children = container.items()
            else:
                children = ((None, child) for child in container)
            self._check_totals()
            for key, child in children:
                if isinstance(child, dict | list):
                    waiting.append((child, level + 1, key == "properties" and not named))
                elif isinstance(child, str):
                    size.bytes += len(child)
        self._check_totals()

    def _check_totals(self) -> None:
        size = self._size
        self._check("levels of nesting", size.levels, MAX_LEVELS)
        self._check("values", size.values, MAX_VALUES)
        self._check("bytes", size.bytes, MAX_BYTES)

    def _measure_keys(self, value: Mapping[Any, Any], *, named: bool) -> None:
        size = self._size
        size.bytes += sum(map(len, map(str, value))) + 4 * len(value)
        if not named:
            size.known_keys_only = (
                size.known_keys_only
                and _CHEAP_KEYS.issuperset(value)
                and value.get("additionalProperties", False) is False
            )
            for key in value.keys() & _MEASURED_KEYS:
                self._measure_key(key, value[key])

    def _measure_key(self, key: object, child: object) -> None:
        size = self._size
        match key, child:
            case "enum", list():
                size.enum_entries += len(child)
                self._check_cost("enum entries", size.enum_entries, MAX_ENUM_ENTRIES)
            case "anyOf" | "oneOf" | "allOf" | "prefixItems" | "elements" | "tags", list():
                size.branches += len(child)
                self._check_cost(
                    "branches of anyOf, oneOf, allOf and tags", size.branches, MAX_BRANCHES
                )
            case _ if not self._compiled:
                pass
            case "patternProperties", dict():
                for pattern in child:
                    self._measure_pattern(str(pattern))
            case "pattern", str():
                self._measure_pattern(child)
            case "grammar", str():
                self._check("characters of a grammar", len(child), MAX_GRAMMAR_CHARS)
                self._measure_counts(child)
            case "$ref" | "$dynamicRef" | "$recursiveRef", _:
                size.references += 1
                self._check("references", size.references, MAX_REFERENCES)

    def _measure_pattern(self, pattern: str) -> None:
        self._check("characters of a pattern", len(pattern), MAX_PATTERN_CHARS)
        self._measure_counts(pattern)

    def _measure_counts(self, text: str) -> None:
        repetitions, states = pattern_size(text)
        self._check("repetitions in a pattern", repetitions, MAX_REPETITIONS)
        self._size.pattern_states += states
        self._check(
            "characters of all patterns with their repetitions written out",
            self._size.pattern_states,
            MAX_PATTERN_STATES,
        )

    def _check_cost(self, what: str, value: int, bound: int) -> None:
        if self._compiled:
            self._check(what, value, bound)

    def _check(self, what: str, value: int, bound: int) -> None:
        if value > bound:
            msg = f"{self._field}: {value} {what} are over the bound of {bound}; send a smaller one"
            raise InvalidRequest(msg, code="schema_too_complex", param=self._field)


@dataclass(frozen=True, slots=True)
class Constraint:
    """One text to compile: a JSON schema, or a structural tag of vLLM's.

    A schema of kind "guidance" is only validated, by llguidance.
    """

    field: str
    kind: str  # "json", "structural_tag" or "guidance"
    spec: str


def constraints_of(body: Mapping[str, Any]) -> Iterator[Constraint]:
    """Yield the constraint in `response_format`; vLLM refuses what has another form."""
    given = body.get("response_format")
    if isinstance(given, dict):
        if given.get("type") == "structural_tag":
            yield Constraint("response_format", "structural_tag", json.dumps(given))
        elif isinstance(wrapper := given.get("json_schema"), dict) and "schema" in wrapper:
            yield Constraint("response_format", "json", json.dumps(wrapper["schema"]))
