"""The JSON of a search: OpenAI's, with a bound on the characters of all results added."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field, StringConstraints, Tag, field_validator

from serve_app.schemas.fields import (
    DOCUMENT_ID_EXAMPLE,
    FILE_ID_EXAMPLE,
    TEXT_OR_LIST,
    Request,
    example,
    refuse,
)
from serve_app.schemas.filters import (
    ATTRIBUTES_EXAMPLE,
    FILTER_EXAMPLE,
    Filters,
    ShownAttributes,
)

MAX_QUERIES = 8
MAX_QUERY_CHARS = 4000
MAX_RESULTS = 50
MAX_CHARACTERS = 100_000
_DEFAULT_RESULTS, _DEFAULT_CHARACTERS = 10, 12_000

SearchQuery = Annotated[
    str, StringConstraints(min_length=1, max_length=MAX_QUERY_CHARS, pattern=r"\S")
]
SearchQueries = Annotated[list[SearchQuery], Field(min_length=1, max_length=MAX_QUERIES)]


class RankingOptions(Request):
    """OpenAI's; `score_threshold` is on the cosine similarity that results carry as `score`."""

    ranker: Annotated[
        Literal["auto", "none", "default-2024-11-15"],
        Field(
            description="`none` asks that nothing be reranked; the others mean the service's "
            "own ranking."
        ),
    ] = "auto"
    score_threshold: Annotated[float, Field(ge=0, le=1)] = 0.0


class SearchRequest(Request):
    """OpenAI's vector store search request; `max_characters` is GenServe's own."""

    model_config = example(
        {
            "query": "What does the report say about costs?",
            "max_num_results": 3,
            "filters": FILTER_EXAMPLE,
        }
    )

    query: Annotated[
        Annotated[SearchQuery, Tag("text")] | Annotated[SearchQueries, Tag("list")],
        TEXT_OR_LIST,
        Field(
            description="The question; in a list, further phrasings of the first.",
            examples=["Who led the Normans?"],
        ),
    ]
    max_num_results: Annotated[int, Field(ge=1, le=MAX_RESULTS)] = _DEFAULT_RESULTS
    max_characters: Annotated[
        int, Field(ge=1, le=MAX_CHARACTERS, description="Of all results together.")
    ] = _DEFAULT_CHARACTERS
    ranking_options: RankingOptions | None = None
    filters: Filters | None = None
    rewrite_query: Annotated[bool, Field(description="True is not supported.")] = False

    @field_validator("rewrite_query")
    @classmethod
    def _no_rewriting(cls, value: bool) -> bool:  # noqa: FBT001 - pydantic's way
        if value:
            refuse("not supported: send further phrasings as a list in `query`")
        return value

    def queries(self) -> list[str]:
        """The question first, whatever form it came in."""
        return [self.query] if isinstance(self.query, str) else self.query


class SearchContent(BaseModel):
    """A text found."""

    type: Literal["text"] = "text"
    text: str


class SearchResult(BaseModel):
    """A document, with its attributes and its best passages as `content`, the best one first.

    `attributes` also has `document_id`, `version` and `content_uri` (the path of the original), and
    if they are known `title`, `section`, `place` (page, slide or sheet), `page` and `page_end` of
    the best passage; an attribute of the document with the same name wins. Results are ordered by
    their evidence, by meaning and by words; `score` is the similarity of meaning alone, of the most
    similar passage.
    """

    file_id: str
    filename: str
    score: float
    attributes: ShownAttributes
    content: list[SearchContent]


class SearchPage(BaseModel):
    """All results, in the form of a page; there is never another one."""

    model_config = example(
        {
            "object": "vector_store.search_results.page",
            "search_query": ["What does the report say about costs?"],
            "data": [
                {
                    "file_id": FILE_ID_EXAMPLE,
                    "filename": "report.pdf",
                    "score": 0.71,
                    "attributes": {
                        "document_id": DOCUMENT_ID_EXAMPLE,
                        "version": 1,
                        "content_uri": f"/v1/documents/{DOCUMENT_ID_EXAMPLE}/content?version=1",
                        "title": "Annual report",
                        "place": "page",
                        "page": 3,
                        **ATTRIBUTES_EXAMPLE,
                    },
                    "content": [{"type": "text", "text": "Costs fell by 4 % to 1.2 million."}],
                }
            ],
            "has_more": False,
        }
    )

    object: Literal["vector_store.search_results.page"] = "vector_store.search_results.page"
    search_query: list[str]
    data: list[SearchResult]
    has_more: bool = False
    next_page: None = None
