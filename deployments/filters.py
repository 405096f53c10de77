"""Filters by the attributes of documents, as OpenAI's vector stores have them.

An attribute is a string, a number or a boolean. Values of different kinds are never equal: `1` is
not `"1"`, and `true` is not `1`; but `1` is `1.0`. `ne` and `nin` are the negations of `eq` and
`in`: they match documents whose attribute has another kind, and those without the attribute, as
Qdrant's `must_not` does. The other comparisons do not match these. Only numbers are greater or less
than each other.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypeGuard

AttributeValue: TypeAlias = str | int | float | bool
"""A number is one that a double can hold exactly."""
Attributes: TypeAlias = Mapping[str, AttributeValue]
Order: TypeAlias = Literal["gt", "gte", "lt", "lte"]

MAX_ATTRIBUTES = 16
MAX_KEY_CHARS = 64
MAX_VALUE_CHARS = 512

_COMPARED: dict[Order, Callable[[float, float], bool]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}


@dataclass(frozen=True, slots=True)
class OneOf:
    """Match documents whose attribute has one of these values; `negated`, all others."""

    key: str
    values: tuple[AttributeValue, ...]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Ordered:
    """Match documents whose attribute is a number in this order to `bound`."""

    key: str
    order: Order
    bound: float


@dataclass(frozen=True, slots=True)
class Compound:
    """Match documents that all filters match, or any of them."""

    operator: Literal["and", "or"]
    filters: tuple[Filter, ...]


Filter: TypeAlias = OneOf | Ordered | Compound


def matches(filters: Filter, attributes: Attributes) -> bool:
    """Return whether a filter matches a document with these attributes."""
    match filters:
        case Compound(combined, parts):
            results = (matches(part, attributes) for part in parts)
            return all(results) if combined == "and" else any(results)
        case Ordered(key, order, bound):
            value = attributes.get(key)
            return is_number(value) and _COMPARED[order](value, bound)
        case OneOf(key, values, negated):
            value = attributes.get(key)
            return any(_equal(value, each) for each in values) != negated


def is_number(value: object) -> TypeGuard[int | float]:
    """Return whether a value is a number; a boolean is none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def same_attributes(one: Attributes, other: Attributes) -> bool:
    """Return whether attributes are the same; for Python, True would equal 1."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _equal(one: AttributeValue | None, other: AttributeValue) -> bool:
    if is_number(one) and is_number(other):
        return one == other
    return type(one) is type(other) and one == other
