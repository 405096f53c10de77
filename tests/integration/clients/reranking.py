"""Reranking through LiteLLM and LangChain."""

from __future__ import annotations

import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # not the one of the network

import litellm
from langchain_cohere import CohereRerank
from langchain_core.documents import Document
from service import EMBEDDER, FACT, KEY, OTHER_TEXT, QUESTION, ROOT, URL, tell

DOCUMENTS: list[str | dict[str, str]] = [
    OTHER_TEXT,
    {"text": FACT},
    "The ferry of Orrin runs at noon.",
]


def by_litellm(provider: str, address: str) -> object:
    answer = litellm.rerank(
        model=f"{provider}/{EMBEDDER}",
        query=QUESTION,
        documents=DOCUMENTS,
        top_n=2,
        api_base=address,
        api_key=KEY,
    )
    return [dict(each) for each in answer.results]


compressor = CohereRerank(model=EMBEDDER, base_url=ROOT, cohere_api_key=KEY, top_n=1)
texts = [each if isinstance(each, str) else each["text"] for each in DOCUMENTS]
best = compressor.compress_documents([Document(text) for text in texts], QUESTION)
tell(
    **{
        "cohere": by_litellm("cohere", ROOT),
        "jina": by_litellm("jina_ai", ROOT),
        "vllm": by_litellm("hosted_vllm", URL),
        "vllm without a version": by_litellm("hosted_vllm", ROOT),
        "langchain": [[each.page_content, each.metadata["relevance_score"]] for each in best],
    }
)
