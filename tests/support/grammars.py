"""Schemas of all kinds, and a stand-in for the process that compiles them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from deployments.llm.grammars.bounds import Constraint

ATTACK: dict[str, Any] = {
    "type": "object",
    "properties": {
        f"p{number}": {"type": "string", "pattern": "[a-z]{1,30000}a"} for number in range(4)
    },
}
"""Took the model away from everybody for 227 s, in 474 bytes of request."""


class FakeProcess:
    """Judges by `verdict` and counts how often it was asked."""

    def __init__(self, verdict: str | None = None) -> None:
        self.verdict = verdict
        self.judged: list[Sequence[Constraint]] = []

    async def judge(self, constraints: Sequence[Constraint]) -> dict[str, Any]:
        self.judged.append(constraints)
        return {"verdict": self.verdict, "field": constraints[0].field}

    async def close(self) -> None: ...


class Case(NamedTuple):
    """`honest` schemas must be served; all others may be refused with 400, or served."""

    name: str
    schema: Any
    honest: bool


def response_format(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


def tool(schema: Any, name: str = "look_up") -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": schema, "strict": True}}


def closed(**properties: Any) -> dict[str, Any]:
    """An object as OpenAI's strict mode wants it."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


TEXT: dict[str, Any] = {"type": "string"}

# Of OpenAI's documentation of structured outputs.
MATH_TUTOR = closed(
    steps={"type": "array", "items": closed(explanation=TEXT, output=TEXT)}, final_answer=TEXT
)
RESEARCH_PAPER = closed(
    title=TEXT,
    authors={"type": "array", "items": TEXT},
    abstract=TEXT,
    keywords={"type": "array", "items": TEXT},
)
USER_INTERFACE = closed(
    type={
        "type": "string",
        "description": "The type of the UI component",
        "enum": ["div", "button", "header", "section", "field", "form"],
    },
    label={"type": "string", "description": "The label of the UI component"},
    children={"type": "array", "items": {"$ref": "#"}},
    attributes={"type": "array", "items": closed(name=TEXT, value=TEXT)},
)
MODERATION = closed(
    is_violating={"type": "boolean"},
    category={"type": ["string", "null"], "enum": ["violence", "sexual", "self_harm", None]},
    explanation_if_violating={"type": ["string", "null"]},
)
LINKED_LIST = closed(linked_list={"$ref": "#/$defs/linked_list_node"}) | {
    "$defs": {
        "linked_list_node": closed(
            value={"type": "number"},
            next={"anyOf": [{"$ref": "#/$defs/linked_list_node"}, {"type": "null"}]},
        )
    }
}
STEPS_BY_DEFINITION = closed(
    steps={"type": "array", "items": {"$ref": "#/$defs/step"}}, final_answer=TEXT
) | {"$defs": {"step": closed(explanation=TEXT, output=TEXT)}}
EITHER = closed(
    item={
        "anyOf": [
            closed(name=TEXT, age={"type": "number"}),
            closed(number=TEXT, street=TEXT, city=TEXT),
        ]
    }
)
USERNAME = closed(
    username={"type": "string", "pattern": "^@[a-zA-Z0-9_]+$"},
    email={"type": "string", "format": "email"},
)
THERMOSTAT = closed(temperature={"type": "number", "minimum": -130, "maximum": 130})
DOCUMENTED = {
    "math tutor": MATH_TUTOR,
    "research paper": RESEARCH_PAPER,
    "user interface": USER_INTERFACE,
    "moderation": MODERATION,
    "linked list": LINKED_LIST,
    "steps by definition": STEPS_BY_DEFINITION,
    "either": EITHER,
    "user name": USERNAME,
    "thermostat": THERMOSTAT,
    "100 properties": closed(**{f"property_{number}": TEXT for number in range(100)}),
    "500 enum values": closed(code={"type": "string", "enum": [f"code-{n}" for n in range(500)]}),
    "a date": closed(day={"type": "string", "format": "date"}),
    "a list of five": closed(names={"type": "array", "items": TEXT, "maxItems": 5}),
}


def cases(count: int = 300, seed: int = 13) -> list[Case]:
    """Return schemas, always the same: documented, random honest, huge, recursive, hostile."""
    chosen = random.Random(seed)  # noqa: S311 - no secret
    found = [Case(name, schema, honest=True) for name, schema in DOCUMENTED.items()]
    found.append(Case("attack", ATTACK, honest=False))
    makers = list(_MAKERS)
    while len(found) < count:
        maker = makers[len(found) % len(makers)]
        name = f"{maker.__name__.strip('_')} {len(found)}"
        found.append(Case(name, maker(chosen), honest=maker is _ordinary))
    return found


def _ordinary(chosen: random.Random, levels: int = 3) -> dict[str, Any]:
    """A schema as people write it."""
    kinds = ["string", "integer", "number", "boolean", "enum", "array", "object"]
    match chosen.choice(kinds if levels else kinds[:5]):
        case "enum":
            return {"type": "string", "enum": [f"v{n}" for n in range(chosen.randint(1, 20))]}
        case "array":
            return {"type": "array", "items": _ordinary(chosen, levels - 1)}
        case "object":
            names = [f"field_{number}" for number in range(chosen.randint(1, 6))]
            return closed(**{name: _ordinary(chosen, levels - 1) for name in names})
        case kind:
            return {"type": kind, "description": "as people write it"}


