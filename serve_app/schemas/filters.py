"""The JSON of attributes of documents and of filters by them: OpenAI's."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    Json,
    PlainValidator,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    Tag,
)
from pydantic_core import PydanticCustomError

from deployments.filters import (
    MAX_ATTRIBUTES,
    MAX_KEY_CHARS,
    MAX_VALUE_CHARS,
    AttributeValue,
    Compound,
    Filter,
    OneOf,
    Ordered,
    is_number,
)
from serve_app.schemas.fields import Request

MAX_DEPTH = 5
"""Of `and` and `or` in each other."""
MAX_CONDITIONS = 64
"""Of a filter together; `and` and `or` count, too."""
MAX_VALUES = 100
"""Of `in` and `nin`."""

ATTRIBUTES_EXAMPLE: dict[str, str | int | bool] = {"author": "Smith", "year": 2026, "draft": False}
FILTER_EXAMPLE = {
    "type": "and",
    "filters": [
        {"type": "gte", "key": "year", "value": 2024},
        {"type": "in", "key": "author", "value": ["Smith", "Jones"]},
    ],
}


def _check_number(value: object) -> int | float:
    """Refuse what is not a number, or would be stored as another one."""
    if not is_number(value):
        raise PydanticCustomError("number_type", "not a number")  # noqa: EM101 - a type
    try:
        exact = math.isfinite(value) and float(value) == value
    except OverflowError:
        exact = False
    if not exact:
        raise PydanticCustomError(
            "inexact_number",  # noqa: EM101 - a type, not a message
            "a double cannot hold this number exactly: send it as a string",
        )
    return value


def _check_value(value: object) -> AttributeValue:
    """Refuse what is not a value of an attribute."""
    if isinstance(value, bool):
        return value
    if is_number(value):
        return _check_number(value)
    if not isinstance(value, str):
        raise PydanticCustomError(
            "value_type",  # noqa: EM101 - a type, not a message
            "neither a string nor a number nor a boolean",
        )
    if len(value) > MAX_VALUE_CHARS:
        raise PydanticCustomError(
            "string_too_long",  # noqa: EM101 - a type, not a message
            "a string has at most {bound} characters",
            {"bound": MAX_VALUE_CHARS},
        )
    return value


Number = Annotated[float, PlainValidator(_check_number, json_schema_input_type=float)]
Value = Annotated[
    AttributeValue,
    PlainValidator(
        _check_value,
        json_schema_input_type=bool | float | Annotated[str, Field(max_length=MAX_VALUE_CHARS)],
    ),
]
Key = Annotated[str, Field(min_length=1, max_length=MAX_KEY_CHARS)]
Attributes = Annotated[
    dict[Key, Value],
    Field(
        max_length=MAX_ATTRIBUTES,
        description="Of the document, to filter searches by: strings, numbers and booleans.",
        examples=[ATTRIBUTES_EXAMPLE],
    ),
]
ShownAttributes = dict[str, StrictBool | StrictInt | StrictFloat | StrictStr]
"""Of a response."""
FormAttributes = Annotated[
    Json[Attributes], Field(description="The attributes of the document, as a JSON object.")
]


class EqualityFilter(Request):
    """OpenAI's comparison: `ne` matches documents without the attribute, too."""

    type: Literal["eq", "ne"]
    key: Key
    value: Value

    def parsed(self) -> Filter:
        """Return the filter."""
        return OneOf(self.key, (self.value,), negated=self.type == "ne")


class OrderFilter(Request):
    """OpenAI's comparison of numbers."""

    type: Literal["gt", "gte", "lt", "lte"]
    key: Key
    value: Number

    def parsed(self) -> Filter:
        """Return the filter."""
        return Ordered(self.key, self.type, self.value)


class MembershipFilter(Request):
    """OpenAI's comparison with a list: `nin` matches documents without the attribute, too."""

    type: Literal["in", "nin"]
    key: Key
    value: Annotated[list[Value], Field(min_length=1, max_length=MAX_VALUES)]

    def parsed(self) -> Filter:
        """Return the filter."""
        return OneOf(self.key, tuple(self.value), negated=self.type == "nin")


class CompoundFilter(Request):
    """OpenAI's combination of filters."""

    type: Literal["and", "or"]
    filters: Annotated[list[AnyFilter], Field(min_length=1, max_length=MAX_CONDITIONS)]

    def parsed(self) -> Filter:
        """Return the filter."""
        return Compound(self.type, tuple(each.parsed() for each in self.filters))


_TAGS = {
    **dict.fromkeys(("eq", "ne"), "equality"),
    **dict.fromkeys(("and", "or"), "compound"),
    **dict.fromkeys(("gt", "gte", "lt", "lte"), "order"),
    **dict.fromkeys(("in", "nin"), "membership"),
}


def _tag(value: object) -> str | None:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return _TAGS.get(kind) if isinstance(kind, str) else None


AnyFilter = Annotated[
    Annotated[EqualityFilter, Tag("equality")]
    | Annotated[OrderFilter, Tag("order")]
    | Annotated[MembershipFilter, Tag("membership")]
    | Annotated[CompoundFilter, Tag("compound")],
    Discriminator(
        _tag,
        custom_error_type="unknown_filter",
        custom_error_message=f"a filter is an object with the `type` {', '.join(_TAGS)}",
    ),
]


def _check_size(value: object) -> object:
    """Refuse a filter that is nested deeper, or has more conditions, than the bounds."""
    level, depth, conditions = [value], 0, 0
    while level:
        conditions += len(level)
        if conditions > MAX_CONDITIONS:
            raise PydanticCustomError(
                "too_many_conditions",  # noqa: EM101 - a type, not a message
                "a filter has at most {bound} conditions",
                {"bound": MAX_CONDITIONS},
            )
        inner = [each.get("filters") for each in level if isinstance(each, dict)]
        level = [part for parts in inner if isinstance(parts, list) for part in parts]
        depth += bool(level)
        if depth > MAX_DEPTH:
            raise PydanticCustomError(
                "too_deep",  # noqa: EM101 - a type, not a message
                "a filter is nested at most {bound} deep",
                {"bound": MAX_DEPTH},
            )
    return value


Filters = Annotated[
    AnyFilter,
    BeforeValidator(_check_size),
    Field(
        description="Only documents whose attributes match. `ne` and `nin` match documents without "
        "the attribute, too; values of different kinds are never equal; `gt`, `gte`, `lt` and "
        f"`lte` compare numbers. At most {MAX_CONDITIONS} conditions, nested {MAX_DEPTH} deep.",
        examples=[FILTER_EXAMPLE],
    ),
]
"""Of a request; `parsed` returns what the retriever takes."""
