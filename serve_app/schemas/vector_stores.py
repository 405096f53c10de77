"""The JSON of vector stores: OpenAI's, with a bound on the characters of a search added."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Discriminator, Field, StringConstraints, Tag, field_validator
from pydantic_core import PydanticCustomError

from serve_app.schemas.fields import Request
from serve_app.schemas.paging import Listed, Paged

StoreName = Annotated[str, StringConstraints(max_length=256)]
FileId = Annotated[str, StringConstraints(pattern=r"^file-[0-9a-f]{32}$")]
Metadata = Annotated[
    dict[
        Annotated[str, StringConstraints(max_length=64)],
        Annotated[str, StringConstraints(max_length=512)],
    ],
    Field(max_length=16),
]

MAX_QUERIES = 8
MAX_QUERY_CHARS = 4000
MAX_RESULTS = 50
MAX_CHARACTERS = 100_000
_DEFAULT_RESULTS, _DEFAULT_CHARACTERS = 10, 12_000

SearchQuery = Annotated[
    str, StringConstraints(min_length=1, max_length=MAX_QUERY_CHARS, pattern=r"\S")
]
SearchQueries = Annotated[list[SearchQuery], Field(min_length=1, max_length=MAX_QUERIES)]


def _form(query: object) -> str:
    return "list" if isinstance(query, list) else "text"


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

    query: Annotated[
        Annotated[SearchQuery, Tag("text")] | Annotated[SearchQueries, Tag("list")],
        # Without it a list too long would be told that it is no string.
        Discriminator(_form),
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
    filters: Annotated[None, Field(description="Not supported.")] = None
    rewrite_query: Annotated[bool, Field(description="True is not supported.")] = False

    @field_validator("filters", mode="before")
    @classmethod
    def _no_filters(cls, value: object) -> None:
        if value is not None:
            raise PydanticCustomError(
                "not_supported",  # noqa: EM101 - a type, not a message
                "not supported: keep in a collection of its own what is to be searched alone",
            )

    @field_validator("rewrite_query")
    @classmethod
    def _no_rewriting(cls, value: bool) -> bool:  # noqa: FBT001 - pydantic's way
        if value:
            raise PydanticCustomError(
                "not_supported",  # noqa: EM101 - a type, not a message
                "not supported: send further phrasings as a list in `query`",
            )
        return value

    def queries(self) -> list[str]:
        """The question first, whatever form it came in."""
        return [self.query] if isinstance(self.query, str) else self.query


class SearchContent(BaseModel):
    """A text found."""

    type: Literal["text"] = "text"
    text: str


class SearchResult(BaseModel):
    """A passage: `attributes` say where in the document it stands, as far as that is known.

    They are `title`, `section`, `page` and `page_end`. Results are ordered by all that speaks
    for them, words too; `score` is the similarity of meaning alone.
    """

    file_id: str
    filename: str
    score: float
    attributes: dict[str, str | int]
    content: list[SearchContent]


class SearchPage(BaseModel):
    """All results, in the form of a page; there is never another one."""

    object: Literal["vector_store.search_results.page"] = "vector_store.search_results.page"
    search_query: list[str]
    data: list[SearchResult]
    has_more: bool = False
    next_page: None = None


class AutoChunking(Request):
    """OpenAI's `auto`: the service cuts documents itself, at its own settings."""

    type: Literal["auto"]


class VectorStoreRequest(Request):
    """OpenAI's request to make a vector store."""

    name: Annotated[StoreName | None, Field(examples=["reports"])] = None
    file_ids: Annotated[list[FileId], Field(max_length=100, default_factory=list)]
    metadata: Metadata | None = None
    description: Annotated[None, Field(description="Not supported: use `metadata`.")] = None
    chunking_strategy: AutoChunking | None = None
    expires_after: Annotated[None, Field(description="Not supported: nothing expires.")] = None


class VectorStoreChanges(Request):
    """OpenAI's request to change one; what is left out stays."""

    name: StoreName | None = None
    metadata: Metadata | None = None
    expires_after: Annotated[None, Field(description="Not supported: nothing expires.")] = None


class FileCounts(BaseModel):
    """Documents by how they stand."""

    in_progress: int
    completed: int
    failed: int
    cancelled: int
    total: int


class VectorStoreResponse(Listed):
    """OpenAI's; the id is the name of a collection. `usage_bytes` is the size of the files."""

    object: Literal["vector_store"] = "vector_store"
    created_at: int
    name: str
    usage_bytes: int
    file_counts: FileCounts
    status: Literal["in_progress", "completed"]
    expires_after: None = None
    expires_at: None = None
    last_active_at: int | None = None
    metadata: dict[str, str]


class VectorStoreList(Paged[VectorStoreResponse]):
    """One page of vector stores; pass `last_id` as `after` for the following one."""


class VectorStoreDeleted(BaseModel):
    """OpenAI's."""

    id: str
    object: Literal["vector_store.deleted"] = "vector_store.deleted"
    deleted: Literal[True] = True


class AttachRequest(Request):
    """OpenAI's request to put a file into a vector store."""

    file_id: FileId
    attributes: Annotated[
        dict[str, str | float | bool] | None,
        Field(max_length=0, description="Not supported: nothing can be filtered by them."),
    ] = None
    chunking_strategy: AutoChunking | None = None


class FileError(BaseModel):
    """Why a file could not be made searchable."""

    code: Literal["server_error", "unsupported_file", "invalid_file"]
    message: str


class VectorStoreFile(Listed):
    """A file in a vector store; it can be searched once `status` is `completed`."""

    object: Literal["vector_store.file"] = "vector_store.file"
    created_at: int
    vector_store_id: str
    status: Literal["in_progress", "completed", "failed", "cancelled"]
    last_error: FileError | None
    usage_bytes: int
    attributes: dict[str, str] = Field(default_factory=dict)
    chunking_strategy: dict[str, str] = Field(default_factory=lambda: {"type": "other"})


class VectorStoreFileList(Paged[VectorStoreFile]):
    """One page of files in a vector store; pass `last_id` as `after` for the following one."""


class VectorStoreFileDeleted(BaseModel):
    """OpenAI's."""

    id: str
    object: Literal["vector_store.file.deleted"] = "vector_store.file.deleted"
    deleted: Literal[True] = True
