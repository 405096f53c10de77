"""The JSON of the list of models."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from serve_app.schemas.fields import example

ModelKind = Literal["answering", "chat", "embedding", "reranking", "image"]


_EXAMPLE = {
    "id": "genserve",
    "kind": "answering",
    "object": "model",
    "created": 0,
    "owned_by": "genserve",
}


class Model(BaseModel):
    """A model as OpenAI lists it; `kind` is what it is for."""

    model_config = example(_EXAMPLE)

    id: str
    kind: ModelKind
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "genserve"


class ModelList(BaseModel):
    """All models."""

    model_config = example({"object": "list", "data": [_EXAMPLE]})

    object: Literal["list"] = "list"
    data: list[Model]
