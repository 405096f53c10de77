"""The JSON of OpenAI's embeddings."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field, StringConstraints, Tag, field_validator
from pydantic_core import PydanticCustomError

from serve_app.schemas.fields import TEXT_OR_LIST, Request, example

EmbeddingInput = Annotated[str, StringConstraints(min_length=1, max_length=1_000_000)]


class EmbeddingsRequest(Request):
    """OpenAI's embeddings request."""

    model_config = example({"model": "all-MiniLM-L6-v2", "input": ["Snow is white."]})

    model: Annotated[str, Field(min_length=1, max_length=200)]
    input: Annotated[
        Annotated[EmbeddingInput, Tag("text")]
        | Annotated[list[EmbeddingInput], Field(min_length=1, fail_fast=True), Tag("list")],
        TEXT_OR_LIST,
        Field(examples=["Snow is white."]),
    ]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    # Accepted because OpenAI's clients send them; they have no effect.
    user: str | None = None

    @field_validator("input", mode="before")
    @classmethod
    def _no_tokens(cls, value: object) -> object:
        if isinstance(value, list) and value and isinstance(value[0], int | list):
            raise PydanticCustomError(
                "not_supported",  # noqa: EM101 - a type, not a message
                "token ids are not supported, as every model has its own: send texts "
                "(LangChain: `check_embedding_ctx_length=False`)",
            )
        return value

    def texts(self) -> list[str]:
        """The inputs, whatever form they came in."""
        return [self.input] if isinstance(self.input, str) else self.input


class EmbeddingResponse(BaseModel):
    """One vector of unit length: numbers, or little-endian float32 as base64."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingsUsage(BaseModel):
    """Tokens, by the model's tokenizer."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsResponse(BaseModel):
    """A vector for each input, in order."""

    model_config = example(
        {
            "object": "list",
            "data": [{"object": "embedding", "index": 0, "embedding": [0.6, -0.8]}],
            "model": "all-MiniLM-L6-v2",
            "usage": {"prompt_tokens": 6, "total_tokens": 6},
        }
    )

    object: Literal["list"] = "list"
    data: list[EmbeddingResponse]
    model: str
    usage: EmbeddingsUsage
