"""The frozen values that cross the wire between deployments."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

TextKind = Literal["query", "passage"]


class PageOutcome(StrEnum):
    """How the attempt to read one page ended."""

    OK = "ok"
    TIMEOUT = "timeout"
    BLOCKED = "blocked"
    TOO_LARGE = "too_large"
    UNSUPPORTED_TYPE = "unsupported_type"
    HTTP_ERROR = "http_error"
    UNREACHABLE = "unreachable"
    EMPTY = "empty"


@dataclass(frozen=True, slots=True)
class Page:
    """One page named in a prompt, read or not.

    `text` is Markdown and empty unless `outcome` is `ok`; `detail` says in a few words,
    fit for the person who asked, why a page could not be read.
    """

    url: str
    outcome: PageOutcome
    final_url: str = ""
    title: str = ""
    text: str = ""
    detail: str = ""
    elapsed_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Chunk:
    """A stretch of a document, short enough to embed whole.

    `number` counts from 0 within the document, `tokens` is by the embedder's tokenizer,
    pages count from 1 and are None for formats without pages.
    """

    number: int
    text: str
    tokens: int
    page_start: int | None = None
    page_end: int | None = None


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """What the parser makes of a file: `pages` is None for formats without pages."""

    title: str
    media_type: str
    pages: int | None
    chunks: tuple[Chunk, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """The catalogue entry of an uploaded file; `created_at` is in seconds since the epoch."""

    id: str
    collection: str
    filename: str
    title: str
    media_type: str
    size_bytes: int
    pages: int | None
    chunks: int
    created_at: float


@dataclass(frozen=True, slots=True)
class DocumentList:
    """One page of a catalogue; `next_after` goes into the next call, None at the end."""

    documents: tuple[Document, ...]
    next_after: str | None = None


@dataclass(frozen=True, slots=True)
class Passage:
    """A chunk found for a query; `score` is the cosine similarity, higher is nearer."""

    document_id: str
    filename: str
    title: str
    number: int
    text: str
    page_start: int | None
    page_end: int | None
    score: float


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What a caller may know of a language model; the request counts are None if unknown."""

    id: str
    context_tokens: int
    running_requests: int | None = None
    waiting_requests: int | None = None
