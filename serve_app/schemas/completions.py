"""The JSON of OpenAI's text completions."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from serve_app.schemas.fields import TIME_EXAMPLE, TokenIds, example, refused_unless
from serve_app.schemas.generation import GenerationRequest

MAX_PROMPTS = 16


class CompletionRequest(GenerationRequest):
    """OpenAI's text completion request: go on with `prompt`. For the bare model only."""

    not_for_engine = dict.fromkeys(("user", "best_of", "suffix"), True)

    model_config = example(
        {
            "model": "SmolLM2-135M-Instruct",
            "prompt": "The capital of France is",
            "max_tokens": 8,
            "temperature": 0,
        }
    )

    prompt: Annotated[
        str
        | Annotated[list[str], Field(min_length=1, max_length=MAX_PROMPTS, fail_fast=True)]
        | TokenIds
        | Annotated[list[TokenIds], Field(min_length=1, max_length=MAX_PROMPTS, fail_fast=True)],
        Field(examples=["The capital of France is"]),
    ]
    echo: bool | None = None
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    suffix: Annotated[None, refused_unless("", "this model cannot write before a suffix")] = None
    best_of: Annotated[None, refused_unless(1, "the best of several is not chosen: use `n`")] = None

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
"""Chunks are written from the engine's events, so that they have no model here."""
