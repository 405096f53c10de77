"""The JSON of reranking: the common fields of Cohere's, Jina's and vLLM's APIs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Discriminator, Field, StringConstraints, Tag

from serve_app.schemas.fields import Request, example

MAX_QUERY_CHARS = 4000
MAX_DOCUMENTS = 1000
MAX_CHARS = 1_000_000
"""Of all documents together."""
_DEFAULT_TOKENS, _MAX_TOKENS = 4096, 32_768
"""Of each document; the default is Cohere's."""
_MAX_TOP_N = 1_000_000


class DocumentText(BaseModel):
    """A document as an object; other fields of it have no effect."""

    text: str


class RerankRequest(Request):
    """Cohere's rerank request, as Jina and vLLM have it too."""

    model_config = example(
        {
            "query": "Which metal is liquid at room temperature?",
            "documents": ["Iron melts at 1538 °C.", {"text": "Mercury melts at -39 °C."}],
            "top_n": 1,
        }
    )

    model: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=200,
            description="The reranker if one is configured, else the embedding model; may be left "
            "out.",
        ),
    ] = None
    query: Annotated[
        str, StringConstraints(min_length=1, max_length=MAX_QUERY_CHARS, pattern=r"\S")
    ]
    documents: Annotated[
        list[
            Annotated[
                Annotated[str, Tag("text")] | Annotated[DocumentText, Tag("object")],
                Discriminator(lambda value: "object" if isinstance(value, dict) else "text"),
            ]
        ],
        Field(min_length=1, fail_fast=True, description=f"At most {MAX_DOCUMENTS:,}."),
    ]
    top_n: Annotated[
        int | None,
        Field(ge=0, le=_MAX_TOP_N, description="How many results to return; 0 for all."),
    ] = None
    return_documents: bool | None = True
    max_tokens_per_doc: Annotated[
        int | None,
        Field(
            ge=0,
            le=_MAX_TOKENS,
            description=f"Tokens read of each document; 0 for the default, {_DEFAULT_TOKENS:,}. "
            "A cross-encoder reads what fits into its window together with the query.",
        ),
    ] = None
    # Accepted because the clients of Cohere and vLLM send them; they have no effect.
    priority: int | None = None
    user: str | None = None

    def texts(self) -> list[str]:
        """The texts of the documents."""
        return [each if isinstance(each, str) else each.text for each in self.documents]

    def max_tokens(self) -> int:
        """The most tokens read of each document."""
        return self.max_tokens_per_doc or _DEFAULT_TOKENS


class RerankResult(BaseModel):
    """A document and its relevance, from 0 to 1; `index` is its place in the request."""

    index: int
    relevance_score: float
    document: DocumentText | None = None
    truncated: Annotated[
        bool, Field(description="Whether only the beginning of the document was read.")
    ] = False


class RerankUsage(BaseModel):
    """Tokens that the model read."""

    prompt_tokens: int
    total_tokens: int


class RerankTokens(BaseModel):
    """Cohere's count of tokens."""

    input_tokens: int
    output_tokens: int = 0


class RerankMeta(BaseModel):
    """Usage and warnings, as Cohere has them."""

    tokens: RerankTokens
    warnings: list[str] | None = None


class RerankResponse(BaseModel):
    """The documents, the most relevant one first."""

    model_config = example(
        {
            "id": "rerank-" + "5e" * 16,
            "model": "all-MiniLM-L6-v2",
            "scored_by": "embedder",
            "results": [
                {
                    "index": 1,
                    "relevance_score": 0.76,
                    "document": {"text": "Mercury melts at -39 °C."},
                    "truncated": False,
                }
            ],
            "usage": {"prompt_tokens": 34, "total_tokens": 34},
            "meta": {"tokens": {"input_tokens": 34, "output_tokens": 0}},
        }
    )

    id: str
    model: str
    scored_by: Annotated[
        Literal["reranker", "embedder"],
        Field(
            description="`reranker`: a cross-encoder, which reads query and document together. "
            "`embedder`: (1 + cosine similarity of their vectors) / 2; for a document that is "
            "longer than the model's window, that of the most similar part."
        ),
    ]
    results: list[RerankResult]
    usage: RerankUsage
    meta: RerankMeta
