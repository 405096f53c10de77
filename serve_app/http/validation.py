"""Validation errors in the words of the API: pydantic's names of types and unions are left out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from serve_app.schemas.fields import UNKNOWN_PARAMETER, UNSUPPORTED_VALUE

if TYPE_CHECKING:
    from collections.abc import Sequence

_SHOWN_CHARS: Final = 300  # of the message, and of the path of the field
_MISSING: Final = "missing"
_MISSING_PARAMETER: Final = "missing_required_parameter"
_INVALID_TYPE: Final = "invalid_type"
_INVALID_VALUE: Final = "invalid_value"
_NOT_BLANK: Final = r"\S"
_SHOULD: Final = re.compile(r"^[A-Z][a-z]*(?: [a-z]+)? should\b")
_NOT_AN_OBJECT: Final = {"model_type", "model_attributes_type", "dict_type"}


class Fault(NamedTuple):
    """What is wrong with a request; `param` is the path of the field, as `messages[0].content`."""

    message: str
    code: str
    param: str | None


def fault_of(errors: Sequence[Mapping[str, Any]], body: object) -> Fault:
    """Return the error that is nearest to the fault: the deepest one.

    A field that may have several types gives an error for each of them; one says that the value is
    wrong, the others that its type is.
    """
    found = [(_path(error, body), error) for error in errors]
    path, error = max(found, key=lambda each: (len(each[0]), not _is_of_type(each[1]["type"])))
    param = _written(path)[:_SHOWN_CHARS] or None
    message = _message(error)[:_SHOWN_CHARS]
    if param:
        message = f"{param}: {message}"
    elif error["type"] in {_MISSING, *_NOT_AN_OBJECT}:
        message = "the body must be a JSON object"
    return Fault(message, _code(error["type"]), param)


def _path(error: Mapping[str, Any], body: object) -> list[str | int]:
    """Return where in the request an error is, without the names of alternatives of a union."""
    where: str
    parts: list[str | int]
    where, *parts = error["loc"]
    if where != "body":
        return parts
    path: list[str | int] = []
    value = body
    for place, part in enumerate(parts, 1):
        if _has(value, part):
            value = value[part]  # type: ignore[index]
        elif error["type"] != _MISSING or place < len(parts):
            continue
        path.append(part)
    if error["type"] == UNKNOWN_PARAMETER:
        path.append(error["ctx"]["field"])
    return path


def _has(value: object, part: str | int) -> bool:
    if isinstance(value, Mapping):
        return part in value
    return isinstance(value, list) and isinstance(part, int) and 0 <= part < len(value)


def _written(path: Sequence[str | int]) -> str:
    written = ""
    for part in path:
        if isinstance(part, int):
            written += f"[{part}]"
        else:
            written += f".{part}" if written else part
    return written


def _message(error: Mapping[str, Any]) -> str:
    match error["type"]:
        case "missing":
            return "this field is required"
        case kind if kind in _NOT_AN_OBJECT:
            return "must be an object"
        case "string_pattern_mismatch":
            blank = error["ctx"]["pattern"] == _NOT_BLANK
            return "must not be blank" if blank else "does not have the form of such a value"
        case "union_tag_not_found":
            return f"the field {error['ctx']['discriminator']} is required"
        case "union_tag_invalid":
            field, tags = error["ctx"]["discriminator"], error["ctx"]["expected_tags"]
            return f"{field} must be one of {tags}"
    message = str(error["msg"]).removeprefix("Value error, ").replace(" after validation,", ",")
    return _SHOULD.sub("must", message)


def _code(kind: str) -> str:
    if kind in {UNKNOWN_PARAMETER, UNSUPPORTED_VALUE}:
        return kind
    if kind == "extra_forbidden":
        return UNKNOWN_PARAMETER
    if kind in {_MISSING, "union_tag_not_found"}:
        return _MISSING_PARAMETER
    return _INVALID_TYPE if _is_of_type(kind) else _INVALID_VALUE


def _is_of_type(kind: str) -> bool:
    return kind.endswith(("_type", "_parsing"))
