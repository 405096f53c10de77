"""Instructor: structured output by tools, by a JSON schema, and by the Responses API."""

from __future__ import annotations

from typing import Literal

import instructor
from openai import OpenAI
from pydantic import BaseModel
from service import CAPITAL, KEY, MODEL, URL, tell


class Place(BaseModel):
    city: Literal["Paris", "Oslo"]
    is_capital: bool


def place(mode: instructor.Mode, model: str) -> dict[str, object]:
    client = instructor.from_openai(OpenAI(base_url=URL, api_key=KEY, max_retries=0), mode=mode)
    made = client.chat.completions.create(
        model=model,
        response_model=Place,
        messages=[{"role": "user", "content": CAPITAL}],
        max_retries=1,
    )
    return made.model_dump()


tell(
    tools=place(instructor.Mode.TOOLS, MODEL),
    schema=place(instructor.Mode.JSON_SCHEMA, MODEL),
    grounded=place(instructor.Mode.JSON_SCHEMA, "genserve"),
    responses=place(instructor.Mode.RESPONSES_TOOLS, MODEL),
)
