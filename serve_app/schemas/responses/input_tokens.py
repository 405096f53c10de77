"""The JSON of a count of the tokens of a prompt."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from serve_app.schemas.fields import example


class InputTokens(BaseModel):
    """OpenAI's count of the tokens of a prompt."""

    model_config = example({"object": "response.input_tokens", "input_tokens": 17})

    object: Literal["response.input_tokens"] = "response.input_tokens"
    input_tokens: int
