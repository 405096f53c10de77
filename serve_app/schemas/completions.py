"""The JSON of OpenAI's text completions."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from serve_app.schemas.fields import (
    TIME_EXAMPLE,
    Request,
    StreamOptions,
    Temperature,
    TokenCount,
    example,
)

MAX_PROMPTS = 16
TokenId = Annotated[int, Field(ge=0, le=10_000_000)]


class CompletionRequest(Request):
    """OpenAI's text completion request: go on with `prompt`. For the bare model only."""

    model_config = example(
        {
            "model": "SmolLM2-135M-Instruct",
            "prompt": "The capital of France is",
            "max_tokens": 8,
            "temperature": 0,
        }
    )

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


COMPLETION_EXAMPLE = {
    "id": "cmpl-1",
    "object": "text_completion",
    "created": TIME_EXAMPLE,
    "model": "SmolLM2-135M-Instruct",
    "choices": [{"index": 0, "text": " Paris.", "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
}
CHUNK_EVENT_EXAMPLE = 'data: {"choices": [{"text": " Paris"}]}\n\n'
"""The engine's object passes through, so that it has no model here."""