def _pattern(chosen: random.Random) -> Any:
    count = chosen.choice([2, 10, 50, 200, 900, 5000, 30000])
    atom = chosen.choice(["[a-z]", ".", "(a|b)", r"\w", "[^x]", r"(\d{1,3}\.)", "(a*)*", "é"])
    pattern = chosen.choice(
        ["{a}{{1,{n}}}", "^{a}{{{n}}}$", "({a}{{0,{n}}}b){{1,{n}}}", "{a}+|{a}*"]
    )
    return {"type": "string", "pattern": pattern.format(a=atom, n=count)}


def _lengths(chosen: random.Random) -> Any:
    bounds = [chosen.choice([5, 40, 300, 1000, 100_000]) for _ in range(chosen.randint(1, 4))]
    return closed(**{f"f{n}": {"type": "string", "maxLength": b} for n, b in enumerate(bounds)})


def _deep(chosen: random.Random) -> Any:
    schema: Any = {"type": "string"}
    for _ in range(chosen.choice([10, 30, 48, 70, 95])):
        schema = chosen.choice([{"type": "array", "items": schema}, {"properties": {"a": schema}}])
    return schema


def _wide(chosen: random.Random) -> Any:
    names = [f"p{number}" for number in range(chosen.choice([150, 600, 2000, 6000]))]
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {name: {"type": "null"} for name in names},
    }
    return schema | chosen.choice([{}, {"required": names}, {"additionalProperties": False}])


def _enumerated(chosen: random.Random) -> Any:
    length = chosen.choice([3, 100, 3000])
    return {"enum": ["x" * length + str(n) for n in range(chosen.choice([400, 999, 5000]))]}


def _branches(chosen: random.Random) -> Any:
    keyword = chosen.choice(["anyOf", "oneOf", "allOf"])
    count = chosen.choice([3, 40, 400, 2000])
    return {keyword: [{"type": "object", "properties": {f"k{n}": TEXT}} for n in range(count)]}


def _recursive(chosen: random.Random) -> Any:
    return chosen.choice(
        [
            {"$ref": "#"},
            {"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
            {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]},
            {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
            {"type": "array", "items": {"$ref": "#"}},
            {"$ref": "#/$defs/missing"},
            {"$ref": "https://example.com/schema.json"},
            {"allOf": [{"$ref": "#"}, {"type": "object"}]},
        ]
    )


def _doubling(chosen: random.Random) -> Any:
    levels = chosen.choice([4, 12, 25])
    keyword = chosen.choice(["prefixItems", "anyOf", "allOf"])
    definitions: dict[str, Any] = {
        f"d{n}": {keyword: [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(levels)
    }
    return {"$defs": definitions | {f"d{levels}": TEXT}, "$ref": "#/$defs/d0"}


def _malformed(chosen: random.Random) -> Any:
    return chosen.choice(
        [
            {"type": "nothing"},
            {"type": "string", "pattern": "(["},
            {"type": "string", "pattern": "a^b"},
            {"enum": []},
            {"properties": []},
            {"type": "integer", "minimum": 5, "maximum": 1},
            {"type": "integer", "minimum": 10**30},
            {"required": 3, "type": "object"},
            {"type": "array", "items": {"type": "string"}, "uniqueItems": True, "maxItems": -1},
            {"type": "number", "multipleOf": 0},
            {"patternProperties": {"(": TEXT}, "type": "object"},
            {"type": "object", "propertyNames": {"pattern": "a{1,900}"}, "properties": {"a": TEXT}},
            {"const": {"a": [1, {"b": None}]}},
            {"not": {}},
            {"if": {"type": "string"}, "then": {"minLength": 3}},
            {"type": "string", "format": "no-such-format"},
            {"type": "string", "minLength": 10, "pattern": "^[a-z]+$"},
        ]
    )


def _items(chosen: random.Random) -> Any:
    schema: Any = {"type": "string"}
    for _ in range(chosen.randint(1, 6)):
        bound = chosen.choice([3, 100, 10_000])
        schema = {"type": "array", "items": schema, "minItems": bound, "maxItems": bound}
    return schema


_MAKERS: Sequence[Callable[[random.Random], Any]] = (
    _ordinary,
    _pattern,
    _lengths,
    _deep,
    _wide,
    _enumerated,
    _branches,
    _recursive,
    _doubling,
    _malformed,
    _items,
)


def structural_tags() -> Iterator[Case]:
    """Yield structural tags, vLLM's own kind of response format."""
    call = {"type": "tag", "begin": "<call>", "end": "</call>"}
    for name, content, honest in (
        ("schema", {"type": "json_schema", "json_schema": MATH_TUTOR}, True),
        ("attack", {"type": "json_schema", "json_schema": ATTACK}, False),
        ("regex", {"type": "regex", "pattern": "[a-z]{1,30000}a"}, False),
        ("grammar", {"type": "grammar", "grammar": 'root ::= "a"{1,30000} root'}, False),
        ("unknown", {"type": "nothing"}, False),
    ):
        yield Case(name, {"type": "structural_tag", "format": call | {"content": content}}, honest)
