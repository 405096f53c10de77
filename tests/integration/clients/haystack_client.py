"""Haystack: its own retrieval over our embeddings, chat, and the Responses API."""

from __future__ import annotations

import os

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"

from haystack import Document, Pipeline
from haystack.components.builders import ChatPromptBuilder
from haystack.components.embedders import OpenAIDocumentEmbedder, OpenAITextEmbedder
from haystack.components.generators.chat import OpenAIChatGenerator, OpenAIResponsesChatGenerator
from haystack.components.preprocessors import DocumentSplitter
from haystack.components.retrievers.in_memory import InMemoryEmbeddingRetriever
from haystack.components.writers import DocumentWriter
from haystack.dataclasses import ChatMessage
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack.utils import Secret
from service import CONTEXT, EMBEDDER, KEY, LONG_TEXT, MODEL, OTHER_TEXT, QUESTION, STORE, URL, tell

service = {"api_base_url": URL, "api_key": Secret.from_token(KEY)}
documents = InMemoryDocumentStore(embedding_similarity_function="cosine")

indexing = Pipeline()
indexing.add_component("splitter", DocumentSplitter(split_length=300))  # words
indexing.add_component("embedder", OpenAIDocumentEmbedder(model=EMBEDDER, **service))
indexing.add_component("writer", DocumentWriter(documents))
indexing.connect("splitter", "embedder")
indexing.connect("embedder", "writer")
indexing.run(
    {"splitter": {"documents": [Document(content=LONG_TEXT), Document(content=OTHER_TEXT)]}}
)

PROMPT = (
    "{% for each in documents %}{{ each.content[:400] }}\n{% endfor %}\nQuestion: {{ question }}"
)
answering = Pipeline()
answering.add_component("embedder", OpenAITextEmbedder(model=EMBEDDER, **service))
answering.add_component("retriever", InMemoryEmbeddingRetriever(documents, top_k=1))
answering.add_component(
    "prompt", ChatPromptBuilder([ChatMessage.from_user(PROMPT)], required_variables="*")
)
answering.add_component(
    "model",
    OpenAIChatGenerator(model=MODEL, generation_kwargs={"max_completion_tokens": 40}, **service),
)
answering.connect("embedder.embedding", "retriever.query_embedding")
answering.connect("retriever", "prompt.documents")
answering.connect("prompt", "model")
answered = answering.run(
    {"embedder": {"text": QUESTION}, "prompt": {"question": QUESTION}},
    include_outputs_from={"retriever"},
)

pieces: list[str] = []
grounded = OpenAIChatGenerator(
    model="genserve",
    generation_kwargs={"extra_body": CONTEXT, "max_completion_tokens": 40, "temperature": 0},
    streaming_callback=lambda piece: pieces.append(piece.content),
    **service,
).run([ChatMessage.from_user(QUESTION)])
responses = OpenAIResponsesChatGenerator(
    model="genserve",
    tools=[{"type": "file_search", "vector_store_ids": [STORE]}],
    generation_kwargs={"max_output_tokens": 60},
    **service,
).run([ChatMessage.from_user(QUESTION)])
tell(
    found=answered["retriever"]["documents"][0].content,
    answer=answered["model"]["replies"][0].text,
    grounded=grounded["replies"][0].text,
    pieces=pieces,
    responses=responses["replies"][0].text,
)
