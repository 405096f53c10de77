"""Pydantic AI: chat completions, the Responses API, Anthropic's messages, and embeddings."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.capabilities import NativeTool
from pydantic_ai.embeddings import Embedder
from pydantic_ai.embeddings.openai import OpenAIEmbeddingModel
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.native_tools import FileSearchTool
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider
from service import CAPITAL, CONTEXT, EMBEDDER, KEY, MODEL, QUESTION, ROOT, STORE, URL, tell

openai = OpenAIProvider(base_url=URL, api_key=KEY)
anthropic = AnthropicProvider(base_url=ROOT, api_key=KEY)


class Place(BaseModel):
    city: Literal["Paris", "Oslo"]
    is_capital: bool


def structured(model: Any) -> dict[str, object]:
    agent = Agent(model, output_type=Place, model_settings={"temperature": 0, "max_tokens": 200})
    return agent.run_sync(CAPITAL).output.model_dump()


def grounded(model: Any, **settings: Any) -> str:
    agent = Agent(model, model_settings={"temperature": 0, "max_tokens": 100, **settings})
    return agent.run_sync(QUESTION).output


searching = Agent(
    OpenAIResponsesModel("genserve", provider=openai),
    capabilities=[NativeTool(FileSearchTool(file_store_ids=[STORE]))],
    model_settings={"max_tokens": 100, "openai_include_file_search_results": True},
)
found = searching.run_sync(QUESTION)
embedder = Embedder(OpenAIEmbeddingModel(EMBEDDER, provider=openai))
tell(
    chat=grounded(OpenAIChatModel("genserve", provider=openai), extra_body=CONTEXT),
    messages=grounded(AnthropicModel("genserve", provider=anthropic), extra_body=CONTEXT),
    responses=found.output,
    parts=[part.part_kind for message in found.all_messages() for part in message.parts],
    chat_place=structured(OpenAIChatModel(MODEL, provider=openai)),
    responses_place=structured(OpenAIResponsesModel(MODEL, provider=openai)),
    messages_place=structured(AnthropicModel(MODEL, provider=anthropic)),
    dimensions=len(embedder.embed_query_sync(QUESTION).embeddings[0]),
)
