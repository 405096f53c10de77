"""Comparison of values with pydantic models: unknown keys, and validation errors by line."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, ValidationError

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator

    from serve_app.check.file.document import ConfigFile, Place, Problem

# Names that Serve used before 2.10, still found in many examples.
_RENAMED = {
    "max_concurrent_queries": "max_ongoing_requests",
    "target_num_ongoing_requests_per_replica": "target_ongoing_requests",
}
_MOST_LISTED = 12  # names in a hint


def unknown_keys(
    model: type[BaseModel], value: object, at: Place = ()
) -> Iterator[tuple[Place, str]]:
    """Find the keys that `model` does not have, at any depth, each with a message.

    Plain dictionaries in the model accept any key and are not searched.
    """
    places = _places(model)
    for path, key, siblings in _unknown(model, value, at):
        yield path, f"unknown key{hint(key, siblings, places)}"


def hint(word: str, right: Iterable[str], places: dict[str, list[str]] | None = None) -> str:
    """Suggest where `word` belongs, or the nearest of the right words; may be empty."""
    choices = sorted(right)
    places = places or {}
    if _RENAMED.get(word) in choices:
        return f"; it is called `{_RENAMED[word]}` now"
    if word in places:
        return "; it belongs " + " or ".join(places[word][:3])
    near = get_close_matches(word.lower(), [c.lower() for c in choices], n=1)
    if near:
        return f"; did you mean `{next(c for c in choices if c.lower() == near[0])}`?"
    for other in get_close_matches(word, places, n=1, cutoff=0.8):
        return f"; did you mean `{other}` {places[other][0]}?"
    return f"; known here: {', '.join(choices)}" if 0 < len(choices) <= _MOST_LISTED else ""


def without(value: Any, paths: Container[Place], at: Place = ()) -> Any:  # noqa: ANN401 - YAML's
    """Copy `value` without what is at `paths`; values shared by aliases are copied for each."""
    if isinstance(value, dict):
        kept = {k: v for k, v in value.items() if (*at, k) not in paths}
        return {k: without(v, paths, (*at, k)) for k, v in kept.items()}
    if isinstance(value, list):
        return [without(v, paths, (*at, i)) for i, v in enumerate(value)]
    return value


def complaints(error: ValidationError, file: ConfigFile, at: Place = ()) -> list[Problem]:
    """Turn pydantic's errors into problems; the alternatives of a union become one problem."""
    messages: dict[Place, list[str]] = {}
    for one in error.errors(include_url=False):
        path = (*at, *one["loc"])
        if one["type"] == "contradiction":
            for field, message in one["ctx"]["found"]:
                messages.setdefault((*path, *field.split(".")), []).append(message)
            continue
        missing = path[-1:] if one["type"] == "missing" else ()
        path = (*max(file.known(path[:-1] if missing else path), at, key=len), *missing)
        # Serve wraps some errors whole, over several lines.
        message = " ".join(one["msg"].removeprefix("Value error, ").split())
        if isinstance(one["input"], str | int | float) and one["type"] != "value_error":
            message += f" (here {str(one['input'])[:80]!r})"
        if message not in messages.setdefault(path, []):
            messages[path].append(message)
    return [file.problem(path, "; or: ".join(said)) for path, said in messages.items()]


def _unknown(
    model: type[BaseModel], value: object, at: Place
) -> Iterator[tuple[Place, str, Iterable[str]]]:
    for key, inner in value.items() if isinstance(value, dict) else ():
        if key not in model.model_fields:
            yield (*at, key), str(key), model.model_fields
            continue
        for inner_model in _models_in(model.model_fields[key].annotation):
            items = enumerate(inner) if isinstance(inner, list) else [(None, inner)]
            for index, item in items:
                path = (*at, key) if index is None else (*at, key, index)
                yield from _unknown(inner_model, item, path)


def _models_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)


def _places(model: type[BaseModel], path: Place = ()) -> dict[str, list[str]]:
    """Map each key of the model, at any depth, to the places where it is known."""
    where = f"under `{'.'.join(map(str, path))}`" if path else "at the top"
    places = {key: [where] for key in model.model_fields}
    for name, field in model.model_fields.items():
        for inner in _models_in(field.annotation):
            for key, deeper in _places(inner, (*path, name)).items():
                places.setdefault(key, []).extend(deeper)
    return places
