"""The JSON of OpenAI's embeddings, with the fields that vLLM, Cohere, Jina and Voyage add."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, BaseModel, Discriminator, Field, StringConstraints, Tag

from deployments.bounds import MAX_CHARS_PER_TEXT
from deployments.types import EmbeddingOptions
from serve_app.schemas.fields import Request, TokenIds, example, refuse, refused_unless

if TYPE_CHECKING:
    from deployments.types import TextKind

EmbeddingInput = Annotated[str, StringConstraints(min_length=1, max_length=MAX_CHARS_PER_TEXT)]

_KINDS: dict[str, TextKind] = {
    "query": "query",
    "search_query": "query",
    "retrieval.query": "query",
    "document": "passage",
    "passage": "passage",
    "search_document": "passage",
    "retrieval.passage": "passage",
}
_WHOLE_MODEL_WINDOW = -1
_BITS = "the numbers of vectors have 32 bits"
_UNIT_LENGTH = refused_unless(harmless=True, reason="all vectors are of unit length")
_SPECIAL = refused_unless(harmless=True, reason="the model was trained with its special tokens")
_ALONE = refused_unless(harmless=False, reason="each text is embedded by itself")


def _form(value: object) -> str:
    if not isinstance(value, list):
        return "text"
    first = value[0] if value else None
    if isinstance(first, list):
        return "token_lists"
    return "tokens" if isinstance(first, int) else "texts"


def _known_kind(name: str) -> str:
    if name not in _KINDS:
        refuse(f"this model distinguishes only {', '.join(map(repr, _KINDS))}")
    return name


def _some_tokens(tokens: int) -> int:
    if tokens == 0:
        refuse("a text without tokens has no vector")
    return tokens


def _beginnings(truncate: bool | str) -> bool | str:  # noqa: FBT001 - a field
    if truncate == "START":
        refuse("the beginnings of texts are read, not their ends: use 'END'")
    return truncate


Kind = Annotated[str, AfterValidator(_known_kind), Field(examples=["query"])]


class EmbeddingsRequest(Request):
    """OpenAI's embeddings request.

    `input` may be token ids of OpenAI's embedding models (cl100k_base), whose text is embedded;
    there may be 300,000 of them in a request.

    By default, a text that is longer than the model reads at once is embedded in windows, whose
    mean is its vector (`embedder.long_texts`). `truncate_prompt_tokens` reads the first tokens of
    each text, and -1 as many as the model reads at once; `truncation: true`, `truncate: true` and
    `truncate: "END"` do the same as -1. With false or "NONE" such a text is refused.

    `input_type` and `task` say whether the texts are queries or documents, for models that have a
    prefix for each.
    """

    model_config = example({"model": "all-MiniLM-L6-v2", "input": ["Snow is white."]})

    model: Annotated[str, Field(min_length=1, max_length=200)]
    input: Annotated[
        Annotated[EmbeddingInput, Tag("text")]
        | Annotated[list[EmbeddingInput], Field(min_length=1, fail_fast=True), Tag("texts")]
        | Annotated[TokenIds, Tag("tokens")]
        | Annotated[list[TokenIds], Field(fail_fast=True), Tag("token_lists")],
        Discriminator(_form),
        Field(examples=["Snow is white."]),
    ]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    truncate_prompt_tokens: (
        Annotated[int, Field(ge=-1, le=1_000_000), AfterValidator(_some_tokens)] | None
    ) = None
    truncation: bool | None = None
    truncate: (
        Annotated[bool | Literal["NONE", "START", "END"], AfterValidator(_beginnings)] | None
    ) = None
    input_type: Kind | None = None
    task: Kind | None = None
    # Accepted because clients send them; they have no effect.
    user: str | None = None
    request_id: str | None = None
    # Other values would change the vectors.
    add_special_tokens: Annotated[None, _SPECIAL] = None
    normalize: Annotated[None, _UNIT_LENGTH] = None
    normalized: Annotated[None, _UNIT_LENGTH] = None
    use_activation: Annotated[None, _UNIT_LENGTH] = None
    embed_dtype: Annotated[None, refused_unless("float32", _BITS)] = None
    output_dtype: Annotated[None, refused_unless("float", _BITS)] = None
    endianness: Annotated[
        None, refused_unless("little", "the numbers of vectors are little-endian")
    ] = None
    truncation_side: Annotated[
        None, refused_unless("right", "the beginnings of texts are read, not their ends")
    ] = None
    late_chunking: Annotated[None, _ALONE] = None
    priority: Annotated[None, refused_unless(0, "requests have no priority")] = None

    def texts(self) -> list[str] | None:
        """The inputs; None if they are token ids."""
        if isinstance(self.input, str):
            return [self.input]
        return [one for one in self.input if isinstance(one, str)] or None

    def token_lists(self) -> list[list[int]]:
        """The inputs that are token ids, each as a list."""
        given = self.input if isinstance(self.input, list) else []
        flat = [one for one in given if isinstance(one, int)]
        return [flat] if flat else [one for one in given if isinstance(one, list)]

    def options(self) -> EmbeddingOptions | None:
        """How the request has texts embedded; None for the configured way."""
        kind = _KINDS[self.input_type or self.task or "document"]
        tokens = self.truncate_prompt_tokens
        if tokens is not None or self.truncation or self.truncate in {True, "END"}:
            most = None if tokens in {None, _WHOLE_MODEL_WINDOW} else tokens
            return EmbeddingOptions(kind, "truncate", most)
        if self.truncation is False or self.truncate in {False, "NONE"}:
            return EmbeddingOptions(kind, "refuse")
        return EmbeddingOptions(kind) if kind == "query" else None


class EmbeddingResponse(BaseModel):
    """One vector of unit length: numbers, or little-endian float32 as base64."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingsUsage(BaseModel):
    """The tokens that the model read, by its tokenizer."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsWarning(BaseModel):
    """A warning about inputs that are longer than the model reads at once.

    `code` is `input_in_windows` or `input_truncated`, and `inputs` are their indexes.
    """

    code: str
    message: str
    inputs: list[int]


class EmbeddingsResponse(BaseModel):
    """A vector for each input, in order; `warnings` only if there are any."""

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
    warnings: list[EmbeddingsWarning] | None = None
