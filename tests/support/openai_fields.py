"""Values for every field of the request types of the `openai` package."""

from __future__ import annotations

import collections.abc
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin

import typing_extensions
from pydantic import BaseModel

_DEPTH = 4  # of types in each other
_PRIMITIVES: dict[Any, list[Any]] = {
    str: ["auto"],
    int: [1],
    float: [0.5],
    bool: [True, False],
    object: ["x"],
    type(None): [None],
    Any: ["x"],
}
_FIRST_ONLY = {typing.Required, typing.NotRequired, typing.Annotated}
_WRAPPERS = {Union, types.UnionType, *_FIRST_ONLY}


@dataclass(frozen=True)
class Single:
    """A field with one of its values."""

    field: str
    value: Any


def single_fields(request: type[Any]) -> Iterator[Single]:
    """Yield each field of a request type with a value of each kind; optional ones with null."""
    for name, annotation in _hints(request).items():
        values = [*_values(annotation, _DEPTH)]
        for value in [*values, *([] if None in values or _is_required(annotation) else [None])]:
            yield Single(name, value)


def _hints(request: type[Any]) -> dict[str, Any]:
    return typing_extensions.get_type_hints(request, include_extras=True)


def _is_required(annotation: Any) -> bool:
    return get_origin(annotation) in {typing.Required, typing_extensions.Required}


def _values(annotation: Any, depth: int) -> Iterator[Any]:
    """Yield a value of each kind that a type allows."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation in _PRIMITIVES:
        yield from _PRIMITIVES[annotation]
    elif origin is Literal:
        yield from arguments
    elif origin in _WRAPPERS:
        for argument in arguments[: 1 if origin in _FIRST_ONLY else None]:
            yield from _values(argument, depth)
    elif origin in {dict, collections.abc.Mapping}:
        yield {"a": next(_values(arguments[1], depth))}
    elif origin is not None:  # a sequence
        yield []
        if depth:
            yield from ([value] for value in _values(arguments[0], depth - 1))
    elif typing_extensions.is_typeddict(annotation) and depth:
        hints = _hints(annotation)
        required = {name for name, hint in hints.items() if _is_required(hint)}
        yield from _objects(hints, required, depth - 1)
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel) and depth:
        yield from model_objects(annotation, depth - 1)


def model_objects(model: type[BaseModel], depth: int = _DEPTH) -> Iterator[dict[str, Any]]:
    """Yield the JSON of an answer's type: with its required fields, then with each further one."""
    fields = {field.alias or name: field for name, field in model.model_fields.items()}
    hints = {name: field.annotation for name, field in fields.items()}
    required = {name for name, field in fields.items() if field.is_required()}
    yield from _objects(hints, required, depth)


def _objects(hints: dict[str, Any], required: set[str], depth: int) -> Iterator[dict[str, Any]]:
    """Yield an object with its required fields only, then with each further field."""
    least = {name: next(_values(hints[name], depth), "x") for name in hints if name in required}
    yield least
    for name in hints.keys() - least.keys():
        for value in _values(hints[name], depth):
            yield least | {name: value}
