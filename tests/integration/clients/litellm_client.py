"""LiteLLM's SDK: chat, embeddings, vector stores, the Responses API and Anthropic's messages."""

from __future__ import annotations

import asyncio
import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # not the one of the network

import litellm
from litellm.vector_stores import main as vector_stores
from service import CAPITAL, CONTEXT, EMBEDDER, FACT, KEY, MODEL, QUESTION, ROOT, STORE, URL, tell

service = {"api_base": URL, "api_key": KEY}
bare = litellm.completion(
    model=f"openai/{MODEL}",
    messages=[{"role": "user", "content": CAPITAL}],
    max_tokens=40,
    temperature=0,
    **service,
)
pieces = [
    chunk.choices[0].delta.content or ""
    for chunk in litellm.completion(
        model="openai/genserve",
        messages=[{"role": "user", "content": QUESTION}],
        max_tokens=40,
        stream=True,
        extra_body=CONTEXT,
        **service,
    )
]
vectors = litellm.embedding(model=f"openai/{EMBEDDER}", input=[FACT, QUESTION], **service).data

store = vector_stores.create(name="litellm", custom_llm_provider="openai", **service)
found = vector_stores.search(
    vector_store_id=STORE, query=QUESTION, custom_llm_provider="openai", **service
)
gone = vector_stores.delete(vector_store_id=store["id"], custom_llm_provider="openai", **service)
try:
    litellm.completion(
        model=f"openai/{MODEL}", messages=[{"role": "user", "content": "word " * 6000}], **service
    )
except litellm.ContextWindowExceededError:
    too_long = "ContextWindowExceededError"

response = litellm.responses(
    model="openai/genserve",
    input=QUESTION,
    max_output_tokens=60,
    tools=[{"type": "file_search", "vector_store_ids": [STORE]}],
    **service,
)
message = asyncio.run(
    litellm.anthropic.messages.acreate(
        model="anthropic/genserve",
        messages=[{"role": "user", "content": QUESTION}],
        max_tokens=60,
        api_base=ROOT,
        api_key=KEY,
    )
)
tell(
    bare=bare.choices[0].message.content,
    pieces=pieces,
    dimensions=[len(vector["embedding"]) for vector in vectors],
    created=store["object"],
    found=found["data"][0]["content"][0]["text"],
    deleted=gone["deleted"],
    too_long=too_long,
    responses=response.model_dump(),
    messages=message,
)
