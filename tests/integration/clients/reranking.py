"""Reranking through LiteLLM and LangChain; tells what came of it as JSON.

Runs in an environment of its own, with nothing of this repository in it.
"""

from __future__ import annotations

import json
import os

from loopback import strayed  # before the clients, which it watches

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # not the one of the network

import litellm
from langchain_cohere import CohereRerank
from langchain_core.documents import Document

QUESTION = "What does the lighthouse of Skarn burn?"
DOCUMENTS: list[str | dict[str, str]] = [
    "The bakery of Lindgard sells its plum loaf on Thursdays only.",
    {"text": "The lighthouse of Skarn burns walrus oil, as it did in 1790."},
    "The ferry of Orrin runs at noon.",
]


def by_litellm(provider: str, address: str) -> object:
    answer = litellm.rerank(
        model=f"{provider}/{os.environ['TEST_EMBEDDER']}",
        query=QUESTION,
        documents=DOCUMENTS,
        top_n=2,
        api_base=address,
        api_key=os.environ["TEST_KEY"],
    )
    return [dict(each) for each in answer.results]


def main() -> None:
    v1 = os.environ["TEST_URL"]
    root = v1.removesuffix("/v1")
    compressor = CohereRerank(
        model=os.environ["TEST_EMBEDDER"],
        base_url=root,
        cohere_api_key=os.environ["TEST_KEY"],
        top_n=1,
    )
    texts = [each if isinstance(each, str) else each["text"] for each in DOCUMENTS]
    best = compressor.compress_documents([Document(text) for text in texts], QUESTION)
    told = {
        "cohere": by_litellm("cohere", root),
        "jina": by_litellm("jina_ai", root),
        "vllm": by_litellm("hosted_vllm", v1),
        "vllm without a version": by_litellm("hosted_vllm", root),
        "langchain": [[each.page_content, each.metadata["relevance_score"]] for each in best],
        "strayed": strayed,
    }
    print(json.dumps(told))  # noqa: T201 - for the test to read


main()
