"""The JSON of the list of models."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from serve_app.schemas.fields import example

ModelKind = Literal["answering", "chat", "embedding", "reranking", "image"]
Lifecycle = Literal["active", "deprecated", "retired"]

_EPOCH = "1970-01-01T00:00:00Z"
_EXAMPLE = {
    "id": "genserve",
    "kind": "answering",
    "object": "model",
    "created": 0,
    "owned_by": "genserve",
    "type": "model",
    "display_name": "genserve",
    "created_at": _EPOCH,
    "lifecycle": "active",
}


class Model(BaseModel):
    """A model as OpenAI and Anthropic list it; `kind` is what it is for."""

    model_config = example(_EXAMPLE)

    id: str
    kind: ModelKind
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "genserve"
    type: Literal["model"] = "model"
    display_name: str
    created_at: str = _EPOCH
    lifecycle: Literal["active"] = "active"


class ModelList(BaseModel):
    """A page of the models; all are on the first one by default."""

    model_config = example(
        {
            "object": "list",
            "data": [_EXAMPLE],
            "has_more": False,
            "first_id": "genserve",
            "last_id": "genserve",
        }
    )

    object: Literal["list"] = "list"
    data: list[Model]
    has_more: bool
    first_id: str | None
    last_id: str | None
