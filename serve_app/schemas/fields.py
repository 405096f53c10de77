"""The kinds of field that several bodies have, and what all requests share."""

from __future__ import annotations

import difflib
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from deployments.document_ids import DOCUMENT_ID, DOCUMENT_NAME

if TYPE_CHECKING:
    from pydantic import GetJsonSchemaHandler
    from pydantic.fields import FieldInfo
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import CoreSchema

UNKNOWN_PARAMETER = "unknown_parameter"
"""OpenAI's code of the error for a field that does not exist."""
UNSUPPORTED_VALUE = "unsupported_value"
"""OpenAI's code of the error for a value that is valid, but not supported here."""
MAX_PARTS = 1000
"""The most content parts of all messages of a request together."""
MAX_MESSAGES = 1000
"""The most messages of a request, with those of its history; agents send hundreds."""
MAX_TOOLS = 128
_FEW_NAMES = 8  # that a message may list
_MAX_NAME_CHARS = 64  # of an unknown field that is compared with the known ones

CollectionName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]


Temperature = Annotated[float, Field(ge=0, le=2)]


TokenCount = Annotated[int, Field(ge=1, le=1_000_000)]


TokenIds = Annotated[
    list[Annotated[int, Field(ge=0, le=10_000_000)]], Field(min_length=1, fail_fast=True)
]


TopK = Annotated[int, Field(ge=1, le=1000)]


DEFAULT_COLLECTION = "default"

# In the examples of the API reference.
JOB_ID_EXAMPLE = "job_" + "5e" * 16
DOCUMENT_ID_EXAMPLE = "doc_" + "7c" * 16
FILE_ID_EXAMPLE = "file-" + "7c" * 16
ERASURE_ID_EXAMPLE = "era_" + "7c" * 16
IMPORT_ID_EXAMPLE = "imp_" + "7c" * 16
STORE_ID_EXAMPLE = "vs_4f1c09ab7d2e4c6f8a1b2c3d"
TIME_EXAMPLE = 1_795_546_410

DocumentId = Annotated[
    str, StringConstraints(pattern=rf"^{DOCUMENT_ID}$"), Field(examples=[DOCUMENT_ID_EXAMPLE])
]
DocumentName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=200, pattern=rf"^{DOCUMENT_NAME}$"),
    Field(examples=["report.pdf"]),
]
FileId = Annotated[
    str, StringConstraints(pattern=r"^file-[0-9a-f]{32}$"), Field(examples=[FILE_ID_EXAMPLE])
]


def example(body: dict[str, Any]) -> ConfigDict:
    """Return the configuration of a model that the API reference shows by this body.

    FastAPI drops null from the reference, so an example has to show required fields filled.
    """
    return ConfigDict(json_schema_extra={"examples": [body]})


TEXT_OR_LIST = Discriminator(lambda value: "list" if isinstance(value, list) else "text")
"""Chooses between the tags `text` and `list` of a union.

Without it, the error for a list that is too long says that it is not a string.
"""


class Request(BaseModel):
    """A body of one of our own routes.

    Unknown fields are refused, with the nearest known name. So are values of another JSON type, as
    by OpenAI: neither 1 nor "true" is true. Null means the default for every optional field, as
    OpenAI's clients send it.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        known = _names(cls)
        for name in value:
            if name not in known:
                raise _unknown(str(name), list(known))
        omittable = _omittable(cls)
        if any(value[name] is None for name in omittable & value.keys()):
            return {
                name: each
                for name, each in value.items()
                if each is not None or name not in omittable
            }
        return value

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Say in the API reference that optional fields take null."""
        schema = handler(core_schema)
        properties = handler.resolve_ref_schema(schema).get("properties", {})
        for name in _omittable(cls) & properties.keys():
            field = properties[name]
            moved = {
                key: field.pop(key)
                for key in ("title", "description", "default", "examples")
                if key in field
            }
            properties[name] = {"anyOf": [dict(field), {"type": "null"}], **moved}
        return schema


@cache
def _names(request: type[Request]) -> dict[str, FieldInfo]:
    """Return the fields by their names in JSON."""
    return {field.alias or name: field for name, field in request.model_fields.items()}


@cache
def _omittable(request: type[Request]) -> frozenset[str]:
    """Return the fields that have a default other than null and do not take null themselves."""
    return frozenset(
        name
        for name, field in _names(request).items()
        if not field.is_required()
        and type(None) not in (field.annotation, *get_args(field.annotation))
    )


def _unknown(name: str, known: list[str]) -> PydanticCustomError:
    near = difflib.get_close_matches(name[:_MAX_NAME_CHARS], known, n=1)
    hint = f"; did you mean `{near[0]}`?" if near else ""
    if not near and len(known) <= _FEW_NAMES:
        hint = f": use {', '.join(f'`{each}`' for each in known)}"
    return PydanticCustomError(
        UNKNOWN_PARAMETER,
        "there is no such field{hint}",
        {"field": name, "hint": hint},
    )


def refuse(reason: str) -> NoReturn:
    """Raise the error for a valid field or value of OpenAI's that is not supported here."""
    raise PydanticCustomError(UNSUPPORTED_VALUE, "{reason}", {"reason": reason})


def check_parts(parts: int) -> None:
    """Raise the error for a request with more content parts than are validated fast."""
    if parts > MAX_PARTS:
        raise PydanticCustomError(
            "too_many_parts",  # noqa: EM101 - a type, not a message
            "{parts} content parts are over the bound of {bound}",
            {"parts": parts, "bound": MAX_PARTS},
        )


def refused_unless(harmless: object, reason: str) -> BeforeValidator:
    """Validate a field that has no effect: any value but a harmless one, or null, is refused."""

    def check(value: object) -> object:
        same = value == harmless and isinstance(value, bool) == isinstance(harmless, bool)
        if value is None or same:
            return value if isinstance(value, list) and value else None
        refuse(reason)

    accepted = [harmless, None] if harmless is not None else [None]
    schema = {"enum": accepted, "description": f"Not supported: {reason}."}
    return BeforeValidator(check, json_schema_input_type=Annotated[Any, WithJsonSchema(schema)])


def refused_value(refused: str, reason: str) -> BeforeValidator:
    """Validate a field of which one valid value is not supported."""

    def check(value: object) -> object:
        if value == refused:
            refuse(reason)
        return value

    return BeforeValidator(check)


class StreamOptions(Request):
    """OpenAI's."""

    include_usage: bool = False
    include_obfuscation: bool | None = None
