"""The JSON of models: which there are, and OpenAI's text completions and embeddings."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Discriminator, Field, StringConstraints, Tag, field_validator
from pydantic_core import PydanticCustomError

from serve_app.schemas.fields import Request, StreamOptions, Temperature, TokenCount

ModelKind = Literal["answering", "chat", "embedding", "image"]


MAX_PROMPTS = 16
TokenId = Annotated[int, Field(ge=0, le=10_000_000)]


class CompletionRequest(Request):
    """OpenAI's text completion request: go on with `prompt`. For the bare model only."""

    model: Annotated[str, Field(min_length=1, max_length=200)]
    prompt: Annotated[
        str
        | Annotated[list[str], Field(min_length=1, max_length=MAX_PROMPTS)]
        | Annotated[list[TokenId], Field(min_length=1)]
        | Annotated[
            list[Annotated[list[TokenId], Field(min_length=1)]],
            Field(min_length=1, max_length=MAX_PROMPTS),
        ],
        Field(examples=["The capital of France is"]),
    ]
    max_tokens: TokenCount | None = None
    min_tokens: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    temperature: Temperature | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1, le=1_000_000)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=10)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    n: Annotated[int, Field(ge=1, le=16)] | None = None
    stop: str | Annotated[list[str], Field(max_length=16)] | None = None
    seed: int | None = None
    ignore_eos: bool | None = None
    echo: bool | None = None
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    logit_bias: dict[str, float] | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    suffix: Annotated[None, Field(description="Not supported.")] = None
    best_of: Annotated[Literal[1], Field(description="More is not supported: use `n`.")] | None = (
        None
    )
    # Taken from any client of OpenAI's, and without meaning here.
    user: str | None = None

    def for_engine(self) -> dict[str, Any]:
        """The request as the engine gets it: what was given."""
        body = self.model_dump(
            exclude_none=True, exclude_unset=True, exclude={"user", "best_of", "suffix"}
        )
        if self.stream_options is not None:
            body["stream_options"] = {"include_usage": self.stream_options.include_usage}
        return body

    def texts(self) -> list[str]:
        """The prompts that are texts."""
        prompts = self.prompt if isinstance(self.prompt, list) else [self.prompt]
        return [prompt for prompt in prompts if isinstance(prompt, str)]


EmbeddingInput = Annotated[str, StringConstraints(min_length=1, max_length=1_000_000)]


def _form(value: object) -> str:
    return "list" if isinstance(value, list) else "text"


class EmbeddingsRequest(Request):
    """OpenAI's embeddings request."""

    model: Annotated[str, Field(min_length=1, max_length=200)]
    input: Annotated[
        Annotated[EmbeddingInput, Tag("text")]
        | Annotated[list[EmbeddingInput], Field(min_length=1), Tag("list")],
        # Without it a list too long would be told that it is no string.
        Discriminator(_form),
        Field(examples=["Snow is white."]),
    ]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    # Taken from any client of OpenAI's, and without meaning here.
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

    object: Literal["list"] = "list"
    data: list[EmbeddingResponse]
    model: str
    usage: EmbeddingsUsage


class Model(BaseModel):
    """A model as OpenAI lists it; `kind` is what it is for."""

    id: str
    kind: ModelKind
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "genserve"


class ModelList(BaseModel):
    """All models."""

    object: Literal["list"] = "list"
    data: list[Model]
