"""The JSON of an answer: the options of a question, and the sources and warnings of the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, Field

from deployments.types import PageOutcome  # noqa: TC001 - read by pydantic
from serve_app.schemas.fields import (
    DEFAULT_COLLECTION,
    DOCUMENT_ID_EXAMPLE,
    CollectionName,
    Request,
    Temperature,
    TokenCount,
    TopK,
    example,
)
from serve_app.schemas.filters import ATTRIBUTES_EXAMPLE, ShownAttributes
from serve_app.schemas.passages import Place  # noqa: TC001 - read by pydantic

if TYPE_CHECKING:
    from collections.abc import Iterable

SOURCE_EXAMPLE = {
    "id": 1,
    "kind": "document",
    "title": "Annual report",
    "uri": f"/v1/documents/{DOCUMENT_ID_EXAMPLE}",
    "content_uri": f"/v1/documents/{DOCUMENT_ID_EXAMPLE}/content?version=1#page=3",
    "filename": "report.pdf",
    "version": 1,
    "attributes": ATTRIBUTES_EXAMPLE,
    "place": "page",
    "page": 3,
    "page_end": 3,
    "section": "Costs",
    "score": 0.71,
    "text": "Costs fell by 4 % to 1.2 million.",
    "cited": True,
}
ATTRIBUTION_EXAMPLE = {
    "choice": 0,
    "start": 0,
    "end": 22,
    "source": 1,
    "strength": 1.0,
    "quote": {"text": "Costs fell by 4 % to 1.2 million.", "start": 0, "end": 33},
    "cited": [1],
    "corrected": False,
}
USAGE_EXAMPLE = {"prompt_tokens": 120, "completion_tokens": 9, "total_tokens": 129}
GROUNDING_EXAMPLE: dict[str, Any] = {"sources": [SOURCE_EXAMPLE], "pages": [], "warnings": []}
TIMINGS_EXAMPLE = {"search_s": 0.02, "context_s": 0.02, "prompt_s": 0.03, "total_s": 0.41}
EVENT_EXAMPLE = 'event: token\ndata: {"text": "Costs"}\n\n'
"""One event of what a request with `stream` is answered with."""


def dumped(values: Iterable[BaseModel]) -> list[dict[str, Any]]:
    """Return sources, warnings or other parts of an answer as JSON."""
    return [value.model_dump() for value in values]


class GenerateRequest(Request):
    """A prompt; URLs in it are read, uploaded documents are searched."""

    model_config = example({"prompt": "Name the capital of France.", "max_tokens": 64})

    prompt: Annotated[str, Field(min_length=1, examples=["Name the capital of France."])]
    temperature: Temperature | None = None
    max_tokens: TokenCount | None = None
    stream: bool = False
    collection: CollectionName = DEFAULT_COLLECTION
    top_k: TopK | None = None
    attribution: bool = True


class Source(BaseModel):
    """A source that the model was given, with the number by which it is cited.

    `cited` says whether the answer cites it, None until the answer is complete. `title` is None if
    the document or web page has none. `place` says whether `page` is the number of a page or of a
    slide; of a spreadsheet, `section` is the name of the sheet. `content_uri` is the path of the
    original document. With `ocr`, some of the text was recognised in a picture.
    """

    id: int
    kind: Literal["page", "document"]
    title: str | None = None
    uri: str
    content_uri: str | None = None
    place: Place | None = None
    page: int | None = None
    page_end: int | None = None
    section: str | None = None
    filename: str | None = None
    version: int | None = None
    attributes: ShownAttributes | None = None
    ocr: bool = False
    score: float | None = None
    text: str
    cited: bool | None = None

    @property
    def name(self) -> str:
        """The title, or else the name of the file or the address."""
        return self.title or self.filename or self.uri


class PageReport(BaseModel):
    """How reading one URL of the prompt ended.

    `uri` is where it led, `source` the number under which the page went into the prompt, None if
    it did not: even a page that was read may have found no room. `unavailable` means that nobody
    could try.
    """

    url: str
    outcome: PageOutcome | Literal["unavailable"]
    uri: str | None = None
    source: int | None = None
    detail: str | None = None


class Warning_(BaseModel):  # noqa: N801 - `Warning` is Python's
    """Something the answer had to do without; `url` when a page is meant."""

    code: str
    message: str
    url: str | None = None


class Quote(BaseModel):
    """The span of a source's `text` that supports a sentence, with its place in characters."""

    text: str
    start: int
    end: int


class Attribution(BaseModel):
    """The source that supports a sentence of the answer, None if none does.

    `start` and `end` are its place in the text of the answer, in characters (Unicode code points);
    `strength` is at most 1. `cited` are the numbers that the model wrote there; `corrected` says
    that `source` is not among them. Sentences that state no fact, such as questions, have no
    attribution.
    """

    choice: int = 0
    start: int
    end: int
    source: int | None = None
    strength: float = 0.0
    quote: Quote | None = None
    cited: list[int] = []
    corrected: bool = False


class Usage(BaseModel):
    """Tokens, by the model's tokenizer."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0


class GenerateResponse(BaseModel):
    """A whole answer; `timings` in seconds, by stage."""

    model_config = example(
        {
            "content": "Costs fell by 4 % [1].",
            "finish_reason": "stop",
            **GROUNDING_EXAMPLE,
            "attributions": [ATTRIBUTION_EXAMPLE],
            "usage": USAGE_EXAMPLE,
            "timings": TIMINGS_EXAMPLE,
        }
    )

    content: str
    finish_reason: str | None
    sources: list[Source]
    pages: list[PageReport]
    warnings: list[Warning_]
    attributions: list[Attribution]
    usage: Usage
    timings: dict[str, float]
