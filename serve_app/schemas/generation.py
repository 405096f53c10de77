"""The fields that OpenAI's chat and text completion requests share."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field

from serve_app.schemas.fields import Request, StreamOptions, Temperature, TokenCount

StopText = Annotated[str, Field(max_length=1000)]


class GenerationRequest(Request):
    """A request for the language model.

    Fields are listed one by one, so that nothing reaches the engine that could name a
    template, a file or a model to load.
    """

    not_for_engine: ClassVar[dict[str, Any]] = {}
    """Fields, as pydantic excludes them, that the engine does not get."""

    model: Annotated[str, Field(min_length=1, max_length=200)]
    temperature: Temperature | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1, le=1_000_000)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=10)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    max_tokens: TokenCount | None = None
    min_tokens: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    n: Annotated[int, Field(ge=1, le=16)] | None = None
    stop: StopText | Annotated[list[StopText], Field(max_length=16)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    ignore_eos: bool | None = None
    logit_bias: Annotated[dict[str, float], Field(max_length=1024)] | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    # Accepted because OpenAI's clients send it; it has no effect.
    user: str | None = None

    def for_engine(self) -> dict[str, Any]:
        """Return the fields that the request sets and the engine gets."""
        body = self.model_dump(exclude_none=True, exclude_unset=True, exclude=self.not_for_engine)
        if self.stream_options is not None:
            body["stream_options"] = {"include_usage": self.stream_options.include_usage}
        return body
