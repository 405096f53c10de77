"""OpenAI's agents SDK with its default model class, which speaks the Responses API."""

from __future__ import annotations

import asyncio
from typing import Literal

from agents import (
    Agent,
    FileSearchTool,
    ModelSettings,
    Runner,
    function_tool,
    set_default_openai_client,
    set_tracing_disabled,
)
from openai import AsyncOpenAI
from pydantic import BaseModel
from service import CAPITAL, KEY, MODEL, QUESTION, STORE, URL, tell

set_tracing_disabled(disabled=True)  # else it sends traces to OpenAI
set_default_openai_client(
    AsyncOpenAI(base_url=URL, api_key=KEY, max_retries=0), use_for_tracing=False
)
SETTINGS = ModelSettings(temperature=0, max_tokens=200)
asked: list[str] = []


class Place(BaseModel):
    city: Literal["Paris", "Oslo"]
    is_capital: bool


@function_tool
def weather(city: Literal["Paris", "Oslo"]) -> str:
    """The weather in a city."""
    asked.append(city)
    return f"In {city} it is sunny, with 21 degrees."


async def main() -> None:
    keeper = Agent(
        name="keeper",
        instructions="Answer in one sentence.",
        model="genserve",
        model_settings=SETTINGS,
        tools=[FileSearchTool(vector_store_ids=[STORE], include_search_results=True)],
    )
    grounded = await Runner.run(keeper, QUESTION)
    again = await Runner.run(
        keeper, "When did it begin to burn it?", previous_response_id=grounded.last_response_id
    )
    streamed = Runner.run_streamed(keeper, QUESTION)
    events = [
        event.data.type
        async for event in streamed.stream_events()
        if event.type == "raw_response_event"
    ]
    searches = [
        item for item in grounded.raw_responses[0].output if item.type == "file_search_call"
    ]
    messages = [item for item in grounded.raw_responses[0].output if item.type == "message"]
    forecaster = Agent(
        name="forecaster",
        model=MODEL,
        model_settings=ModelSettings(temperature=0, max_tokens=200, tool_choice="required"),
        tools=[weather],
    )
    forecast = await Runner.run(forecaster, "How is the weather in Paris?")
    geographer = Agent(name="geographer", model=MODEL, model_settings=SETTINGS, output_type=Place)
    place = await Runner.run(geographer, CAPITAL)
    tell(
        grounded=grounded.final_output,
        found=[result.text for search in searches for result in search.results or []],
        annotations=[
            note.model_dump()
            for message in messages
            for part in message.content
            for note in part.annotations
        ],
        again=again.final_output,
        streamed=streamed.final_output,
        events=events,
        forecast=forecast.final_output,
        asked=asked,
        place=place.final_output.model_dump(),
        usage=grounded.context_wrapper.usage.total_tokens,
    )


asyncio.run(main())
